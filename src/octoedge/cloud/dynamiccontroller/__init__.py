"""DynamicController: the Kubernetes API for the MetaServers of the edges (spec: metadata, section 4).

`controller` takes what nodes ask, `callers` says in whose name that is, `requests` carries it out, `shared` and
`follow` are the watches that nodes share, `listeners` what nodes of KubeEdge watch.
"""
