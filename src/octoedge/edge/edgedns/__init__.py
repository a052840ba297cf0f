"""EdgeDNS: the names of Services, answered on the node, with and without the cloud.

pods ── UDP, TCP ──► `server` ──► `answer` (pure): cluster names, from `records`
                         └──────► `forward`: everything else, by the node's own resolvers
EndpointSlices, Services ── ports.Copies ──► `edgedns` ──► `records`
"""
