"""EdgeCore: the agent on every edge node. Modules meet only in `edgecore.py`; `ports.py` is what they share."""
