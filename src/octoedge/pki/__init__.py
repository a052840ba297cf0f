"""Certificates and join tokens.

Cloud: `x509` (certificates as values) · `authority` (CA and server certificate, kept in Secrets as KubeEdge does) ·
`token` (mint, verify). Edge: `enrol` runs `child` for what needs the cryptography package, so that the agent itself
never imports it.
"""
