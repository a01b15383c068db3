"""What people bring that is secret: config values of their own, checked for their shape, never shown.

Each is set with `pulumi config set --secret --path feast-eks:<key>.<part>`.
"""

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from pydantic import AfterValidator, Field, ValidationError

from feast_eks.refusal import Problem
from feast_eks.settings.section import Section, broken_rule
from feast_eks.settings.tree import Settings


def _part_of_a_connection_string(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._~-]{0,127}", value):
        raise broken_rule("a letter, then letters, digits or ._~- (Feast reads it from a connection string)", "choose another one in Redis")
    return value


Text = Annotated[str, Field(min_length=1)]
ConnectionStringPart = Annotated[str, AfterValidator(_part_of_a_connection_string)]


class AccessKey(Section):
    """Of an S3-compatible store."""

    access_key_id: Text
    secret_access_key: Text


class DatabaseAdministrator(Section):
    """Who makes roles and the database in an external registry."""

    username: Text
    password: Text


class OnlineStoreUser(Section):
    """One user of an external Redis."""

    username: ConnectionStringPart
    password: ConnectionStringPart


class OnlineStoreUsers(Section):
    """A user for each identity that uses the online store."""

    apply: OnlineStoreUser
    materialize: OnlineStoreUser
    feature_server: OnlineStoreUser = Field(alias="feature-server")


SHAPES: dict[str, type[Section]] = {
    "offline_store_credentials": AccessKey,
    "registry_admin": DatabaseAdministrator,
    "online_store_users": OnlineStoreUsers,
}
SECRET_KEYS = frozenset(SHAPES)
"""Config keys that hold secrets, never part of Settings."""

REMEDY = "pulumi config set --secret --path feast-eks:{}"


def offline_store_credentials() -> pulumi.Output[dict[str, str]] | None:
    """Access key for an S3-compatible endpoint: `{access_key_id, secret_access_key}`, or None where pods use their AWS role."""
    return pulumi.Config().get_secret_object("offline_store_credentials")


def registry_administrator() -> pulumi.Output[dict[str, str]] | None:
    """Administrator of an external registry: `{username, password}`, or None where the program runs PostgreSQL."""
    return pulumi.Config().get_secret_object("registry_admin")


def online_store_users() -> pulumi.Output[dict[str, dict[str, str]]] | None:
    """Users of an external online store: identity to `{username, password}`, or None where the program runs Redis."""
    return pulumi.Config().get_secret_object("online_store_users")


def shape_problems(key: str, value: Any) -> list[Problem]:
    """What is wrong with the shape of a secret; no problem shows its value."""
    try:
        SHAPES[key].model_validate(value)
    except ValidationError as errors:
        return [
            Problem(
                path=".".join([key, *map(str, error["loc"])]),
                value="missing" if error["type"] == "missing" else "(secret)",
                rule=error["msg"] if error["type"] == "rule" else _rule(error["type"], SHAPES[key]),
                remedy=REMEDY.format(".".join([key, *map(str, error["loc"])])) + " …",
            )
            for error in errors.errors(include_input=False, include_url=False)
        ]
    return []


def _rule(error: str, shape: type[Section]) -> str:
    if error == "extra_forbidden":
        return f"a known part; {shape.__name__} has {', '.join(field.alias or name for name, field in shape.model_fields.items())}"
    return "a text that is not empty" if error in {"string_type", "string_too_short", "missing"} else "parts, set one by one with --path"


@dataclass(frozen=True, kw_only=True)
class Use:
    """When a secret is needed, and how that reads."""

    needed: Callable[[Settings], bool]
    rule: str
    otherwise: str
    parts: str


USES = {
    "offline_store_credentials": Use(
        needed=lambda settings: settings.workload_identity == "static",
        rule="workload_identity: static reaches the offline store with an access key",
        otherwise="an access key is for workload_identity: static",
        parts="access_key_id …, and .secret_access_key",
    ),
    "registry_admin": Use(
        needed=lambda settings: settings.registry.mode == "external",
        rule="an external registry needs an administrator, who makes the roles",
        otherwise="an administrator is for registry.mode: external",
        parts="username …, and .password",
    ),
    "online_store_users": Use(
        needed=lambda settings: settings.online_store.mode == "external",
        rule="an external online store has a user for each identity",
        otherwise="users are for online_store.mode: external",
        parts="apply.username …, .apply.password, and the same for materialize and feature-server",
    ),
}


def presence_problems(key: str, settings: Settings, secret_keys: AbstractSet[str]) -> Iterator[Problem]:
    """A secret that the settings need and that is missing, or that is there and would have no effect."""
    use = USES[key]
    needed = use.needed(settings)
    if needed and key not in secret_keys:
        yield Problem(path=key, value="missing", rule=use.rule, remedy=f"{REMEDY.format(key)}.{use.parts}")
    if not needed and key in secret_keys:
        yield Problem(path=key, value="(secret)", rule=f"a secret with a use; {use.otherwise}", remedy=f"pulumi config rm feast-eks:{key}")
