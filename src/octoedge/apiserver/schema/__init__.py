"""What objects look like: the table of facts, and what reads, checks, fills in and explains them by it."""
