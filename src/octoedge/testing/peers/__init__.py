"""Clouds and edges of both makes, ours and Go KubeEdge's, put together on one machine for `make test-peers`.

programs   which Go programs there are          settings   what their configuration files say
cloud      API server and CloudCore             edge       a node: namespace, runtime, broker, EdgeCore
cell       one cloud and one edge, and what a user does with them
"""
