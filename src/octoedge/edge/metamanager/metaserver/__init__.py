"""MetaServer: the Kubernetes API of this node, for its pods and its people, with and without the cloud.

    client ──HTTP(S)──► server: who asks? (callers) ──► reads, writes, discovery
                                                          │            │
                          replica (SQLite, changes) ◄── feeds ◄─── cloud (Applications)

`server` is the module; a read is answered by the cloud while it is there and kept in `replica`, else from there.
"""
