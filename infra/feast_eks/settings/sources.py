"""Where what runs comes from: images and charts, never by a name that may mean something else tomorrow."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from feast_eks.settings.section import Contradiction, Section, broken_rule

# https://github.com/distribution/reference/blob/main/regexp.go
_DOMAIN = r"(localhost|[a-z0-9]([a-z0-9.-]*[a-z0-9])?\.[a-z0-9]+|[a-z0-9.-]+(?=:))(:[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{_DOMAIN}(/{_COMPONENT})+")
LONGEST_REPOSITORY = 255


class ImageSettings(Section):
    """Where an image comes from. A digest wins over the tag."""

    repository: str = Field(description="Registry, path and name, e.g. 123456789012.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime.")
    tag: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", description="Exact tag; never `latest`.")
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="sha256:… of the manifest.")

    @field_validator("repository")
    @classmethod
    def _names_a_registry(cls, value: str) -> str:
        if "@" in value or ":" in value.rpartition("/")[2]:
            raise broken_rule("a repository without tag or digest", "move what follows ':' or '@' to `tag` or `digest`")
        if not REPOSITORY.fullmatch(value) or len(value) > LONGEST_REPOSITORY:
            raise broken_rule(
                "registry/path/name in lower case, beginning with the registry's host", "e.g. registry.example.com/team/image"
            )
        return value

    @field_validator("tag")
    @classmethod
    def _exact(cls, value: str | None) -> str | None:
        if value == "latest":
            raise broken_rule("an exact tag, so that every pod runs the same bytes", "name a version, or a digest")
        return value

    def reference(self, *, default_tag: str = "") -> str:
        """The image as a pod names it: repository@digest or repository:tag."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or default_tag}"


class RuntimeImageSettings(ImageSettings):
    """Where the image of all Feast pods comes from, and how long a node may take to get it."""

    pull_seconds: int = Field(
        default=120, ge=10, le=3600, description="How long a node may take to pull it and start it; then `pulumi up` says why it could not."
    )


class PinnedImageSettings(ImageSettings):
    """Where an image of somebody else comes from: always by tag or digest."""

    def contradictions(self) -> Iterator[Contradiction]:
        """An image that is not built from this checkout has no tag by default."""
        if not self.tag and not self.digest:
            yield Contradiction(key="tag", rule="an exact tag or a digest", remedy="name a version, or better a digest")


class ChartSettings(Section):
    """Where a Helm chart comes from: an OCI address, the URL of a .tgz, or a path relative to infra/."""

    location: str = Field(description="oci://…, https://….tgz, or a path relative to infra/.")
    version: str | None = Field(default=None, description="Exact version; required for oci://.")

    @field_validator("location")
    @classmethod
    def _reachable(cls, value: str) -> str:
        remote = re.fullmatch(r"oci://[!-~]+|https://[!-~]+\.tgz", value)
        path = re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._/-]*", value)
        if not remote and not path:
            raise broken_rule("oci://…, https://….tgz, or a path relative to infra/", "e.g. oci://registry.example.com/charts/redis")
        return value

    @field_validator("version")
    @classmethod
    def _exact(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", value):
            raise broken_rule("an exact version, not a range", "name one release, e.g. 22.0.7")
        return value

    def contradictions(self) -> Iterator[Contradiction]:
        """A registry holds many versions."""
        if self.location.startswith("oci://") and self.version is None:
            yield Contradiction(key="version", rule="an OCI chart has an exact version", remedy="set `version`, e.g. 22.0.7")

    @property
    def kind(self) -> Literal["remote", "path"]:
        """Whether it is somewhere else or in the project."""
        return "remote" if "://" in self.location else "path"


def bitnami_chart(name: str, version: str) -> ChartSettings:
    """A Bitnami chart of the last line that was published from its public source."""
    return ChartSettings(location=f"oci://registry-1.docker.io/bitnamicharts/{name}", version=version)


def bitnami_image(name: str, tag: str) -> PinnedImageSettings:
    """An image of Bitnami's frozen archive: it gets no fixes, so production brings its own."""
    return PinnedImageSettings(repository=f"docker.io/bitnamilegacy/{name}", tag=tag)
