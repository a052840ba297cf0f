"""Edged, the kubelet of the edge: makes the container runtime match the pods that MetaManager has stored.

    stored pods ──► pods ─┐                             ┌─► events, status ──► MetaManager
    runtime ──► observe ──┴─► plan (pure) ─► sync ─► CRI └─► logs ──► EdgeStream

`plan` decides, `sync` acts, `status` tells. What the runtime says is the only truth about containers, so a restart of
the agent adopts what runs and touches nothing.
"""
