"""The Device Management Interface: what EdgeCore and mappers say to each other (gRPC on unix sockets, v1beta1).

messages (field tables) · values (single values in protobuf's Any) · convert (objects of the API → messages) ·
services (who serves what, typed) · client (the calls)
"""
