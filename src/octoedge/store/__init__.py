"""Durable state: one SQLite writer with group commit, and what is kept in it."""
