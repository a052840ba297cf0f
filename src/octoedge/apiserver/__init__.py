"""The embedded Kubernetes API server: SQLite, one process, what a small edge site needs.

    serving (HTTPS) ──► api ──► access (who, may he?) ──► writing ──► store (SQLite) ──► controllers, scheduling
                         └────► nodes (logs, exec …)         ↑ schema, crd, behaviours of kinds

kinds (the table of kinds) · discovery · printing (what kubectl prints) · volumes (claims) · apiserver (the wiring)
"""
