"""Answer requests for feature vectors, until told to stop.

What is served is what the registry says in the order of `contract.lock.json`; values come from the online store. Both
are only read. `serving` holds the parts; this verb puts them together and takes them down: on SIGTERM readiness goes
first, then every connection with its answer, then the process.
"""

import argparse
import asyncio
import gc
import signal
import sys
from typing import Any

import uvloop
from feast import FeatureStore
from feast.infra.online_stores.redis import RedisOnlineStore, RedisType

from feature_runtime import contract
from feature_runtime.online_store.addresses import Nodes, Single
from feature_runtime.online_store.sentinels import Sentinels
from feature_runtime.online_store.wire import Names
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.registry.access import open_store
from feature_runtime.retrying import with_retries
from feature_runtime.serving import freshness, grpc_service, reloading
from feature_runtime.serving.answer import Policy
from feature_runtime.serving.cluster import ClusterStore
from feature_runtime.serving.http import Server
from feature_runtime.serving.metrics import Metrics
from feature_runtime.serving.question import PlanRefused
from feature_runtime.serving.redis_reader import OnlineStore, SentinelStore
from feature_runtime.serving.server import FeatureServer
from feature_runtime.settings import feature_repo_directory

ANSWER, REFUSE = "answer", "refuse"
# While the cluster still sends requests here: it learns of a pod's end later than the pod.
LISTENING_SECONDS = 2
FINISHING_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, what to refuse, how often to look at the registry."""
    choices: dict[str, Any] = {"choices": (ANSWER, REFUSE), "default": ANSWER}
    parser.add_argument("--port", type=int, default=6566, help="HTTP port (6566)")
    parser.add_argument("--grpc-port", type=int, default=6567, help="gRPC port, 0 for none (6567)")
    parser.add_argument("--metrics-port", type=int, default=8000, help="port of /metrics (8000)")
    parser.add_argument("--max-body-kib", type=int, default=1024, help="longest body of a request (1024)")
    parser.add_argument("--max-entities", type=int, default=1000, help="most entities of a request (1000)")
    parser.add_argument("--on-not-found", **choices, help="what to do for entities that are not loaded (answer: null, NOT_FOUND)")
    parser.add_argument("--on-outside-max-age", **choices, help="and for values older than their view's ttl (answer: null)")
    parser.add_argument("--registry-seconds", type=float, default=60, help="between two looks at the registry (60)")
    parser.add_argument("--wait-seconds", type=float, default=60, help="for a registry that is away (60)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve until told to stop."""
    repo = feature_repo_directory()
    locked = contract.read(repo)
    registry = open_store(repo, wait_seconds=arguments.wait_seconds)
    try:
        loaded = _load(registry, locked, wait_seconds=arguments.wait_seconds)
    except PlanRefused as refused:
        raise Refusal(f"{refused}. Run `apply` with these definitions first, or deploy those that are registered.") from None
    return uvloop.run(_serve(arguments, registry, locked, loaded))


def _load(registry: FeatureStore, locked: contract.Contract, *, wait_seconds: float) -> reloading.Loaded:
    """What the registry says after an apply that is under way. One that ended half-way keeps no server from what it has whole."""
    try:
        return with_retries(
            "waiting for an apply to end",
            lambda: reloading.load(registry, locked),
            seconds=wait_seconds,
            transient=lambda error: isinstance(error, reloading.HalfApplied),
        )
    except Refusal as refusal:
        if not isinstance(refusal.__cause__, reloading.HalfApplied):
            raise
        say(f"{refusal.__cause__}. Serving what it has of the contract")
        return reloading.load(registry, locked, even_half=True)


async def _serve(
    arguments: argparse.Namespace, registry: FeatureStore, locked: contract.Contract, loaded: reloading.Loaded
) -> dict[str, Any]:
    metrics = Metrics()
    store = _online_store(registry)
    metrics.state.online_store_up = lambda: store.up
    server = FeatureServer(
        store,
        metrics,
        policy=Policy(arguments.on_not_found == REFUSE, arguments.on_outside_max_age == REFUSE),
        max_entities=arguments.max_entities,
        max_body_bytes=arguments.max_body_kib * 1024,
    )
    server.use(loaded.plan, loaded.transformer)
    store.start()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stop_metrics = metrics.serve(arguments.metrics_port)
    http = Server(server)
    # Every address: the network policy decides who reaches it.
    await http.start("", arguments.port)
    grpc = await grpc_service.start(server, arguments.grpc_port, max_body_kib=arguments.max_body_kib) if arguments.grpc_port else None
    watching = [
        loop.create_task(reloading.keep_up(server, registry, locked, loaded, seconds=arguments.registry_seconds)),
        loop.create_task(freshness.keep_watching(server)),
    ]
    _stay_responsive()
    say(f"serving {', '.join(sorted(loaded.plan.services)) or 'no service yet'} on port {arguments.port}")
    await stop.wait()
    say("draining")
    server.draining = True
    for task in watching:
        task.cancel()
    await asyncio.gather(
        http.drain(listening_seconds=LISTENING_SECONDS, seconds=FINISHING_SECONDS),
        *([_stop_grpc(grpc)] if grpc else []),
    )
    await store.stop()
    stop_metrics()
    return {"served": sorted(loaded.plan.services)}


async def _stop_grpc(grpc: Any) -> None:
    await asyncio.sleep(LISTENING_SECONDS)
    await grpc.stop(FINISHING_SECONDS)


def _online_store(registry: FeatureStore) -> OnlineStore:
    config = registry.config.online_store
    online = registry.provider.online_store
    if not isinstance(online, RedisOnlineStore):
        raise Refusal(f"the online store is {config.type!r}; only Redis can be served from. Set `online_store.type` in feature_store.yaml.")

    names = Names()
    if config.redis_type == RedisType.redis_sentinel:
        return SentinelStore(Sentinels(config, names))
    if config.redis_type == RedisType.redis_cluster:
        return ClusterStore(Nodes(config, names))
    return OnlineStore(Single(config, names).connect)


def _stay_responsive() -> None:
    """Keep pauses short: what is imported stays out of every collection, and threads give way after half a millisecond."""
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
