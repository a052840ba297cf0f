"""Certificates and join tokens.

Cloud: `authority` (x509, pure) and `secrets` (kept in Kubernetes Secrets, as KubeEdge does) · `token` (mint, verify).
Edge: `enrol` runs `child` for what needs the cryptography package, so that the agent itself never imports it.
"""
