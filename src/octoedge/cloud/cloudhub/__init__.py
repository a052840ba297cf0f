"""CloudHub: the door for edge nodes. One node = one session.

`hub` admits connections and knows the sessions · `session` speaks with one node · `https` hands out certificates.
"""
