"""The way to the container runtime: CRI v1 over gRPC on a unix socket.

`fields` holds the messages with their public field numbers, `codec` turns them into protobuf and back, `interface`
says what edged asks of a runtime, and `client` does so over a socket. `octoedge.testing.cri` is the same in memory.
"""
