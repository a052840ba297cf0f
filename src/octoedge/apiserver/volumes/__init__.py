"""PersistentVolumes, claims and classes as objects: their rules, which volume a claim gets, and on which nodes."""
