"""CustomResourceDefinitions: kinds that clients bring along, from their schemas to rows in the table of kinds.

CustomResourceDefinition ── rules ──► refused (422), or stored
                         ── registry ──► a `Kind` for each served version, with a `CustomShape`
object of such a kind    ── pruning ──► unknown fields out, defaults in ── validation ──► refused, or stored
"""
