"""The scheduler, and the pure rules by which it places Pods."""
