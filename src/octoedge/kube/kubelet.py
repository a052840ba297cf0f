"""What the embedded API server and CloudCore's kubelet-like API agree on beyond what kubelets speak."""

WARNINGS = "Octoedge-Warnings"
"""A request's header: `true` tells CloudCore that a header `Warning` of its answer reaches the client; a kube-apiserver
drops it."""
