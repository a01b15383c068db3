"""What makes the table of identities true inside the cluster: service accounts, passwords, and one Secret for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random

from feast_eks.identities import (
    APPLY,
    IDENTITIES,
    OFFLINE_STORE_SECRET,
    ONLINE_STORE_ACL_SECRET,
    ONLINE_STORE_AUTH_SECRET,
    REGISTRY_ADMINISTRATOR_SECRET,
    REGISTRY_AUTH_SECRET,
    redis_acl,
    sha256_hex,
)
from feast_eks.workload import labels

ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
"""By it EKS hands a service account the AWS role (IRSA); Pod Identity needs none."""


@dataclass(frozen=True, kw_only=True)
class IdentitiesArgs:
    """`role_arns`: AWS roles by identity, where service accounts name them.

    What somebody else's store gave us, None where the program runs the store: `offline_store_credentials`
    `{access_key_id, secret_access_key}`, `registry_administrator` `{username, password}`, `online_store_users` identity
    to `{username, password}`.
    """

    namespace: pulumi.Input[str]
    protect: bool
    role_arns: Mapping[str, pulumi.Output[str]]
    offline_store_credentials: pulumi.Output[dict[str, str]] | None
    registry_administrator: pulumi.Output[dict[str, str]] | None
    online_store_users: pulumi.Output[dict[str, dict[str, str]]] | None


class Identities(pulumi.ComponentResource):
    """A service account, a password for each store and a Secret for every identity, and the stores' own passwords."""

    secrets: list[kubernetes.core.v1.Secret]
    """Everything the stores need before they start."""

    def __init__(self, name: str, args: IdentitiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:Identities", name, {}, opts)
        self._args = args
        for identity in IDENTITIES:
            role = args.role_arns.get(identity.name)
            kubernetes.core.v1.ServiceAccount(
                f"{identity.name}-service-account",
                metadata={
                    "name": identity.name,
                    "namespace": args.namespace,
                    "labels": labels(identity.name),
                    **({"annotations": {ROLE_ANNOTATION: role}} if role else {}),
                },
                automount_service_account_token=False,
                opts=pulumi.ResourceOptions(parent=self),
            )
        registry = {i.name: self._password(f"{i.name}-registry") for i in IDENTITIES if i.registry_role}
        users = self._online_store_users()
        self.secrets = [*self._of_registry(registry[APPLY.name]), *self._of_online_store(users), *self._of_offline_store()]
        for identity in IDENTITIES:
            data: dict[str, pulumi.Input[str]] = {}
            if identity.registry_role:
                data["registry-password"] = registry[identity.name]
            if identity.online_store:
                data |= users[identity.name]
            if data:
                self.secrets.append(self._secret(identity.secret_name, data))
        self.register_outputs({})

    def _online_store_users(self) -> dict[str, dict[str, pulumi.Input[str]]]:
        names = [identity.name for identity in IDENTITIES if identity.online_store]
        if given := self._args.online_store_users:
            return {n: {"online-store-user": given[n]["username"], "online-store-password": given[n]["password"]} for n in names}
        return {name: {"online-store-password": self._password(f"{name}-online-store")} for name in names}

    def _of_registry(self, owner_password: pulumi.Output[str]) -> list[kubernetes.core.v1.Secret]:
        if administrator := self._args.registry_administrator:
            data: dict[str, pulumi.Input[str]] = {"username": administrator["username"], "password": administrator["password"]}
            return [self._secret(REGISTRY_ADMINISTRATOR_SECRET, data)]
        return [
            self._secret(
                REGISTRY_AUTH_SECRET,
                {
                    "postgres-password": self._password("registry-admin"),
                    "password": owner_password,
                    "replication-password": self._password("registry-replication"),
                },
            )
        ]

    def _of_online_store(self, users: Mapping[str, Mapping[str, pulumi.Input[str]]]) -> list[kubernetes.core.v1.Secret]:
        if self._args.online_store_users:
            return []
        default_user_password = self._password("online-store")
        hashes: dict[str, pulumi.Output[str]] = {
            i.online_store_user: pulumi.Output.from_input(users[i.name]["online-store-password"]).apply(sha256_hex)
            for i in IDENTITIES
            if i.online_store
        }
        hashes["default"] = default_user_password.apply(sha256_hex)
        return [
            self._secret(ONLINE_STORE_AUTH_SECRET, {"redis-password": default_user_password}),
            self._secret(ONLINE_STORE_ACL_SECRET, {"users.acl": pulumi.Output.all(**hashes).apply(redis_acl)}),
        ]

    def _of_offline_store(self) -> list[kubernetes.core.v1.Secret]:
        credentials = self._args.offline_store_credentials
        if not credentials:
            return []
        data: dict[str, pulumi.Input[str]] = {
            "access-key-id": credentials["access_key_id"],
            "secret-access-key": credentials["secret_access_key"],
        }
        return [self._secret(OFFLINE_STORE_SECRET, data)]

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
