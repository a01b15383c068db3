"""The registry: opened, rewritten, and waited for on its read replicas."""
