"""Messages between two Octoedges, packed: one deflate stream for each direction of a connection. No I/O.

    pack(message) → bytes → unpack(bytes) → message        in the order of the connection, none left out

What was said before is remembered, so a message that resembles an earlier one (a heartbeat, a node's status, the next
version of an object) costs little more than what is new in it; a dictionary of what messages look like serves the first
ones. Each message ends at a byte; the end mark that all have in common is not sent, as in RFC 7692.

Up, a node's whole status fits into the window; down it is smaller, since a cloud holds one for each of its nodes. Held
for a connection: 80 KiB at the edge, 40 KiB at the cloud.
"""

from __future__ import annotations

import zlib

from octoedge.errors import MessageError
from octoedge.protocol.codec import MAX_BYTES
from octoedge.protocol.routes import Direction

_WINDOW_BITS = {Direction.UP: 13, Direction.DOWN: 12}
"""Power of two of how many bytes are remembered: the sender holds four to eight times as many, the receiver one."""
_MEMORY = {Direction.UP: 6, Direction.DOWN: 4}
_END = b"\x00\x00\xff\xff"
_DICTIONARY = (
    b'"metadata":{"name":"","namespace":"kube-system","uid":"","resourceVersion":"","creationTimestamp":"2026-01-01T00'
    b':00:00Z","labels":{"app":""},"annotations":{},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","con'
    b'troller":true,"blockOwnerDeletion":true}]},"spec":{"containers":[{"name":"","image":"","resources":{},"volumeMoun'
    b'ts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","readOnly":true}],"imagePullPolicy":"IfNotPrese'
    b'nt"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName"'
    b':"default","nodeName":"","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExe'
    b'cute","tolerationSeconds":300}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastH'
    b'eartbeatTime":"","lastTransitionTime":"","reason":"","message":""}],"capacity":{"cpu":"","memory":"","pods":"110"'
    b',"ephemeral-storage":""},"containerStatuses":[{"containerID":"containerd://","ready":true,"restartCount":0,"state'
    b'":{"running":{"startedAt":""}}}]}},"kind":"Pod","apiVersion":"v1"}'
    b'{"header":{"msg_id":"","parent_msg_id":"","timestamp":17'
    b'},"route":{"source":"edged","group":"meta","operation":"patch","resource":"default/podpatch/"},"content":"{\\"status'
    b'\\":{\\"conditions\\":[{\\"type\\":\\"Ready\\",\\"status\\":\\"True\\"'
    b'"route":{"source":"edgecontroller","group":"resource","operation":"response","resource":"default/pod/"},"content":'
    b'"OK"}\n{"header":{"msg_id":"1","timestamp":17,"route":{"source":"websocket","group":"resource","operation":"keepal'
    b'ive","resource":"node"},"content":"ping"}\n'
)
"""Part of the protocol: whoever changes it must give the feature in `handshake` another name."""


class Packer:
    """One direction, at its sender."""

    def __init__(self, direction: Direction) -> None:
        self._stream = zlib.compressobj(
            wbits=-_WINDOW_BITS[direction], memLevel=_MEMORY[direction], zdict=_DICTIONARY[-(1 << 12) :]
        )

    def pack(self, message: bytes) -> bytes:
        """The message, packed; must be sent before the next one is packed."""
        return (self._stream.compress(message) + self._stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_END)


class Unpacker:
    """One direction, at its receiver."""

    def __init__(self, direction: Direction) -> None:
        self._stream = zlib.decompressobj(wbits=-_WINDOW_BITS[direction], zdict=_DICTIONARY[-(1 << 12) :])

    def unpack(self, data: bytes) -> bytes:
        """The message; `MessageError` when it is none, or a small one that grows beyond the limit. Then all is over."""
        try:
            message = self._stream.decompress(data + _END, MAX_BYTES + 1)
        except zlib.error as error:
            raise MessageError(f"a packed message cannot be unpacked: {error}") from error
        if len(message) > MAX_BYTES or self._stream.unconsumed_tail or self._stream.eof:
            raise MessageError(f"a packed message of {len(data)} bytes is larger than {MAX_BYTES} when unpacked")
        return message
