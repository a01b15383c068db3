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
    """Read all records once; raises StoreAway."""
    if server.plan is None:
        return
    ends: dict[str, float] = {}
    newest: dict[str, float] = {}
    skew: dict[str, float] = {}
    project = server.plan.project
    for view in server.plan.views:
        record = await _record(server, load_records.KEY.format(project=project, view=view))
        if (end := _moment(record.get("end"))) is not None:
            ends[view] = end
        if (moment := _moment(record.get("newest_event_time"))) is not None:
            newest[view] = moment
    for service in server.plan.services:
        record = await _record(server, SKEW_KEY.format(project=project, service=service))
        if isinstance(ratio := record.get("ratio"), int | float):
            skew[service] = float(ratio)
    state = server.metrics.state
    state.loaded_until, state.newest_event, state.skew = ends, newest, skew


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
