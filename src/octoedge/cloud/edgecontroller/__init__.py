"""EdgeController: Pods, Nodes, ConfigMaps and Secrets between the API and the edges.

`downstream` and `upstream` name the direction. Pure beside them: `references` (what a pod needs), `changes` (what
matters to an edge), `authorize` (what a node may touch).
"""
