"""What people choose, per environment: the only reader of the stack file.

Every default is safe for production; a stack file is the list of differences, each with its reason. Nothing secret
belongs here: passwords are generated, and the one credential that a person brings (for S3-compatible endpoints) is a
secret config value of its own. A wrong file is refused as a whole, every error at once, before anything registers.
"""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pulumi
from croniter import croniter
from pulumi.runtime import config as pulumi_config
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from feast_eks.refusal import Problem, Refusal

SECRET_KEYS = frozenset({"offline_store_credentials"})
"""Config keys that hold secrets: set with `pulumi config set --secret --path`, never part of Settings."""


class Section(BaseModel):
    """A part of a stack file: strict about types, closed to unknown keys, immutable once read."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


def _rule(rule: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("rule", rule, {"remedy": remedy})


CRON_FIELDS = 5
FEWEST_SENTINELS = 3
SHOWN_CHARACTERS = 80


def _cron(value: str) -> str:
    if len(value.split()) != CRON_FIELDS or not croniter.is_valid(value):
        raise _rule("a cron expression of five fields", 'minute hour day month weekday, e.g. "0 2 * * *" for 02:00 every night')
    return value


def _dns_label(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise _rule("a DNS label: lower-case letters, digits and '-', at most 63", "choose another name, e.g. feast")
    return value


def _bucket(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        raise _rule("an S3 bucket name: 3 to 63 lower-case letters, digits, '.' or '-'", "choose another name")
    return value


def _endpoint(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?", value):
        raise _rule("http(s)://host or http(s)://host:port, without a path", "e.g. https://minio.example.com:9000")
    return value


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
BucketName = Annotated[str, AfterValidator(_bucket)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
CronSchedule = Annotated[str, AfterValidator(_cron)]


class ImageSettings(Section):
    """Where an image comes from. A digest wins over the tag."""

    repository: str = Field(description="Registry, path and name, e.g. 123.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime.")
    tag: str | None = Field(default=None, description="Exact tag; never `latest`.")
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="sha256:… of the manifest.")

    @model_validator(mode="after")
    def _exact(self) -> Self:
        if self.tag == "latest":
            raise _rule("an exact tag, so that every pod runs the same bytes", "name a version, or a digest")
        if "@" in self.repository or ":" in self.repository.rpartition("/")[2]:
            raise _rule("a repository without tag or digest", "move what follows ':' or '@' to `tag` or `digest`")
        return self

    def reference(self, *, default_tag: str = "") -> str:
        """The image as a pod names it: repository@digest or repository:tag."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or default_tag}"


class ChartSettings(Section):
    """Where a Helm chart comes from: an OCI address, the URL of a .tgz, or a path relative to infra/."""

    location: str = Field(description="oci://…, https://….tgz, or a path relative to infra/.")
    version: str | None = Field(default=None, description="Exact version; required unless the location is a path or a .tgz.")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.version is not None and not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise _rule("an exact version, not a range", "name one release, e.g. 22.0.7")
        if self.location.startswith("oci://") and self.version is None:
            raise _rule("an OCI chart has an exact version", "set `version`, e.g. 22.0.7")
        return self


class ClusterSettings(Section):
    """Which Kubernetes."""

    kube_context: str = Field(min_length=1, description="Context in the kubeconfig (KUBECONFIG or ~/.kube/config).")


class OfflineStoreSettings(Section):
    """The bucket that holds the history of every feature, as Parquet."""

    bucket_name: BucketName | None = Field(default=None, description="Bucket name; generated when left out.")
    endpoint_url: EndpointUrl | None = Field(default=None, description="An S3-compatible store instead of AWS.")
    region: str = Field(default="eu-west-1", pattern=r"^[a-z0-9-]+$", description="Region that pods sign requests for.")
    sample_data: str | None = Field(
        default=None, description="Parquet file to upload as employee_attrition.parquet, relative to the project; never in production."
    )
    noncurrent_days: int = Field(default=90, ge=1, le=3650, description="Days that an overwritten object version is kept.")


class RegistrySettings(Section):
    """PostgreSQL: Feast's registry of entities, views and services."""

    chart: ChartSettings = ChartSettings(location="oci://registry-1.docker.io/bitnamicharts/postgresql", version="16.7.27")
    image: ImageSettings = ImageSettings(repository="docker.io/bitnamilegacy/postgresql", tag="17.6.0-debian-12-r4")
    storage_gib: int = Field(default=20, ge=1, le=16384, description="Volume size, GiB.")
    storage_class: str | None = Field(default=None, description="StorageClass; the cluster's default when left out.")
    cpu_millicores: int = Field(default=250, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=128, le=524288, description="Memory request and limit, MiB.")


class OnlineStoreSettings(Section):
    """Redis: the newest value of every feature, as served."""

    mode: Literal["standalone", "sentinel"] = Field(
        default="standalone", description="One Redis, or one master with replicas and Sentinels."
    )
    replicas: int = Field(default=1, ge=1, le=9, description="Redis nodes; Sentinel needs an odd number of at least 3.")
    chart: ChartSettings = ChartSettings(location="oci://registry-1.docker.io/bitnamicharts/redis", version="22.0.7")
    image: ImageSettings = ImageSettings(repository="docker.io/bitnamilegacy/redis", tag="8.2.1-debian-12-r0")
    storage_gib: int = Field(default=20, ge=1, le=16384, description="Volume size, GiB.")
    storage_class: str | None = Field(default=None, description="StorageClass; the cluster's default when left out.")
    cpu_millicores: int = Field(default=250, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=64, le=1048576, description="Memory request and limit, MiB; Redis may fill 60 % of it.")

    @model_validator(mode="after")
    def _quorum(self) -> Self:
        if self.mode == "sentinel" and (self.replicas < FEWEST_SENTINELS or self.replicas % 2 == 0):
            raise _rule("Sentinel needs an odd number of at least 3 replicas to elect a master", "set replicas: 3, or mode: standalone")
        if self.mode == "standalone" and self.replicas != 1:
            raise _rule("standalone Redis is one replica", "set replicas: 1, or mode: sentinel")
        return self


class FeatureServerSettings(Section):
    """The Deployment that answers with feature vectors."""

    min_replicas: int = Field(default=2, ge=1, le=500, description="Fewest pods; 2 survive a node.")
    max_replicas: int = Field(default=10, ge=1, le=500, description="Most pods.")
    requests_per_second_per_replica: int = Field(default=200, ge=1, le=100000, description="Request rate at which a pod is added.")
    workers: int = Field(default=1, ge=1, le=32, description="Worker processes per pod.")
    cpu_millicores: int = Field(default=500, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(
        default=1024, ge=512, le=65536, description="Memory request and limit, MiB; 400 and 190 for each further worker."
    )

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise _rule(
                f"min_replicas ({self.min_replicas}) is at most max_replicas ({self.max_replicas})", "lower the first or raise the second"
            )
        if (needed := 400 + 190 * (self.workers - 1)) > self.memory_mib:
            raise _rule(f"{self.workers} workers need {needed} MiB, memory_mib is {self.memory_mib}", "raise memory_mib or lower workers")
        return self


class MaterializationSettings(Section):
    """The job that carries values from the offline to the online store."""

    schedule: CronSchedule = Field(default="0 2 * * *", description="Cron expression, UTC.")
    late_data_hours: int = Field(default=24, ge=0, le=720, description="How far each run reaches back for rows that arrived late, hours.")
    deadline_minutes: int = Field(default=120, ge=1, le=1440, description="A run that takes longer is ended, minutes.")
    cpu_millicores: int = Field(default=500, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=2048, ge=512, le=524288, description="Memory request and limit, MiB.")


class SmokeTestSettings(Section):
    """Which vectors must come back, from every replica, before a deployment counts."""

    entities: dict[str, list[int | str]] = Field(
        default_factory=dict, description="Join key to values, e.g. {employee_id: [101, 202]}; sampled from the data when left out."
    )


class Settings(Section):
    """One environment."""

    cluster: ClusterSettings
    runtime_image: ImageSettings = Field(description="The image of all Feast pods; its tag defaults to the digest of runtime/.")
    namespace: DnsLabel = Field(default="feast", description="Kubernetes namespace, made by the program.")
    protect_data: bool = Field(default=True, description="Refuse to delete or replace what holds data.")
    offline_store: OfflineStoreSettings = OfflineStoreSettings()
    registry: RegistrySettings = RegistrySettings()
    online_store: OnlineStoreSettings = OnlineStoreSettings()
    feature_server: FeatureServerSettings = FeatureServerSettings()
    materialization: MaterializationSettings = MaterializationSettings()
    smoke_test: SmokeTestSettings = SmokeTestSettings()


def load_settings(project_directory: Path) -> Settings:
    """Read the settings of the selected stack.

    Raises:
        Refusal: naming every wrong key, its value, the rule and the remedy.
    """
    namespace = f"{pulumi.get_project()}:"
    config = pulumi.Config()
    keys = {key.removeprefix(namespace) for key in pulumi_config.CONFIG.get() if key.startswith(namespace)}
    values = {key: _plain(config, key) for key in keys - SECRET_KEYS}
    return parse_settings(values, pulumi.get_stack(), project_directory, secret_keys=keys & SECRET_KEYS)


def parse_settings(values: dict[str, Any], stack: str, project_directory: Path, *, secret_keys: AbstractSet[str] = frozenset()) -> Settings:
    """Settings from the plain values of a stack file, and which secrets it has; `load_settings` without Pulumi.

    Raises:
        Refusal: naming every wrong key, its value, the rule and the remedy.
    """
    problems: list[Problem] = []
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as errors:
        problems += [_problem(error) for error in errors.errors()]
    if settings and (sample := settings.offline_store.sample_data) and not (project_directory / sample).is_file():
        problems.append(
            Problem(
                path="offline_store.sample_data",
                value=repr(sample),
                rule="a file, relative to the project",
                remedy="write the example's data with `make sample-data`, or leave the key out",
            )
        )
    if settings and settings.offline_store.endpoint_url and "offline_store_credentials" not in secret_keys:
        problems.append(
            Problem(
                path="offline_store_credentials",
                value="missing",
                rule="an S3-compatible endpoint is reached with an access key",
                remedy="pulumi config set --secret --path offline_store_credentials.access_key_id …, and .secret_access_key",
            )
        )
    if problems or settings is None:
        raise Refusal(f"stacks/Pulumi.{stack}.yaml", problems)
    return settings


def offline_store_credentials() -> pulumi.Output[dict[str, str]] | None:
    """Access key for an S3-compatible endpoint: `{access_key_id, secret_access_key}`, or None where pods use their AWS role."""
    return pulumi.Config().get_secret_object("offline_store_credentials")


@contextmanager
def refusals_without_traceback() -> Iterator[None]:
    """Turn a Refusal into the error that Pulumi prints as a sentence."""
    try:
        yield
    except Refusal as refusal:
        raise pulumi.RunError(str(refusal)) from None


def _plain(config: pulumi.Config, key: str) -> Any:
    """A config value as YAML wrote it: Pulumi hands scalars over as text, and lists and maps as JSON."""
    text = config.get(key)
    try:
        return config.get_object(key)
    except pulumi.ConfigTypeError:
        return text


def _problem(error: ErrorDetails) -> Problem:
    path = ".".join(str(part) for part in error["loc"]) or "stack file"
    context = error.get("ctx") or {}
    if error["type"] == "extra_forbidden":
        rule, remedy = "a known key", f"remove it, or see docs/settings.md for what {path.rpartition('.')[0] or 'a stack file'} accepts"
    elif error["type"] == "missing":
        return Problem(path=path, value="missing", rule="this key has no default", remedy=f"set feast-eks:{path}")
    else:
        rule, remedy = error["msg"], str(context.get("remedy", "correct the value in the stack file"))
    return Problem(path=path, value=_shown(error["input"]), rule=rule, remedy=remedy)


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
