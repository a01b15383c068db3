"""Who may read what, as Feast lets it be said: refused, since nothing here asks a caller who they are.

A rule that is accepted and not enforced is worse than none: whoever reviews it must believe that it holds.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureStore
from feast.permissions.permission import Permission

from feature_runtime.refusal import Refusal
from feature_runtime.settings import CONFIG_FILE

NO_AUTH = "no_auth"

REMEDY = (
    "The feature server knows no login: every caller that reaches it may read every feature. The network policy decides who reaches it "
    "(pods of namespaces with the label feast.dev/feature-client=true); where callers must be told apart, put a gateway that "
    "authenticates in front of it."
)


def refuse_unenforced(config: Path, permissions: Iterable[str] = ()) -> None:
    """Refuse a `feature_store.yaml` that asks for a login, and definitions with these permissions; both at once.

    Raises:
        Refusal: there is such a rule, or the file is no YAML.
    """
    try:
        document = yaml.safe_load(config.read_text())
    except yaml.YAMLError as error:
        raise Refusal(f"{config.name} is no YAML: {error}") from None
    auth = document.get("auth") if isinstance(document, dict) else None
    problems = []
    if (kind := _kind(auth)) != NO_AUTH:
        problems.append(f"{CONFIG_FILE}: auth.type is {kind!r}, and only {NO_AUTH!r} is true here. Remove the section `auth`")
    if names := sorted(permissions):
        problems.append(permissions_problem(names, "Remove the Permission objects from the definitions"))
    if problems:
        raise Refusal(f"{'; '.join(problems)}. {REMEDY}", problems=problems)


def permissions_problem(names: Iterable[str], remedy: str) -> str:
    """What is wrong with permissions of these names, wherever they are."""
    return f"the permissions {', '.join(map(repr, names))} say who may do what, and nothing here enforces it. {remedy}"


def registered_permissions(store: FeatureStore, *, allow_cache: bool = False) -> list[Permission]:
    """The permissions that a registry has.

    Raises:
        Refusal: Feast wrote one without a policy, which it cannot read again.
    """
    try:
        return list(store.list_permissions(allow_cache=allow_cache))
    except ValueError as error:
        raise Refusal(
            f"the registry has a permission that Feast itself cannot read ({error}), and nothing here enforces it. Delete the rows "
            f"of the project {store.project!r} in the table `permissions` of the registry's database. {REMEDY}"
        ) from None


def _kind(auth: Any) -> str:
    """The type of authentication that a section `auth` names; Feast takes none for no authentication."""
    kind = auth.get("type") if isinstance(auth, dict) else auth
    return os.path.expandvars(str(kind)) if auth else NO_AUTH
