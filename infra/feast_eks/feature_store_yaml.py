"""What Feast reads: feature_store.yaml, with every secret as ${VARIABLE}.

Pure.
"""

from typing import Any
from urllib.parse import urlencode

import yaml

from feast_eks.addresses import MASTER_SET, ONLINE_STORE_CA_FILE, RegistryAddress, online_store_hosts, registry_address
from feast_eks.contract import SCHEDULE_TAG, Contract
from feast_eks.refusal import Problem, Refusal
from feast_eks.settings import MaterializationSettings, Settings
from feast_eks.workload import FEATURE_REPO_PATH

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
        Refusal: a view's ttl is shorter than that, so its values would age away between two runs.
    """
    margins = {
        view: (settings.apart(contract.schedules[view]) if view in contract.schedules else settings) for view in contract.ttl_seconds
    }
    problems = [
        Problem(
            path=f"feature view {view}",
            value=f"ttl of {ttl / 3600:g} hours",
            rule=f"a ttl of at least {margins[view].margin_seconds / 3600:g} hours: two gaps of "
            f"{f'its tag {SCHEDULE_TAG}' if view in contract.schedules else 'materialization.schedule'} {margins[view].schedule!r} "
            "and one deadline",
            remedy=f"raise the view's ttl, or materialize more often (the view alone by its tag {SCHEDULE_TAG})",
        )
        for view, ttl in contract.ttl_seconds.items()
        if 0 < ttl < margins[view].margin_seconds
    ]
    if problems:
        raise Refusal("feature definitions and schedule", problems)
    if not contract.ttl_seconds or 0 in contract.ttl_seconds.values():
        return None
    return max(contract.ttl_seconds.values()) + max(margin.margin_seconds for margin in margins.values())
