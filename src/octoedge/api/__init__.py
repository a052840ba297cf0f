"""Typed, read-only views of Kubernetes and KubeEdge objects; no I/O.

An object passes through as the bytes it came in; a view decodes only the fields that a decision needs.
"""
