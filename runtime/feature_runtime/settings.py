"""What the environment of a pod tells the verbs.

Nothing else reads it, except the feature definitions themselves, and `masking`, which looks for secrets.
`feature_store.yaml` refers to variables as `${NAME}`; Feast leaves an unset one in place without a word, so
`check_yaml_variables` refuses before the literal text is taken for a user name.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from feature_runtime.refusal import NOT_YET, Refusal

CONFIG_FILE = "feature_store.yaml"
# Feast's own variable for the directory of the feature repo.
REPO_VARIABLE = "FEATURE_REPO_DIR_ENV_VAR"
HIGHEST_PORT = 65_535
ROLE_SHOWS_IN = {"pod_identity": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "irsa": "AWS_WEB_IDENTITY_TOKEN_FILE"}
"""What EKS adds to the environment of a pod whose service account has an AWS role, by kind of binding."""


def required(name: str) -> str:
    """The value of a variable that must be set and not empty."""
    value = os.environ.get(name, "")
    if not value:
        raise Refusal(f"the environment variable {name} is not set. The pod's specification must set it.")
    return value


def require_aws_role() -> None:
    """Refuse to start in a pod that is to have an AWS role and has none.

    EKS gives it when it admits the pod, or never. It learns of a new role within seconds, so the next pod may have it.
    """
    kind = os.environ.get("AWS_WORKLOAD_IDENTITY", "")
    if not kind:
        return
    if kind not in ROLE_SHOWS_IN:
        raise Refusal(f"the environment variable AWS_WORKLOAD_IDENTITY is {kind!r}, not {' or '.join(ROLE_SHOWS_IN)}.")
    if not os.environ.get(ROLE_SHOWS_IN[kind]):
        raise Refusal(
            f"EKS has given this pod no AWS role ({kind}: {ROLE_SHOWS_IN[kind]} is not set). It came before the role of its service "
            "account was known; the next one may get it. If none does, nothing binds a role to the service account.",
            exit_code=NOT_YET,
        )


def has_aws_role() -> bool:
    """Whether this pod reads the bucket by an AWS role, not by a key."""
    return bool(os.environ.get("AWS_WORKLOAD_IDENTITY"))


def feature_repo_directory() -> Path:
    """Where the feature repo is: what the environment says, else `feature_repo` in the working directory or itself.

    A mounted ConfigMap shows its files through symlinks, which a search below the mount does not follow into
    directories; the directory that they point to holds plain files.
    """
    named = os.environ.get(REPO_VARIABLE)
    candidates = [Path(named)] if named else [Path("feature_repo"), Path()]
    for directory in candidates:
        if (directory / CONFIG_FILE).is_file():
            mounted = directory / "..data"
            return (mounted if mounted.is_dir() else directory).resolve()
    raise Refusal(
        f"there is no feature repo at {' or '.join(str(path.absolute()) for path in candidates)}: "
        f"no {CONFIG_FILE} in it. Run from the repository's root or set {REPO_VARIABLE}."
    )


def check_yaml_variables(config: Path) -> None:
    """Refuse a `feature_store.yaml` that refers to variables which are not set."""
    text = "\n".join(line.split("#", 1)[0] for line in config.read_text().splitlines())
    missing = sorted({name for name in re.findall(r"\$\{(\w+)\}", text) if name not in os.environ})
    if missing:
        raise Refusal(
            f"{config.name} refers to environment variables that are not set: {', '.join(missing)}. The pod's specification must set them."
        )


@dataclass(frozen=True, kw_only=True)
class DatabaseRole:
    """A database user and the password it gets; the password never shows in a repr."""

    name: str
    password: str = field(repr=False)

    @staticmethod
    def from_environment(prefix: str) -> "DatabaseRole":
        """The role in `{prefix}_USER` and `{prefix}_PASSWORD`."""
        return DatabaseRole(name=required(f"{prefix}_USER"), password=required(f"{prefix}_PASSWORD"))


@dataclass(frozen=True, kw_only=True)
class RegistrySettings:
    """The registry's database and everybody who may use it, as `prepare-registry` needs them."""

    host: str
    port: int
    database: str
    admin: DatabaseRole
    owner: DatabaseRole
    materialize: DatabaseRole
    serve: DatabaseRole
    check: DatabaseRole

    @staticmethod
    def from_environment() -> "RegistrySettings":
        """Read `REGISTRY_*`, `MATERIALIZE_*`, `SERVE_*` and `CHECK_*`."""
        return RegistrySettings(
            host=required("REGISTRY_HOST"),
            port=_port("REGISTRY_PORT", default=5432),
            database=required("REGISTRY_DATABASE"),
            admin=DatabaseRole.from_environment("REGISTRY_ADMIN"),
            owner=DatabaseRole.from_environment("REGISTRY"),
            materialize=DatabaseRole.from_environment("MATERIALIZE"),
            serve=DatabaseRole.from_environment("SERVE"),
            check=DatabaseRole.from_environment("CHECK"),
        )


@dataclass(frozen=True, kw_only=True)
class SmokeSettings:
    """Where the replicas of the feature server are, and what to ask them.

    `replicas` are DNS names (each may stand for many pods), `entities` maps a join key to values; empty means that
    the values are taken from the source.
    """

    replicas: tuple[str, ...]
    port: int
    expected_replicas: int
    entities: dict[str, list[object]]

    @staticmethod
    def from_environment() -> "SmokeSettings":
        """Read `FEATURE_SERVER_REPLICAS`, `FEATURE_SERVER_PORT`, `EXPECTED_REPLICAS` and `SMOKE_ENTITIES`."""
        return SmokeSettings(
            replicas=tuple(name.strip() for name in required("FEATURE_SERVER_REPLICAS").split(",")),
            port=_port("FEATURE_SERVER_PORT", default=6566),
            expected_replicas=_whole_number("EXPECTED_REPLICAS", default=1),
            entities=_entities("SMOKE_ENTITIES"),
        )


def offline_store_uri() -> str:
    """What the addresses of sources in the offline store's bucket begin with; empty on a laptop, which has none."""
    bucket = os.environ.get("OFFLINE_STORE_BUCKET", "")
    return f"s3://{bucket}/" if bucket else ""


def offline_store_endpoint() -> str:
    """The endpoint of an S3-compatible offline store; empty on AWS, where the region decides."""
    return os.environ.get("OFFLINE_STORE_ENDPOINT_URL", "")


def registry_replicas() -> str:
    """A DNS name that stands for every read replica of the registry; empty where there is none."""
    return os.environ.get("REGISTRY_REPLICAS", "")


def _whole_number(name: str, *, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        raise Refusal(f"the environment variable {name} is {text!r}, not a whole number of at least 1.")
    return int(text)


def _port(name: str, *, default: int) -> int:
    number = _whole_number(name, default=default)
    if number > HIGHEST_PORT:
        raise Refusal(f"the environment variable {name} is {number}, not a port (1 to {HIGHEST_PORT}).")
    return number


def _entities(name: str) -> dict[str, list[object]]:
    text = os.environ.get(name, "")
    if not text:
        return {}
    shape = f'{name} must be a JSON object of lists of one length, such as {{"employee_id": [101, 202]}}'
    try:
        entities = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refusal(f"{shape}; it is no JSON ({error}).") from None
    if not isinstance(entities, dict) or not all(isinstance(values, list) and values for values in entities.values()):
        raise Refusal(f"{shape}; it is {text}.")
    if len({len(values) for values in entities.values()}) > 1:
        raise Refusal(f"{shape}; the lists have different lengths.")
    return entities
