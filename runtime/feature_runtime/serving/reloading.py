"""Keep up with the registry: what it says is served as a whole, or not at all.

A registry that is away, or that no longer fits the contract, changes nothing: the old plan serves on.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from feast import FeatureStore

from feature_runtime.progress import say
from feature_runtime.retrying import first_line
from feature_runtime.serving.describing import describe
from feature_runtime.serving.on_demand import Transformer
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.question import PlanRefused
from feature_runtime.serving.server import FeatureServer


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What the registry said at one moment, ready to serve."""

    plan: Plan
    transformer: Transformer
    source: Any
    """Equal for registries that say the same."""


def load(store: FeatureStore, contract: dict[str, Any], old: Loaded | None = None) -> Loaded:
    """What the registry says now; `old` when it says nothing new.

    Raises:
        PlanRefused: it cannot be served, or not with the contract.
    """
    _refresh(store)
    description, on_demand = describe(store, contract)
    source = (description, [view.to_proto().spec.SerializeToString(deterministic=True) for view in on_demand])
    if old is not None and old.source == source:
        return old
    return Loaded(plan=Plan(description), transformer=Transformer(on_demand), source=source)


def _refresh(store: FeatureStore) -> None:
    read_before = getattr(store.registry, "cached_registry_proto_created", None)
    store.refresh_registry()
    if read_before is not None and store.registry.cached_registry_proto_created == read_before:
        # Feast keeps quiet when a database does not answer; another question makes it tell.
        store.list_projects()
        raise RuntimeError("Feast could not read it, and does not say why")


async def keep_up(server: FeatureServer, store: FeatureStore, contract: dict[str, Any], loaded: Loaded, *, seconds: float) -> None:
    """Look at the registry every so many seconds, until cancelled; what is new is served from the next request on."""
    said = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            # In a thread: reading a registry takes longer than many requests.
            new = await asyncio.to_thread(load, store, contract, loaded)
        except PlanRefused as refused:
            result, message = "refused", f"the registry has changed, and the change is refused: {refused}. The old plan serves on"
        except Exception as error:  # noqa: BLE001  a database can fail in many ways, and come back
            result, message = "failed", f"the registry could not be read: {first_line(error)}. The old plan serves on"
        else:
            result, message = ("unchanged" if new is loaded else "loaded"), ""
            if new is not loaded:
                loaded = new
                server.use(new.plan, new.transformer)
                say(f"loaded what is new in the registry: {', '.join(sorted(new.plan.services))}")
        server.metrics.reload(result)
        if message and message != said:
            say(message)
        said = message
