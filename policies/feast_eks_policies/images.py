"""Images that could change under a running system, come from anywhere, or be trusted without a look."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from feast_eks_policies.objects import RELEASE, release_values, volumes
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import UNKNOWN, WORKLOADS, containers, get, leaves, pod_specs

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
OWN_REGISTRIES = ("*.dkr.ecr.*.amazonaws.com", "*.dkr-ecr.*.on.aws")
"""Private registries of AWS accounts. An environment narrows this to its own."""

ABANDONED = ("docker.io/bitnamilegacy", "docker.io/bitnami", "public.ecr.aws/bitnami", "registry-1.docker.io/bitnamilegacy")
"""Where images get no more fixes, or versions vanish."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image reference in its parts; `repository` starts with the registry's host, `tag` and `digest` may be empty."""

    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, reference: str) -> "Image":
        """`registry:5000/x` has no tag; `redis` is docker.io/library/redis."""
        named, _, digest = reference.strip().partition("@")
        head, slash, last = named.rpartition("/")
        last, _, tag = last.partition(":")
        repository = f"{head}{slash}{last}"
        host = repository.partition("/")[0]
        if "/" not in repository:
            repository = f"docker.io/library/{repository}"
        elif "." not in host and ":" not in host and host != "localhost":
            repository = f"docker.io/{repository}"
        return cls(repository=repository, tag=tag, digest=digest)

    def within(self, prefix: str) -> bool:
        """Whether it lies below a prefix, which ends at a host or path boundary; `*` stands for one label of the host."""
        wanted_host, _, wanted_path = prefix.rstrip("/").partition("/")
        host, _, path = self.repository.partition("/")
        labels, wanted_labels = host.split("."), wanted_host.split(".")
        same_host = len(labels) == len(wanted_labels) and all(map(fnmatchcase, labels, wanted_labels))
        return same_host and (not wanted_path or path == wanted_path or path.startswith(wanted_path + "/"))


def _images(resource: Resource) -> Iterator[tuple[str, Image]]:
    """(path, image) of every container, and of every image that a Release's values give."""
    for path, _, spec in pod_specs(resource):
        for within, container in containers(spec):
            if isinstance(reference := container.get("image"), str):
                yield f"{path}.{within}.image", Image.parse(reference)
        for within, volume in volumes(spec):
            if isinstance(reference := get(volume, "image", "reference"), str):
                yield f"{path}.{within}.image.reference", Image.parse(reference)
    values = release_values(resource)
    yield from _images_in(values, "values", get(values, "global", "imageRegistry"))


def _images_in(values: Any, path: str, everywhere: Any = None) -> Iterator[tuple[str, Image]]:
    """Every image in a Release's values; `everywhere` is the registry that replaces each one's own."""
    if isinstance(values, Mapping):
        parts = [get(values, key, default="") for key in ("registry", "repository", "tag", "digest")]
        if all(isinstance(part, str) for part in parts) and parts[1] and {"registry", "tag", "digest"} & set(values):
            registry, repository, tag, digest = parts
            registry = everywhere if isinstance(everywhere, str) and everywhere else registry
            yield (
                path,
                Image(repository=f"{registry}/{repository}" if registry else Image.parse(repository).repository, tag=tag, digest=digest),
            )
        for key, below in values.items():
            yield from _images_in(below, f"{path}.{key}", everywhere)
    elif isinstance(values, list):
        for index, below in enumerate(values):
            yield from _images_in(below, f"{path}[{index}]", everywhere)


def _tag(resource: Resource) -> Iterator[str]:
    for path, image in _images(resource):
        if image.tag == "latest":
            yield f"{path} has the tag latest: the next pod may run another program than this one"
        # A chart's own default stands in for a tag that its values leave out; the rendered pods show it.
        elif not image.tag and not image.digest and not path.startswith("values"):
            yield f"{path} has neither tag nor digest, which means latest"


def _digest(resource: Resource) -> Iterator[str]:
    for path, image in _images(resource):
        if not DIGEST.fullmatch(image.digest):
            yield f"{path} is named by {'tag' if image.tag else 'nothing'}, not by digest: {image.repository} can change what it stands for"


def _registry(resource: Resource) -> Iterator[str]:
    for path, image in _images(resource):
        if any(image.within(prefix) for prefix in resource.settings["denied"]):
            yield f"{path} comes from {image.repository}, which is denied: it gets no more fixes"
        elif not any(image.within(prefix) for prefix in resource.settings["allowed"]):
            yield f"{path} comes from {image.repository}, which is in no allowed registry"


def _verification(resource: Resource) -> Iterator[str]:
    values = release_values(resource)
    if get(values, "global", "security", "allowInsecureImages") in (None, False, UNKNOWN):
        return
    images = list(_images(resource))
    if not images and UNKNOWN not in [value for _, value in leaves(values)]:
        yield "values.global.security.allowInsecureImages is true, and no image is named"
    for path, image in images:
        if not DIGEST.fullmatch(image.digest) or not any(image.within(prefix) for prefix in resource.settings["allowed"]):
            yield f"values.global.security.allowInsecureImages is true while {path} is not an image of an allowed registry by digest"


_EVERYWHERE = (*WORKLOADS, RELEASE)

RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="image-not-latest",
        description="Images have a version.",
        harm="workloads",
        severity="high",
        controls=("CKV_K8S_14",),
        remedy="name the version; `registry:5000/name` has none, the colon belongs to the port",
        types=_EVERYWHERE,
        check=_tag,
    ),
    ResourceRule(
        name="image-digest",
        description="Images are named by digest, so that what was reviewed is what runs.",
        harm="workloads",
        severity="medium",
        controls=("CKV_K8S_43",),
        remedy="append @sha256:… (in a stack file: the image's `digest`)",
        types=_EVERYWHERE,
        check=_digest,
    ),
    ResourceRule(
        name="image-registry-allowed",
        description="Images come from our registries only.",
        harm="workloads",
        severity="high",
        remedy="copy the image into your own registry and name it there; the allowed ones are in policies/config",
        types=_EVERYWHERE,
        check=_registry,
        options={"allowed": OWN_REGISTRIES, "denied": ABANDONED},
    ),
    ResourceRule(
        name="image-verification-not-bypassed",
        description="A Release's check of its images is switched off only where registry and digest are checked here.",
        harm="workloads",
        severity="medium",
        remedy="name every image of the Release by digest, from an allowed registry; or use a Chart, whose pods show their images",
        types=(RELEASE,),
        check=_verification,
        options={"allowed": OWN_REGISTRIES},
    ),
)
