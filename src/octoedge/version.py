VERSION = "0.1.0"
"""Version of Octoedge; part of what a node reports as `v1.32.x-octoedge-v<version>`."""
