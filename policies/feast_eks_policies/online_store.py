"""An online store that anybody reads or writes, that forgets, or that nobody replaces."""

from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import CHARTS, chart_values, environment, texts, words
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.stores import configuration, directives_in, has_password, is_chart, options, stores
from feast_eks_policies.values import UNKNOWN, WORKLOADS, get, items

PASSWORDS = {"requirepass", "aclfile"}
SMALLEST_SENTINEL_SET = 3
PARTS = ("master.conf]", "replica.conf]")
"""Files that only add to a configuration, so that nothing can be missing in them."""


def _auth(resource: Resource) -> Iterator[str]:
    for store in stores(resource):
        if store.database == "redis":
            yield from (f"{store.path}{fault}" for fault in _open_container(store.container))
    for key, directives in configuration(resource):
        if directives.get("protected-mode") == "no" and not PASSWORDS & set(directives):
            yield f"{key} sets protected-mode no without requirepass or aclfile"
    for key, text in texts(resource):
        if any(line.startswith("user ") and "nopass" in line.split() for line in text.splitlines()):
            yield f"{key} has a Redis user with nopass"
    if is_chart(resource, "redis") or is_chart(resource, "valkey"):
        for path in (("auth", "enabled"), ("usePassword",)):
            if get(chart_values(resource), *path) is False:
                yield f"values.{'.'.join(path)} is false: whoever reaches the port reads and writes every feature"


def _open_container(container: Mapping[str, Any]) -> Iterator[str]:
    allowed = get(environment(container).get("ALLOW_EMPTY_PASSWORD"), "value")
    if str(allowed).lower() in ("yes", "true", "1"):
        yield f".env[ALLOW_EMPTY_PASSWORD].value is {allowed}"
    given = options(container)
    if given.get("protected-mode") == "no" and not PASSWORDS & set(given):
        yield ".args has --protected-mode no without a password"
    if UNKNOWN not in (container.get("args"), container.get("env")) and not has_password(container):
        yield " starts Redis without password or users: whoever reaches the port reads and writes every feature"


def _eviction(resource: Resource) -> Iterator[str]:
    for path, given in _redis_settings(resource):
        policy = given.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            yield f"{path} sets maxmemory-policy {policy}: a full store forgets entities in silence, and models read nulls"
        if given.get("maxmemory", "0").lower() in ("0", "0mb", "0gb") and not path.endswith(PARTS):
            yield f"{path} sets no maxmemory: the node ends Redis where Redis itself could have refused a write"


def _append_only(resource: Resource) -> Iterator[str]:
    for path, given in _redis_settings(resource):
        if given.get("appendonly", "no") != "yes" and not path.endswith(PARTS):
            yield f"{path} does not set appendonly yes: a master that restarts empty empties its replicas too"
        if given.get("appendfsync") == "no":
            yield f"{path} sets appendfsync no: how much a crash loses is left to the node"


def _redis_settings(resource: Resource) -> Iterator[tuple[str, Mapping[str, str]]]:
    """(path, directives) wherever Redis is configured: files, command lines, a chart's values."""
    yield from configuration(resource)
    for store in stores(resource):
        given = options(store.container)
        # A file named on the command line, or a start script, brings its own settings.
        if store.database == "redis" and given:
            yield f"{store.path}.args", given
    if is_chart(resource, "redis") and isinstance(text := chart_values(resource).get("commonConfiguration"), str):
        yield "values.commonConfiguration", directives_in(text)


def _redis_copies(resource: Resource) -> Iterator[str]:
    for store in stores(resource):
        if store.database != "redis":
            continue
        replicas = get(resource.props, "spec", "replicas", default=1)
        if isinstance(replicas, int) and replicas < SMALLEST_SENTINEL_SET:
            yield f"spec.replicas is {replicas}: a Redis with fewer than {SMALLEST_SENTINEL_SET} nodes has nobody to take over"
        if isinstance(replicas, int) and replicas % 2 == 0:
            yield f"spec.replicas is {replicas}: half of an even number of Sentinels is no majority"
        beside = items(store.spec.get("containers"))
        if UNKNOWN not in beside and not any("sentinel" in f"{c.get('name')} {c.get('image')} {words(c)}" for c in beside):
            yield f"{store.path} has no Sentinel beside it: nobody notices that a master is gone"
    if is_chart(resource, "redis") and resource.props.get("values") is not UNKNOWN:
        yield from _redis_chart(chart_values(resource))


def _redis_chart(values: Mapping[str, Any]) -> Iterator[str]:
    if get(values, "architecture", default="replication") not in ("replication", UNKNOWN):
        yield "values.architecture is standalone: one node down is every feature down"
        return
    if get(values, "sentinel", "enabled") not in (True, UNKNOWN):
        yield "values.sentinel.enabled is not true: nobody replaces a master that is gone"
    replicas, quorum = get(values, "replica", "replicaCount"), get(values, "sentinel", "quorum", default=2)
    if isinstance(replicas, int) and (replicas < SMALLEST_SENTINEL_SET or replicas % 2 == 0):
        yield f"values.replica.replicaCount is {replicas}, not an odd number from {SMALLEST_SENTINEL_SET} on"
    if isinstance(replicas, int) and isinstance(quorum, int) and quorum != replicas // 2 + 1:
        yield f"values.sentinel.quorum is {quorum}, the majority of {replicas} is {replicas // 2 + 1}"


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="redis-auth",
        description="Redis asks who is there.",
        harm="exposure",
        severity="critical",
        remedy="give every identity a user with a password (aclfile), and default one too; charts: auth.enabled with existingSecret",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", "kubernetes:*:Secret", *CHARTS),
        check=_auth,
    ),
    ResourceRule(
        name="redis-noeviction",
        description="A full online store refuses its writer instead of forgetting entities.",
        harm="integrity",
        severity="high",
        remedy="maxmemory-policy noeviction, with maxmemory at 60 % of the container's memory",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", *CHARTS),
        check=_eviction,
    ),
    ResourceRule(
        name="redis-aof",
        description="The online store is still there after a restart.",
        harm="durability",
        severity="high",
        remedy="appendonly yes, appendfsync everysec",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", *CHARTS),
        check=_append_only,
    ),
    ResourceRule(
        name="redis-ha-prod",
        description="Another node takes over when the online store's master is gone.",
        harm="durability",
        severity="high",
        remedy="online_store.mode: sentinel with 3 replicas, or external",
        types=(*WORKLOADS, *CHARTS),
        check=_redis_copies,
    ),
)
