"""Programs: arguments → configuration → run. What they do lives in the rooms below."""
