"""CloudCore: what the cloud wants goes down to the edges, what they report goes up into the API."""
