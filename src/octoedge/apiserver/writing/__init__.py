"""The write verbs: create, update, patch, apply and delete, and the rules that hold for every kind."""
