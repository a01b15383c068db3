"""Keep up with the registry: what it says is served as a whole, or not at all.

A registry that is away, that no longer fits the contract, or that an apply is writing to, changes nothing: the old plan
serves on. No look holds up anything else, however long the database or a user's function takes, not even the process's
end: what may hang runs in daemon threads.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feast import FeatureStore, OnDemandFeatureView

from feature_runtime.daemon_threads import in_daemon_thread
from feature_runtime.gate.recorded import is_whole
from feature_runtime.progress import say
from feature_runtime.retrying import first_line
from feature_runtime.serving.on_demand import Transformer
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.question import PlanRefused
from feature_runtime.serving.registry_snapshot import describe
from feature_runtime.serving.server import FeatureServer

if TYPE_CHECKING:
    from concurrent.futures import Future

LOOK_SECONDS = 30.0
"""A registry that has not been read by then is given up, until the next look connects anew."""
SETTLED_SECONDS = 0.5
"""Between two readings of a registry that nobody says is whole."""
MOST_GIVEN_UP = 10
"""Looks that still hang: with so many there is no further one."""


class HalfApplied(Exception):
    """The registry is on its way from one contract to another."""

    def __init__(self) -> None:
        super().__init__("the registry is not what the last apply left: another one is under way, or ended half-way")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What the registry said at one moment, ready to serve."""

    plan: Plan
    transformer: Transformer
    source: Any
    """Equal for registries that say the same."""


def load(store: FeatureStore, contract: dict[str, Any], old: Loaded | None = None, *, even_half: bool = False) -> Loaded:
    """What the registry says now; `old` when it says nothing new.

    Raises:
        PlanRefused: it cannot be served, or not with the contract.
        HalfApplied: it is new, and not whole; not raised with `even_half`.
    """
    _refresh(store)
    try:
        description, computed = describe(store, contract)
    except PlanRefused:
        if not even_half and is_whole(store) is False:
            raise HalfApplied from None
        raise
    source = _source(description, computed)
    if old is not None and old.source == source:
        return old
    whole = True if even_half else is_whole(store)
    if whole is None and old is not None:
        # Stock Feast applied it, object by object, and leaves no word when it is done.
        time.sleep(SETTLED_SECONDS)
        _refresh(store)
        whole = _source(*describe(store, contract)) == source
    if whole is False:
        raise HalfApplied
    return Loaded(plan=Plan(description), transformer=Transformer(computed), source=source)


def _source(description: dict[str, Any], computed: list[OnDemandFeatureView]) -> Any:
    return description, [_definition(view) for view in computed]


def _definition(view: OnDemandFeatureView) -> bytes:
    definition: bytes = view.to_proto().spec.SerializeToString(deterministic=True)
    return definition


def _refresh(store: FeatureStore) -> None:
    read_before = getattr(store.registry, "cached_registry_proto_created", None)
    store.refresh_registry()
    if read_before is not None and store.registry.cached_registry_proto_created == read_before:
        # Feast keeps quiet when a database does not answer; another question makes it tell.
        store.list_projects()
        raise RuntimeError("Feast could not read it, and does not say why")


class _Looks:
    """Looks at the registry, one after the other, each within a time."""

    def __init__(self, store: FeatureStore, contract: dict[str, Any]) -> None:
        self._store: FeatureStore | None = store
        self._config = store.config
        self._contract = contract
        self._hanging: list[Future[tuple[FeatureStore, Loaded]]] = []

    async def look(self, loaded: Loaded) -> Loaded:
        """`load`.

        Raises:
            TimeoutError: it takes too long.
        """
        self._hanging = [call for call in self._hanging if not call.done()]
        if len(self._hanging) >= MOST_GIVEN_UP:
            raise TimeoutError(f"{len(self._hanging)} earlier looks have not ended")
        # While it is read, and after it hung, it is the thread's alone.
        store, self._store = self._store, None
        call = in_daemon_thread("registry", self._load, store, loaded)
        try:
            self._store, loaded = await asyncio.wait_for(asyncio.wrap_future(call), LOOK_SECONDS)
        except TimeoutError:
            if call.done():
                raise
            self._hanging.append(call)
            raise TimeoutError(f"it did not answer within {LOOK_SECONDS:g} s") from None
        except Exception:
            self._store = store
            raise
        return loaded

    def _load(self, store: FeatureStore | None, loaded: Loaded) -> tuple[FeatureStore, Loaded]:
        store = store or FeatureStore(config=self._config)
        return store, load(store, self._contract, loaded)


async def keep_up(server: FeatureServer, store: FeatureStore, contract: dict[str, Any], loaded: Loaded, *, seconds: float) -> None:
    """Look at the registry every so many seconds, until cancelled; what is new is served from the next request on."""
    said = ""
    looks = _Looks(store, contract)
    while True:
        await asyncio.sleep(seconds)
        try:
            new = await looks.look(loaded)
        except PlanRefused as refused:
            result, message = "refused", f"the registry has changed, and the change is refused: {refused}. The old plan serves on"
        except HalfApplied as half:
            result, message = "refused", f"{half}. The old plan serves on"
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
