"""How much a test tries: what finds the same faults in a change, and in `make soak` what a night allows."""

import os

SOAK = os.environ.get("SOAK") == "1"


def counts(change: int, *, soak: int) -> int:
    """`change` in `make test`, `soak` in `make soak`."""
    return soak if SOAK else change
