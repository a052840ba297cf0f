"""Where a Pod goes: pure, without I/O, clock or tasks. `scheduling.scheduler` is the shell around it.

    bytes ──wants──► Wants ─┐
    Nodes, Pods that are placed ──Site──┴──choose──► node name │ Unplaceable ──make_room──► node and victims

One file a rule: `demand` (resources, host ports), `nodes` (selectors, affinity, taints), `neighbours` (affinity and
anti-affinity between Pods), `spread` (topology spread constraints), `score` (which of those that fit), `preemption`.
`scheduling.placement` asks them in Kubernetes' order and puts refusals into the words that its users know.
"""
