"""What keeps the embedded cluster in order: modules that watch the store and write to it, like any other client."""
