"""The three stores: offline (S3), registry (PostgreSQL), online (Redis)."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from feast_eks.settings.rules import (
    BucketName,
    DatabaseName,
    EndpointUrl,
    Host,
    HostAndPort,
    KmsKeyArn,
    ObjectName,
    ProjectPath,
)
from feast_eks.settings.section import Contradiction, Section
from feast_eks.settings.sources import ChartSettings, PinnedImageSettings, bitnami_chart, bitnami_image

FEWEST_SENTINELS = 3
CA_CERTIFICATE = "Certificate authority of the server, a PEM file of the project; the image's own list when left out."

STORAGE = "Volume size when it is first made, GiB: Kubernetes does not resize the volumes of a StatefulSet."
SPREAD = "Whether no two nodes of the store may share a machine, or only should not."

NODE_KEYS = ("chart", "image", "exporter_image", "spread", "storage_gib", "storage_class", "cpu_millicores", "memory_mib")
"""What only a store that the program runs has."""


class OfflineStoreSettings(Section):
    """The bucket that holds the history of every feature, as Parquet."""

    bucket_name: BucketName | None = Field(default=None, description="Bucket name; generated when left out.")
    endpoint_url: EndpointUrl | None = Field(default=None, description="An S3-compatible store instead of AWS.")
    encryption: Literal["kms", "s3"] = Field(
        default="kms", description="Key of the objects: one in AWS KMS whose every use is logged, or S3's own."
    )
    kms_key_arn: KmsKeyArn | None = Field(default=None, description="An existing key; made, rotated and protected when left out.")
    log_bucket: BucketName | None = Field(default=None, description="Existing bucket that gets the access logs; none when left out.")
    sample_data: ProjectPath | None = Field(
        default=None,
        description="Parquet file to upload under its own name, or folder of such files (as below `data/`); relative to the project, "
        "never in production.",
    )
    noncurrent_days: int = Field(default=90, ge=1, le=3650, description="Days that an overwritten object version is kept.")

    def contradictions(self) -> Iterator[Contradiction]:
        """Encryption fits the store, and logs go elsewhere."""
        if self.endpoint_url and self.encryption == "kms":
            yield Contradiction(key="encryption", rule="an S3-compatible store has no AWS KMS", remedy="set encryption: s3")
        if self.kms_key_arn and self.encryption != "kms":
            yield Contradiction(
                key="kms_key_arn", rule="a KMS key is used by encryption: kms only", remedy="remove it, or set encryption: kms"
            )
        if self.log_bucket and self.log_bucket == self.bucket_name:
            yield Contradiction(
                key="log_bucket",
                rule="access logs go to another bucket: logging its own writes, a bucket fills itself",
                remedy="name the bucket that collects logs",
            )


class ExternalRegistrySettings(Section):
    """A PostgreSQL that exists already, e.g. Amazon RDS."""

    host: Host = Field(description="Where it answers.")
    port: int = Field(default=5432, ge=1, le=65535, description="TCP port.")
    database: DatabaseName = Field(default="feast", description="Database; made when missing.")
    read_host: Host | None = Field(default=None, description="A read replica, from which feature servers read definitions.")
    tls: bool = Field(default=True, description="Encrypt, and check the server's certificate and name.")
    ca_certificate: ProjectPath | None = Field(default=None, description=CA_CERTIFICATE)

    def contradictions(self) -> Iterator[Contradiction]:
        """Options of what is there."""
        if self.read_host and self.read_host.lower() == self.host.lower():
            yield Contradiction(key="read_host", rule="a read replica is another host", remedy="leave read_host out")
        yield from _tls(tls=self.tls, ca_certificate=self.ca_certificate)


class RegistrySettings(Section):
    """PostgreSQL: Feast's registry of entities, views and services."""

    mode: Literal["standalone", "replication", "external"] = Field(
        default="standalone", description="One PostgreSQL, one with read replicas, or one that exists already."
    )
    read_replicas: int = Field(default=2, ge=1, le=5, description="Read replicas of mode replication.")
    external: ExternalRegistrySettings | None = Field(default=None, description="The database of mode external.")
    chart: ChartSettings = bitnami_chart("postgresql", "16.7.27")
    image: PinnedImageSettings = bitnami_image("postgresql", "17.6.0-debian-12-r4")
    exporter_image: PinnedImageSettings = Field(
        default=bitnami_image("postgres-exporter", "0.17.1-debian-12-r16"), description="Where the metrics exporter comes from."
    )
    spread: Literal["required", "preferred"] = Field(default="required", description=SPREAD)
    storage_gib: int = Field(default=20, ge=1, le=16384, description=STORAGE)
    storage_class: ObjectName | None = Field(default=None, description="StorageClass; the cluster's default when left out.")
    cpu_millicores: int = Field(default=250, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=128, le=524288, description="Memory request and limit, MiB.")

    def contradictions(self) -> Iterator[Contradiction]:
        """Every key has an effect in the chosen mode."""
        if self.mode != "replication":
            yield from _without_effect(self, "only mode: replication has read replicas", "read_replicas")
        yield from _external(self, self.external, "PostgreSQL")

    @property
    def ca_certificate(self) -> str | None:
        """The certificate authority's file, where there is one."""
        return self.external.ca_certificate if self.external else None


class ExternalOnlineStoreSettings(Section):
    """A Redis that exists already, e.g. Amazon ElastiCache."""

    type: Literal["redis", "cluster"] = Field(default="redis", description="One address, or Redis Cluster.")
    hosts: list[HostAndPort] = Field(min_length=1, max_length=32, description="host:port of the primary, or of some nodes of the cluster.")
    tls: bool = Field(default=True, description="Encrypt, and check the server's certificate.")
    ca_certificate: ProjectPath | None = Field(default=None, description=CA_CERTIFICATE)

    def contradictions(self) -> Iterator[Contradiction]:
        """As many addresses as the type has."""
        if self.type == "redis" and len(self.hosts) > 1:
            yield Contradiction(key="hosts", rule="type: redis is one address", remedy="name the primary only, or set type: cluster")
        if len({host.lower() for host in self.hosts}) < len(self.hosts):
            yield Contradiction(key="hosts", rule="every address once", remedy="remove the repeated ones")
        yield from _tls(tls=self.tls, ca_certificate=self.ca_certificate)


class OnlineStoreSettings(Section):
    """Redis: the newest value of every feature, as served."""

    mode: Literal["standalone", "sentinel", "external"] = Field(
        default="standalone", description="One Redis, one master with replicas and Sentinels, or one that exists already."
    )
    replicas: int = Field(default=1, ge=1, le=9, description="Redis nodes; Sentinel needs an odd number of at least 3.")
    failover_after_milliseconds: int = Field(
        default=2000, ge=500, le=60000, description="How long a silent master is waited for, milliseconds, in mode sentinel."
    )
    external: ExternalOnlineStoreSettings | None = Field(default=None, description="The Redis of mode external.")
    chart: ChartSettings = bitnami_chart("redis", "22.0.7")
    image: PinnedImageSettings = bitnami_image("redis", "8.2.1-debian-12-r0")
    sentinel_image: PinnedImageSettings = Field(
        default=bitnami_image("redis-sentinel", "8.2.1-debian-12-r0"), description="Where Sentinel comes from, in mode sentinel."
    )
    exporter_image: PinnedImageSettings = Field(
        default=bitnami_image("redis-exporter", "1.76.0-debian-12-r0"), description="Where the metrics exporter comes from."
    )
    spread: Literal["required", "preferred"] = Field(default="required", description=SPREAD)
    storage_gib: int = Field(default=20, ge=1, le=16384, description=STORAGE)
    storage_class: ObjectName | None = Field(default=None, description="StorageClass; the cluster's default when left out.")
    cpu_millicores: int = Field(default=250, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=64, le=1048576, description="Memory request and limit, MiB; Redis may fill 60 % of it.")

    def contradictions(self) -> Iterator[Contradiction]:
        """A quorum where there is one to reach, and every key has an effect in the chosen mode."""
        if self.mode == "sentinel" and (self.replicas < FEWEST_SENTINELS or self.replicas % 2 == 0):
            yield Contradiction(
                key="replicas",
                rule="Sentinel needs an odd number of at least 3 replicas to elect a master",
                remedy="set replicas: 3, or mode: standalone",
            )
        if self.mode == "standalone" and self.replicas != 1:
            yield Contradiction(key="replicas", rule="standalone Redis is one replica", remedy="set replicas: 1, or mode: sentinel")
        if self.mode != "sentinel":
            yield from _without_effect(self, "only mode: sentinel has Sentinels", "failover_after_milliseconds", "sentinel_image")
        if self.mode == "external":
            yield from _without_effect(self, "the program runs no Redis in mode: external", "replicas")
        yield from _external(self, self.external, "Redis")

    @property
    def ca_certificate(self) -> str | None:
        """The certificate authority's file, where there is one."""
        return self.external.ca_certificate if self.external else None


def _external(section: RegistrySettings | OnlineStoreSettings, external: Section | None, product: str) -> Iterator[Contradiction]:
    if section.mode == "external" and external is None:
        yield Contradiction(
            key="external", rule=f"mode: external needs the address of a {product}", remedy="set `external`, or another mode"
        )
    if section.mode != "external" and external is not None:
        yield Contradiction(
            key="external", rule=f"an address of a {product} is for mode: external", remedy="set mode: external, or remove `external`"
        )
    if section.mode == "external":
        yield from _without_effect(section, f"the program runs no {product} in mode: external", *NODE_KEYS)


def _without_effect(section: Section, reason: str, *keys: str) -> Iterator[Contradiction]:
    for key in section.chosen(*keys):
        yield Contradiction(key=key, rule=f"a key that has an effect: {reason}", remedy="remove the key, or choose another mode")


def _tls(*, tls: bool, ca_certificate: str | None) -> Iterator[Contradiction]:
    if ca_certificate and not tls:
        yield Contradiction(
            key="ca_certificate", rule="a certificate authority is asked with TLS only", remedy="set tls: true, or remove ca_certificate"
        )
