"""MetaManager: the only door to what the node knows. Store, then act, then acknowledge.

edgehub ──► inbound ──► store ──► changes ──► edged          answers ──► store
edgehub ◄── outbox  ◄── store ◄── reports ◄── edged
"""
