"""Objects on disk and in memory, the log that watches follow, and snapshots of it all."""
