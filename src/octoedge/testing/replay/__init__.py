"""Captures played again, in virtual time: a real CloudCore opposite a captured edge, a real edge opposite a cloud.

`story` reads a capture (also those of KubeEdge's own programs), `oncloud` and `onedge` play it, `differences` says what
was said otherwise than in the capture, `command` is `octoedge replay FILE`.
"""
