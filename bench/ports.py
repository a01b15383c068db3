"""Ports of this machine for the servers that tests and benchmarks start.

A port that was asked of the kernel and given back may be gone before the server takes it: the kernel hands it to the next
outgoing connection, and to whoever asks next. These are none of the kernel's, and each process of a test run has its own.
"""

import itertools
import os
import socket

# Below what the kernel gives outgoing connections (32768 and more) and below Kubernetes' node ports (30000 and more).
FIRST, LAST = 20_000, 29_999
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_MINE = range(FIRST + _WORKER, LAST + 1, _WORKERS)
# Runs side by side, each of them one process, begin at different ports.
_BEGIN = os.getpid() % len(_MINE)
_NEXT = itertools.cycle((*_MINE[_BEGIN:], *_MINE[:_BEGIN]))


def free_port() -> int:
    """A TCP port that nobody on 127.0.0.1 listens on, and that this process was not given before (until they run out).

    Raises:
        RuntimeError: every port from FIRST to LAST that this process may have is taken.
    """
    for port in itertools.islice(_NEXT, len(_MINE)):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {FIRST} to {LAST} is free: `ss -ltnp` shows who listens on them")
