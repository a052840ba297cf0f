"""CloudStream: `kubectl logs` (later exec, attach, metrics) from the API server to the node that runs the pod.

    API server ── https 10003 ──► server (kubelet API) → sessions → session (one node's tunnel) ══ wss 10004 ══ edge

The edge dials; `acceptor` takes its tunnel, `trust` says whose certificates count on which port.
"""
