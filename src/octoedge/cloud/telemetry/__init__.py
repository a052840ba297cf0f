"""Telemetry, the cloud's part: batches of numbered values from the nodes into a store of its own, and out of it.

    cloudhub ──batches──► intake ──► store (telemetry.db) ──► the answer: only then the node forgets them
                                        ├──► desk: history and audit, for whoever may ask on this machine
                                        └──► exports: other systems, each from where it stopped

The Kubernetes API sees nothing of it.
"""
