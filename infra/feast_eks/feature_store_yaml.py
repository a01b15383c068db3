"""What Feast reads: feature_store.yaml, with every secret as ${VARIABLE}.

Pure.
"""

from typing import Any
from urllib.parse import urlencode

import yaml

from feast_eks.addresses import MASTER_SET, ONLINE_STORE_CA_FILE, RegistryAddress, online_store_hosts, registry_address
from feast_eks.contract import SCHEDULE_TAG, Contract
from feast_eks.refusal import Problem, Refusal
from feast_eks.settings import MaterializationSettings, Settings, longest_gap
from feast_eks.workload import FEATURE_REPO_PATH

FASTEST_LOAD_SECONDS = 5
"""From the moment up to which a load reads to the moment when its first values are served, at the least."""

ONLINE_STORE_CLASS = "feature_runtime.online_store.PipelinedRedisOnlineStore"
"""Feast's own Redis store, written in batches, as the runtime image has it. Its keys are the same, and so are its bytes in Redis:
whoever has no runtime image reads with `type: redis`."""


def feature_store_yaml(settings: Settings, contract: Contract) -> str:
    """The feature_store.yaml of all pods."""
    document = {
        "project": contract.project,
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": _registry_url(registry_address(settings.registry)),
            "schema_mode": "${REGISTRY_SCHEMA_MODE}",
            "cache_ttl_seconds": 60,
            "cache_mode": "sync",
            "serve_features_while_materializing": True,
            # A connection that a failover or a password's rotation ended is noticed before it is used; none is kept idle.
            "sqlalchemy_config_kwargs": {"pool_recycle": 0, "pool_pre_ping": True},
        },
        "online_store": _online_store(settings, contract),
        "offline_store": {"type": "file"},
        # Without it a whole view is held in memory.
        "materialization": {"online_write_batch_size": 10_000},
        # Keys written under another version cannot be read: never change it.
        "entity_key_serialization_version": 3,
    }
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def _registry_url(address: RegistryAddress) -> str:
    # Where there are replicas, whoever changes the registry uses the primary and whoever just reads uses them: a pod's identity
    # says which. Not Feast's `read_path`: with it every server would need the primary too, to start.
    host = "${REGISTRY_HOST}" if address.read_host else address.host
    parameters = f"?{urlencode(address.parameters, safe='/')}" if address.parameters else ""
    return f"postgresql+psycopg://${{REGISTRY_USER}}:${{REGISTRY_PASSWORD}}@{host}:{address.port}/{address.database}{parameters}"


def _online_store(settings: Settings, contract: Contract) -> dict[str, Any]:
    options = ["username=${ONLINE_STORE_USER}", "password=${ONLINE_STORE_PASSWORD}", "socket_timeout=1", "socket_connect_timeout=1"]
    store: dict[str, Any] = {"type": ONLINE_STORE_CLASS}
    external = settings.online_store.external
    if settings.online_store.mode == "sentinel":
        store |= {"redis_type": "redis_sentinel", "sentinel_master": MASTER_SET}
    elif external and external.type == "cluster":
        store |= {"redis_type": "redis_cluster"}
    else:
        # A Redis that is away is an error at once, not after three ever longer retries.
        options.append("retry=null")
    if external and external.tls:
        options.append("ssl=true")
        if external.ca_certificate:
            options.append(f"ssl_ca_certs={FEATURE_REPO_PATH}/{ONLINE_STORE_CA_FILE}")
    store["connection_string"] = ",".join([*online_store_hosts(settings.online_store, settings.namespace), *options])
    if (key_ttl := key_ttl_seconds(settings.materialization, contract)) is not None:
        store["key_ttl_seconds"] = key_ttl
    return store


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


def key_ttl_seconds(settings: MaterializationSettings, contract: Contract) -> int | None:
    """How long a key may live in Redis without being written, so that who left fades: None if some view's values never age.

    Long enough to survive one missed run and a second one at its deadline.

    Raises:
        Refusal: a view's ttl is so short that no load could ever bring a value that counts; names all.
    """
    problems = [
        Problem(
            path=f"feature view {view}",
            value=f"ttl of {ttl} second{'' if abs(ttl) == 1 else 's'}",
            rule=f"0 (for ever), or at least {FASTEST_LOAD_SECONDS} seconds: what is loaded is older when the load has ended",
            remedy="raise the view's ttl",
        )
        for view, ttl in sorted(contract.ttl_seconds.items())
        if ttl < 0 or (0 < ttl < FASTEST_LOAD_SECONDS and view in contract.online - contract.pushed)
    ]
    if problems:
        raise Refusal("feature definitions", problems)
    if not contract.ttl_seconds or 0 in contract.ttl_seconds.values():
        return None
    margins = [_loads(settings, contract, view).margin_seconds for view in contract.ttl_seconds]
    return max(contract.ttl_seconds.values()) + max(margins)


def fading_views(settings: MaterializationSettings, contract: Contract) -> list[str]:
    """What to say of views whose values stop to count before the next load brings others, or do so when one load fails.

    Their author may want that. Views that are pushed to are left out: what they are fed by, no schedule says.
    """
    said = []
    for view in sorted(contract.online - contract.pushed):
        ttl, loads = contract.ttl_seconds[view], _loads(settings, contract, view)
        gap = int(longest_gap(loads.schedule).total_seconds())
        if not 0 < ttl < loads.margin_seconds:
            continue
        whose = f"its tag {SCHEDULE_TAG}" if view in contract.schedules else "materialization.schedule"
        said.append(
            f"feature view {view}: its ttl is {_hours(ttl)}, and the loads by {whose} {loads.schedule!r} lie up to {_hours(gap)} apart. "
            f"Its values are null {'until the next load has ended' if ttl < gap else 'when a load is missed'}. If that is not wanted, give "
            f"it a ttl of at least {_hours(loads.margin_seconds)} (two gaps and one deadline), or load it more often (by the tag "
            f"{SCHEDULE_TAG})."
        )
    return said


def _loads(settings: MaterializationSettings, contract: Contract, view: str) -> MaterializationSettings:
    """How a view is loaded: by its own schedule where it has one."""
    return settings.apart(contract.schedules[view]) if view in contract.schedules else settings


def _hours(seconds: int) -> str:
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = f"{seconds / size:.4g}"
            return f"{count} {unit}{'' if count == '1' else 's'}"
    return f"{seconds} seconds"
