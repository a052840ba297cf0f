"""What is asked of nodes: logs, exec, attach, port-forward, pages of the kubelet, metrics."""
