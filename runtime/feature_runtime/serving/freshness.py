"""How old the served values are: from the records that loads and the skew probe leave beside them in Redis."""

import asyncio

from feature_runtime.online_store.load_records import KEY, LoadRecord
from feature_runtime.online_store.skew_records import SKEW_KEY, SkewRecord
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
    command, project = server.store.command, server.plan.project
    loads = {view: LoadRecord.parse(await command(b"GET", KEY.format(project=project, view=view).encode())) for view in server.plan.views}
    skews = {
        service: SkewRecord.parse(await command(b"GET", SKEW_KEY.format(project=project, service=service).encode()))
        for service in server.plan.services
    }
    state = server.metrics.state
    state.loaded_until = {view: record.end.timestamp() for view, record in loads.items() if record}
    state.newest_event = {view: record.newest_event_time.timestamp() for view, record in loads.items() if record}
    state.skew = {service: record.ratio for service, record in skews.items() if record}
    state.compared_at = {service: record.at.timestamp() for service, record in skews.items() if record}
