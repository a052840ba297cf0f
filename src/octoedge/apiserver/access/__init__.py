"""Who asks, and may he: certificates, tokens, roles, node authorization, and the log of who did what."""
