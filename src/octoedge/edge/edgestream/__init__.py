"""EdgeStream: what people ask of this node (logs, exec, attach, port-forward, metrics), through a tunnel that it dials.

cloud ══ edgestream (dials, again and again) → tunnel (one connection, many streams) → kubelet (the table of paths)
         → logs, exec → edged
"""
