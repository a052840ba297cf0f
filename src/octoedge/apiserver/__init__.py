"""The embedded Kubernetes API server: SQLite, one process, what a small edge site needs.

server (HTTPS) → requests → rest (verbs) → backend (SQLite, watch)
                              ↑ admission, validation, defaults    ↓
                            controllers and scheduler follow the backend
"""
