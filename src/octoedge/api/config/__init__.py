"""The configuration files of CloudCore and EdgeCore, in KubeEdge's format (spec: config).

YAML file → `load` → `strict` (unknown keys, wrong types) → the typed tree in `cloudcore` or `edgecore` → every module
gets its own section. Defaults are KubeEdge's, key by key; what is only ours stands in the section `octoedge`.
"""
