"""Modules of the API server that keep promises: they follow the store and write to it, as clients of the same rules."""
