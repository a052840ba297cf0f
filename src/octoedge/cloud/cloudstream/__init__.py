"""CloudStream: what people ask of a container or a node, from the API server to the node that has it.

    API server ── https 10003 ──► kubelet (its HTTP API; exec for what leaves HTTP) → tunnels (which node is here)
                                     → tunnel (one node's, many streams) → stream ══ wss 10004 ══ edge

The edge dials; `door` says who may, `trust` whose certificates count at 10003.
"""
