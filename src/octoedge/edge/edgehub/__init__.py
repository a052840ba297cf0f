"""EdgeHub: the node's end of the channel.

enrolment (certificate) → hub (connect, again and again) → session (one connection) ⇄ cloud
                                                            │ messages        ▲ requests, reports, acknowledgements
                                                            ▼                 │
                                                    metamanager          uplink
"""
