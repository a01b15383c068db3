"""What Feast reads: feature_store.yaml, with every secret as ${VARIABLE}.

Pure.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import yaml
from croniter import croniter

from feast_eks.addresses import MASTER_SET, REGISTRY_DATABASE, REGISTRY_PORT, online_store_hosts, registry_host
from feast_eks.contract import Contract
from feast_eks.refusal import Problem, Refusal
from feast_eks.settings import MaterializationSettings, Settings

SCHEDULE_START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULE_RUNS = 400
"""Enough runs of any five-field schedule to see its longest gap."""


def feature_store_yaml(settings: Settings, contract: Contract) -> str:
    """The feature_store.yaml of all pods."""
    options = ["username=${ONLINE_STORE_USER}", "password=${ONLINE_STORE_PASSWORD}", "socket_timeout=1", "socket_connect_timeout=1"]
    online_store: dict[str, Any] = {"type": "redis"}
    if settings.online_store.mode == "sentinel":
        online_store |= {"redis_type": "redis_sentinel", "sentinel_master": MASTER_SET}
    else:
        # A Redis that is away is an error at once, not after three ever longer retries.
        options.append("retry=null")
    online_store["connection_string"] = ",".join([*online_store_hosts(settings.online_store, settings.namespace), *options])
    if (key_ttl := key_ttl_seconds(settings.materialization, contract)) is not None:
        online_store["key_ttl_seconds"] = key_ttl
    document = {
        "project": contract.project,
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": f"postgresql+psycopg://${{REGISTRY_USER}}:${{REGISTRY_PASSWORD}}@{registry_host()}:{REGISTRY_PORT}/{REGISTRY_DATABASE}",
            "schema_mode": "${REGISTRY_SCHEMA_MODE}",
            "cache_ttl_seconds": 60,
            "cache_mode": "sync",
            "serve_features_while_materializing": True,
            # A pooled connection does not survive the fork of server workers.
            "sqlalchemy_config_kwargs": {"pool_recycle": 0, "pool_pre_ping": True},
        },
        "online_store": online_store,
        "offline_store": {"type": "file"},
        # Without it a whole view is held in memory.
        "materialization": {"online_write_batch_size": 10_000},
        # Keys written under another version cannot be read: never change it.
        "entity_key_serialization_version": 3,
    }
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def client_feature_store_yaml(contract: Contract, feature_server_url: str) -> str:
    """A feature_store.yaml for applications: they read features from the server, and need no password."""
    document = {
        "project": contract.project,
        "provider": "local",
        "registry": "data/registry.db",
        "online_store": {"type": "remote", "path": feature_server_url},
        "entity_key_serialization_version": 3,
    }
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def longest_gap(schedule: str) -> timedelta:
    """The longest time between two runs of a cron schedule."""
    runs = croniter(schedule, SCHEDULE_START)
    times: list[datetime] = [runs.get_next(datetime) for _ in range(SCHEDULE_RUNS)]
    return max(later - earlier for earlier, later in pairwise(times))


def key_ttl_seconds(settings: MaterializationSettings, contract: Contract) -> int | None:
    """How long a key may live in Redis without being written, so that who left fades: None if some view's values never age.

    Long enough to survive one missed run and a second one at its deadline.

    Raises:
        Refusal: a view's ttl is shorter than that, so its values would age away between two runs.
    """
    margin = int((2 * longest_gap(settings.schedule)).total_seconds()) + settings.deadline_minutes * 60
    problems = [
        Problem(
            path=f"feature view {view}",
            value=f"ttl of {ttl / 3600:g} hours",
            rule=f"a ttl of at least {margin / 3600:g} hours: two gaps of materialization.schedule {settings.schedule!r} and one deadline",
            remedy="raise the view's ttl, or materialize more often",
        )
        for view, ttl in contract.ttl_seconds.items()
        if 0 < ttl < margin
    ]
    if problems:
        raise Refusal("feature definitions and schedule", problems)
    if not contract.ttl_seconds or 0 in contract.ttl_seconds.values():
        return None
    return max(contract.ttl_seconds.values()) + margin
