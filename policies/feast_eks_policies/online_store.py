"""An online store that anybody reads or writes, that forgets, or that nobody replaces."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.feature_store_files import may_mount
from feast_eks_policies.objects import RELEASE, environment, of_kind, release_values, texts, together, words
from feast_eks_policies.rule import Context, Finding, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.stores import Store, configuration, directives_in, has_password, is_release, options, stores
from feast_eks_policies.values import UNKNOWN, WORKLOADS, get, items, mapping

PASSWORDS = {"requirepass", "aclfile"}
SMALLEST_SENTINEL_SET = 3
PARTS = ("master.conf]", "replica.conf]")
"""Files that only add to a configuration, so that nothing can be missing in them."""

_QUORUM = re.compile(r"(?m)^\s*sentinel monitor \S+ \S+ \S+ (\d+)")
"""In a Sentinel's configuration: how many of them must agree that a master is gone."""


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
    if is_release(resource, "redis") or is_release(resource, "valkey"):
        for path in (("auth", "enabled"), ("usePassword",)):
            if get(release_values(resource), *path) is False:
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
    """(path, directives) wherever Redis is configured: files, command lines, a Release's values."""
    yield from configuration(resource)
    for store in stores(resource):
        given = options(store.container)
        # A file named on the command line, or a start script, brings its own settings.
        if store.database == "redis" and given:
            yield f"{store.path}.args", given
    if is_release(resource, "redis") and isinstance(text := release_values(resource).get("commonConfiguration"), str):
        yield "values.commonConfiguration", directives_in(text)


def _redis_copies(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    for resource in resources:
        for store in stores(resource):
            if store.database == "redis":
                yield from ((resource, fault) for fault in _redis_nodes(resource, store))
                yield from _sentinels(resource, store, resources)
        if is_release(resource, "redis") and resource.props.get("values") is not UNKNOWN:
            yield from ((resource, fault) for fault in _redis_release(release_values(resource)))


def _redis_nodes(resource: Resource, store: Store) -> Iterator[str]:
    replicas = get(resource.props, "spec", "replicas", default=1)
    if isinstance(replicas, int) and replicas < SMALLEST_SENTINEL_SET:
        yield f"spec.replicas is {replicas}: a Redis with fewer than {SMALLEST_SENTINEL_SET} nodes has nobody to take over"
    if isinstance(replicas, int) and replicas % 2 == 0:
        yield f"spec.replicas is {replicas}: half of an even number of Sentinels is no majority"
    beside = items(store.spec.get("containers"))
    if UNKNOWN not in beside and not any("sentinel" in f"{c.get('name')} {c.get('image')} {words(c)}" for c in map(mapping, beside)):
        yield f"{store.path} has no Sentinel beside it: nobody notices that a master is gone"


def _sentinels(resource: Resource, store: Store, resources: list[Resource]) -> Iterator[Finding]:
    replicas = get(resource.props, "spec", "replicas", default=1)
    for config_map in of_kind(resources, "ConfigMap"):
        if isinstance(replicas, int) and together(config_map, resource) and may_mount(store.spec, config_map):
            for key, text in texts(config_map):
                for quorum in _QUORUM.findall(text):
                    if int(quorum) != replicas // 2 + 1:
                        yield config_map, f"{key}: the quorum is {quorum}, the majority of {replicas} is {replicas // 2 + 1}"


def _redis_release(values: Mapping[str, Any]) -> Iterator[str]:
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
        remedy="give every identity a user with a password (aclfile), and default one too; in a Release auth.enabled with existingSecret",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", "kubernetes:*:Secret", RELEASE),
        check=_auth,
    ),
    ResourceRule(
        name="redis-noeviction",
        description="A full online store refuses its writer instead of forgetting entities.",
        harm="integrity",
        severity="high",
        remedy="maxmemory-policy noeviction, with maxmemory at 60 % of the container's memory",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", RELEASE),
        check=_eviction,
    ),
    ResourceRule(
        name="redis-aof",
        description="The online store is still there after a restart.",
        harm="durability",
        severity="high",
        remedy="appendonly yes, appendfsync everysec",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", RELEASE),
        check=_append_only,
    ),
    StackRule(
        name="redis-ha-prod",
        description="Another node takes over when the online store's master is gone.",
        harm="durability",
        severity="high",
        remedy="online_store.mode: sentinel with 3 replicas, or external",
        check=_redis_copies,
    ),
)
