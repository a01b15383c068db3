"""Lines for whoever watches: on stderr, at once."""

import sys


def say(line: str) -> None:
    """Write one line."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
