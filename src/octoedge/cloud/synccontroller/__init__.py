"""SyncController: what each node is known to have, and what it lacks.

`compare` (pure) says what to repair · `checkpoints` keeps ObjectSyncs, written behind · `controller` compares.
"""
