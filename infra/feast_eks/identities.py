"""Who may do what: one table. Everything that enforces it is made from it.

To answer "what may write to Redis?", "what may read the bucket?" or "who owns the registry?", read `IDENTITIES`. From it
come the Redis users and their commands, the database roles, the AWS roles, and who may connect to which store. Pure.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from feast_eks.addresses import registry_address
from feast_eks.settings import Settings
from feast_eks.workload import Object


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who does something and what it may do in each store; nothing where a right is left out.

    `pods` are the names on the labels of its pods, one for each kind. `registry_role` is the PostgreSQL role that is made for it; who
    administers the registry logs in as its administrator.
    """

    name: str
    pods: tuple[str, ...]
    registry: Literal["administers", "owns", "records loads", "reads"] | None = None
    registry_role: str = ""
    online_store: Literal["writes", "reads", "deletes"] | None = None
    offline_store: Literal["reads sources"] | None = None

    @property
    def secret_name(self) -> str:
        """The Secret with this identity's passwords."""
        return f"{self.name}-credentials"

    @property
    def online_store_user(self) -> str:
        """The Redis user."""
        return f"feast-{self.name}"

    @property
    def online_store_rules(self) -> str:
        """What the Redis user may do, as ACL rules; empty for who has none."""
        return f"{CONNECT} {COMMANDS[self.online_store]}" if self.online_store else ""

    @property
    def client_labels(self) -> dict[str, str]:
        """The labels by which the stores' network policies let its pods in."""
        return (REGISTRY_CLIENT_LABEL if self.registry else {}) | (ONLINE_STORE_CLIENT_LABEL if self.online_store else {})


IMAGE_CHECK = Identity(name="image-check", pods=("image-check",))
"""Starts the image once; it may do nothing."""

REGISTRY_ROLES = Identity(name="registry-roles", pods=("registry-roles",), registry="administers")
APPLY = Identity(
    name="apply",
    pods=("feast-apply",),
    registry="owns",
    registry_role="feast",
    online_store="deletes",  # what a view leaves behind when it goes
    offline_store="reads sources",  # to compare their columns with the definitions
)
MATERIALIZE = Identity(
    name="materialize",
    pods=("materialize", "skew-probe"),  # the probe reads what materialization wrote, and writes down what it found
    registry="records loads",
    registry_role="feast_materialize",
    online_store="writes",
    offline_store="reads sources",
)
SERVE = Identity(
    name="feature-server",
    pods=("feature-server",),
    registry="reads",
    registry_role="feast_serve",
    online_store="reads",
)
SMOKE_TEST = Identity(
    name="smoke-test",
    pods=("smoke-test",),
    offline_store="reads sources",  # to compare what is served with what is true
)
CHECK = Identity(
    name="check",
    pods=("feast-check",),
    registry="reads",  # the gate, a CI job, an application that looks features up
    registry_role="feast_check",
)

IDENTITIES = (IMAGE_CHECK, REGISTRY_ROLES, APPLY, MATERIALIZE, SERVE, SMOKE_TEST, CHECK)


CONNECT = "~* resetchannels -@all +@connection -@dangerous"
"""What every Redis user may do: log in, name itself, choose the protocol."""

COMMANDS = {
    "reads": "+get +hmget +hgetall",
    "writes": "+get +set +hmget +hset +expire",
    "deletes": "+scan +hkeys +hdel +del",
}
"""What Feast sends for each right, and nothing else."""

CLUSTER_CLIENT = "+cluster|slots +command"
"""What a client of a Redis Cluster asks beside its work: which node has which key. For the users of an external one."""

REGISTRY_AUTH_SECRET = "feast-postgresql-auth"
REGISTRY_ADMINISTRATOR_SECRET = "registry-administrator"
ONLINE_STORE_AUTH_SECRET = "feast-redis-auth"
ONLINE_STORE_ACL_SECRET = "feast-redis-acl"
OFFLINE_STORE_SECRET = "offline-store-credentials"

REGISTRY_CLIENT_LABEL = {"feast.dev/registry-client": "true"}
ONLINE_STORE_CLIENT_LABEL = {"feast-redis-client": "true"}
"""The label that the Redis chart's network policy asks of clients; its name follows from the chart's full name."""


def has_aws_role(identity: Identity, settings: Settings, sources: Sequence[str]) -> bool:
    """Whether its pods read the sources by an AWS role of their own."""
    return bool(identity.offline_store and sources) and settings.workload_identity != "static"


def from_secret(variable: str, secret: str, key: str) -> Object:
    """An environment variable whose value stays in a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def store_environment(identity: Identity, settings: Settings, *, from_primary: bool = False) -> list[Object]:
    """Environment variables by which a pod uses registry and online store: user names, and passwords by reference.

    `from_primary`: what was written a moment ago must be seen, so that who just reads does not ask a replica either.
    """
    variables: list[Object] = []
    if identity.registry_role:
        registry = registry_address(settings.registry)
        variables += [
            {"name": "REGISTRY_USER", "value": identity.registry_role},
            from_secret("REGISTRY_PASSWORD", identity.secret_name, "registry-password"),
            {"name": "REGISTRY_SCHEMA_MODE", "value": "auto" if identity.registry == "owns" else "verify"},
        ]
        if registry.read_host:
            # Who changes the registry must see its own changes: only who just reads goes to a replica.
            host = registry.read_host if identity.registry == "reads" and not from_primary else registry.host
            variables.append({"name": "REGISTRY_HOST", "value": host})
    if identity.online_store:
        variables += [
            from_secret("ONLINE_STORE_USER", identity.secret_name, "online-store-user")
            if settings.online_store.external
            else {"name": "ONLINE_STORE_USER", "value": identity.online_store_user},
            from_secret("ONLINE_STORE_PASSWORD", identity.secret_name, "online-store-password"),
        ]
    return variables


def redis_acl(password_hashes: Mapping[str, str]) -> str:
    """The ACL file of Redis: `password_hashes` maps a user (and `default`) to the hex sha256 of its password."""
    rules = {i.online_store_user: i.online_store_rules for i in IDENTITIES if i.online_store}
    rules["default"] = "~* &* +@all"
    return "".join(f"user {user} on #{password_hashes[user]} {rules[user]}\n" for user in sorted(rules))


def sha256_hex(text: str) -> str:
    """Hex sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
