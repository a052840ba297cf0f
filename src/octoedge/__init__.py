"""Octoedge: the cloud decides what should run; every edge node keeps it running, with or without the cloud."""
