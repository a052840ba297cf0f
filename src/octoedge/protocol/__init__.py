"""What cloud and edge say to each other: no I/O, no clock, no tasks.

bytes ⇄ `codec` ⇄ `Message` (strings, as on the wire) ⇄ `routes` ⇄ `payloads` (typed, what everyone else sees).
`handshake` comes before, `delivery` sees to it that a message arrives, `tunnel` is the language of logs and exec.
"""
