"""Answer requests for feature vectors: Feast's own server, tuned for steady latency.

Without Feast's recycling of workers (a second's stall every thousand requests), without an access log, with metrics on
port 8000. Reachable from outside the pod; what it may do is limited by its users of Redis and PostgreSQL, which only
read.
"""

import argparse
import gc
import signal
from typing import Any, NoReturn

from feature_runtime.registry import open_store
from feature_runtime.settings import feature_repo_directory

# How often the registry is read again, in the background. A changed definition comes with new pods anyway.
REGISTRY_SECONDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, and with how many processes."""
    parser.add_argument("--port", type=int, default=6566, help="HTTP port (6566)")
    parser.add_argument("--workers", type=int, default=1, help="processes; one per core (1)")
    parser.add_argument("--wait-seconds", type=float, default=60, help="for a registry that is away (60)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve until told to stop."""
    store = open_store(feature_repo_directory(), wait_seconds=arguments.wait_seconds)
    _calm_garbage_collection()
    # The server's processes end in their own ways.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _serve(store, arguments)


def _serve(store: Any, arguments: argparse.Namespace) -> NoReturn:
    store.serve(
        host="0.0.0.0",  # noqa: S104  a pod has one address; the network policy decides who reaches it
        port=arguments.port,
        no_access_log=True,
        workers=arguments.workers,
        max_requests=0,
        max_requests_jitter=0,
        metrics=True,
        registry_ttl_sec=REGISTRY_SECONDS,
    )
    raise SystemExit(0)


def _calm_garbage_collection() -> None:
    """Keep what is imported out of every collection: walking it stops a worker for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
