"""What kinds do beyond being stored: their defaults, rules and subresources, one file a theme."""
