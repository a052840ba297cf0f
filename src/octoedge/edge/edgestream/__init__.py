"""EdgeStream: what people ask of this node (logs; later exec, attach, metrics), through a tunnel that the node dials.

cloud ══ edgestream (dials, again and again) → tunnel (one connection, many streams) → kubelet (paths)
         → logs → edged
"""
