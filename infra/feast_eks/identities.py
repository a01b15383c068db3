"""Who may do what: one table, and the passwords and service accounts that enforce it.

To answer "what may write to Redis?" or "who owns the registry?", read `IDENTITIES`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random

from feast_eks.workload import Object, labels

REGISTRY_AUTH_SECRET = "feast-postgresql-auth"
ONLINE_STORE_AUTH_SECRET = "feast-redis-auth"
ONLINE_STORE_ACL_SECRET = "feast-redis-acl"
OFFLINE_STORE_SECRET = "offline-store-credentials"

REGISTRY_CLIENT_LABEL = {"feast.dev/registry-client": "true"}
ONLINE_STORE_CLIENT_LABEL = {"feast-redis-client": "true"}
"""The label that the Redis chart's network policy asks of clients; its name follows from the chart's full name."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What one kind of pod may do, and the names of its service account and its Secret.

    `registry_role` is a PostgreSQL role, `registry_schema_mode` whether Feast may create tables with it,
    `online_store_rules` are Redis ACL rules, `reads_offline_store` is read access to the bucket.
    """

    name: str
    registry_role: str | None = None
    registry_schema_mode: str = "verify"
    online_store_rules: str | None = None
    reads_offline_store: bool = False
    runs_pods: bool = True

    @property
    def secret_name(self) -> str:
        """The Secret with this identity's passwords."""
        return f"{self.name}-credentials"

    @property
    def online_store_user(self) -> str:
        """The Redis user."""
        return f"feast-{self.name}"

    @property
    def client_labels(self) -> dict[str, str]:
        """The labels by which the stores' network policies let its pods in."""
        return (REGISTRY_CLIENT_LABEL if self.registry_role else {}) | (ONLINE_STORE_CLIENT_LABEL if self.online_store_rules else {})

    def environment(self) -> list[Object]:
        """Environment variables with its user names, and its passwords by reference to its Secret."""
        variables: list[Object] = []
        if self.registry_role:
            variables += [
                {"name": "REGISTRY_USER", "value": self.registry_role},
                from_secret("REGISTRY_PASSWORD", self.secret_name, "registry-password"),
                {"name": "REGISTRY_SCHEMA_MODE", "value": self.registry_schema_mode},
            ]
        if self.online_store_rules:
            variables += [
                {"name": "ONLINE_STORE_USER", "value": self.online_store_user},
                from_secret("ONLINE_STORE_PASSWORD", self.secret_name, "online-store-password"),
            ]
        return variables


CONNECT = "~* resetchannels -@all +@connection -@dangerous"
"""What every Redis user may do: log in, name itself, choose the protocol. Each identity adds the commands that Feast sends."""

APPLY = Identity(
    name="apply",
    registry_role="feast",  # owner of the database, made by the chart
    registry_schema_mode="auto",
    online_store_rules=f"{CONNECT} +scan +hkeys +hdel +del",  # removes what a deleted view leaves behind
    reads_offline_store=True,
)
MATERIALIZE = Identity(
    name="materialize",
    registry_role="feast_materialize",
    online_store_rules=f"{CONNECT} +get +set +hmget +hset +expire",
    reads_offline_store=True,
)
SERVE = Identity(
    name="feature-server",
    registry_role="feast_serve",
    online_store_rules=f"{CONNECT} +get +hmget +hgetall",
)
SMOKE_TEST = Identity(name="smoke-test", reads_offline_store=True)
CHECK = Identity(name="check", registry_role="feast_check", runs_pods=False)

IDENTITIES = (APPLY, MATERIALIZE, SERVE, SMOKE_TEST, CHECK)


def from_secret(variable: str, secret: str, key: str) -> Object:
    """An environment variable whose value stays in a Secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def redis_acl(password_hashes: Mapping[str, str]) -> str:
    """The ACL file of Redis: `password_hashes` maps a user (and `default`) to the hex sha256 of its password."""
    rules = {identity.online_store_user: identity.online_store_rules for identity in IDENTITIES if identity.online_store_rules}
    rules["default"] = "~* &* +@all"
    return "".join(f"user {user} on #{password_hashes[user]} {rules[user]}\n" for user in sorted(rules))


def sha256_hex(text: str) -> str:
    """Hex sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class IdentitiesArgs:
    """`offline_store_credentials`: `{access_key_id, secret_access_key}` for an S3-compatible store, None for AWS roles."""

    namespace: pulumi.Input[str]
    protect: bool
    offline_store_credentials: pulumi.Output[dict[str, str]] | None


class Identities(pulumi.ComponentResource):
    """A service account, a password for each store and a Secret for every identity, and the stores' own passwords."""

    secrets: list[kubernetes.core.v1.Secret]
    """Everything the stores need before they start."""

    def __init__(self, name: str, args: IdentitiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Identities", name, {}, opts)
        self._args = args
        registry_passwords = {i.name: self._password(f"{i.name}-registry") for i in IDENTITIES if i.registry_role}
        online_store_passwords = {i.name: self._password(f"{i.name}-online-store") for i in IDENTITIES if i.online_store_rules}
        default_user_password = self._password("online-store")

        for identity in IDENTITIES:
            if identity.runs_pods:
                kubernetes.core.v1.ServiceAccount(
                    f"{identity.name}-service-account",
                    metadata={"name": identity.name, "namespace": args.namespace, "labels": labels(identity.name)},
                    automount_service_account_token=False,
                    opts=pulumi.ResourceOptions(parent=self),
                )

        hashes = {i.online_store_user: online_store_passwords[i.name].apply(sha256_hex) for i in IDENTITIES if i.online_store_rules}
        hashes["default"] = default_user_password.apply(sha256_hex)
        self.secrets = [
            self._secret(
                REGISTRY_AUTH_SECRET,
                {
                    "postgres-password": self._password("registry-admin"),
                    "password": registry_passwords[APPLY.name],
                    "replication-password": self._password("registry-replication"),
                },
            ),
            self._secret(ONLINE_STORE_AUTH_SECRET, {"redis-password": default_user_password}),
            self._secret(ONLINE_STORE_ACL_SECRET, {"users.acl": pulumi.Output.all(**hashes).apply(redis_acl)}),
        ]
        for identity in IDENTITIES:
            data: dict[str, pulumi.Input[str]] = {}
            if identity.registry_role:
                data["registry-password"] = registry_passwords[identity.name]
            if identity.online_store_rules:
                data["online-store-password"] = online_store_passwords[identity.name]
            if data:
                self.secrets.append(self._secret(identity.secret_name, data))
        if args.offline_store_credentials:
            self.secrets.append(
                self._secret(
                    OFFLINE_STORE_SECRET,
                    {
                        "access-key-id": args.offline_store_credentials["access_key_id"],
                        "secret-access-key": args.offline_store_credentials["secret_access_key"],
                    },
                )
            )
        self.register_outputs({})

    def _password(self, name: str) -> pulumi.Output[str]:
        generated = random.RandomPassword(
            f"{name}-password",
            length=32,
            special=False,
            opts=pulumi.ResourceOptions(parent=self, protect=self._args.protect),
        )
        # A leading letter: Feast reads Redis passwords as JSON, and "1e5…" would become a number.
        return pulumi.Output.concat("p", generated.result)

    def _secret(self, name: str, data: Mapping[str, pulumi.Input[str]]) -> kubernetes.core.v1.Secret:
        metadata: dict[str, Any] = {"name": name, "namespace": self._args.namespace, "labels": labels(name)}
        return kubernetes.core.v1.Secret(
            name, metadata=metadata, string_data=pulumi.Output.secret(dict(data)), opts=pulumi.ResourceOptions(parent=self)
        )
