"""What controllers decide, as pure functions: the state of owners and children in, what to do out."""
