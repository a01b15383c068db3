"""How old the served values are: from the records that loads and the skew probe leave beside them in Redis."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from feature_runtime.online_store.load_records import KEY, LoadRecord
from feature_runtime.online_store.skew_records import SKEW_KEY, SkewRecord
from feature_runtime.serving.redis_reader import StoreAway
from feature_runtime.serving.server import FeatureServer

SECONDS = 15


async def keep_watching(server: FeatureServer) -> None:
    """Read the records again and again, until cancelled; while Redis is away, those read last count on."""
    while True:
        try:
            await look(server)
        except StoreAway:
            # The next look comes soon, and readiness says it at once.
            await asyncio.sleep(1)
        else:
            await asyncio.sleep(SECONDS)


async def look(server: FeatureServer) -> None:
    """Read all records once; those whose node is away stay as they were read last. Raises StoreAway then."""
    if server.plan is None:
        return
    state, project = server.metrics.state, server.plan.project
    loads = {view: KEY.format(project=project, view=view) for view in server.plan.views}
    skews = {service: SKEW_KEY.format(project=project, service=service) for service in server.plan.services}
    loaded, loads_away = await _read(server, loads, LoadRecord.parse)
    compared, skews_away = await _read(server, skews, SkewRecord.parse)
    state.loaded_until = _updated(state.loaded_until, loads, loaded, lambda record: record.end.timestamp())
    state.newest_event = _updated(state.newest_event, loads, loaded, lambda record: record.newest_event_time.timestamp())
    state.skew = _updated(state.skew, skews, compared, lambda record: record.ratio)
    state.compared_at = _updated(state.compared_at, skews, compared, lambda record: record.at.timestamp())
    if away := loads_away or skews_away:
        raise away


async def _read(server: FeatureServer, keys: dict[str, str], parse: Callable[[Any], Any]) -> tuple[dict[str, Any], StoreAway | None]:
    """The records by name, None where there is none, without those whose node is away."""
    found, away = {}, None
    for name, key in keys.items():
        try:
            found[name] = parse(await server.store.command(b"GET", key.encode()))
        except StoreAway as error:
            away = error
    return found, away


def _updated(known: dict[str, float], names: Iterable[str], found: dict[str, Any], value: Callable[[Any], float]) -> dict[str, float]:
    kept = {name: known[name] for name in names if name not in found and name in known}
    return kept | {name: value(record) for name, record in found.items() if record}
