"""How a daemon lives: modules under a supervisor, bounded channels, keyed work, back-off, clock, address, logs."""
