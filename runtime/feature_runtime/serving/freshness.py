"""How old the served values are: from the records that loads and the skew probe leave beside them in Redis."""

import asyncio
import json
from datetime import datetime
from typing import Any

from feature_runtime.online_store import load_records
from feature_runtime.online_store.skew_records import SKEW_KEY
from feature_runtime.serving.online_store import StoreAway
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
    ends: dict[str, float] = {}
    newest: dict[str, float] = {}
    skew: dict[str, float] = {}
    away: StoreAway | None = None
    for view in server.plan.views:
        try:
            record = await _record(server, load_records.KEY.format(project=project, view=view))
        except StoreAway as error:
            away = error
            ends |= _of(view, state.loaded_until)
            newest |= _of(view, state.newest_event)
            continue
        if (end := _moment(record.get("end"))) is not None:
            ends[view] = end
        if (moment := _moment(record.get("newest_event_time"))) is not None:
            newest[view] = moment
    for service in server.plan.services:
        try:
            record = await _record(server, SKEW_KEY.format(project=project, service=service))
        except StoreAway as error:
            away = error
            skew |= _of(service, state.skew)
            continue
        if isinstance(ratio := record.get("ratio"), int | float):
            skew[service] = float(ratio)
    state.loaded_until, state.newest_event, state.skew = ends, newest, skew
    if away is not None:
        raise away


def _of(name: str, known: dict[str, float]) -> dict[str, float]:
    return {name: known[name]} if name in known else {}


async def _record(server: FeatureServer, key: str) -> dict[str, Any]:
    text = await server.store.command(b"GET", key.encode())
    try:
        record = json.loads(text) if text else {}
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except ValueError:
        return None
