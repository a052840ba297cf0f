"""Test worlds that are part of the product: faked time, memory transports, an in-memory container runtime."""
