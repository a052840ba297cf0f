"""Role-based access control as Kubernetes has it, and what nodes may do.

roles, bindings ──listen──► policy     who may do what, answered from memory
                            defaults   the roles and bindings that every cluster has
                            escalation nobody grants what he does not hold
                            nodes      a node may do what concerns itself
                            objects    the rules of the four kinds
"""
