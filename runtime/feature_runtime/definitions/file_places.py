"""Where the files of sources lie: as definitions say it, as Feast is told it, and as the contract names it.

A relative path means the same file in every environment. On a laptop it lies below the feature repo, as Feast reads it. In the
cluster it lies below the offline store's bucket, under the key that the contract names: the path without `./` and `../` at its
beginning, and without the folder `data/` that stands for the bucket on a laptop.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import fsspec
from feast import FeatureView, FileSource
from feast.data_source import DataSource
from feast.repo_contents import RepoContents

from feature_runtime.settings import REPO_VARIABLE, offline_store_endpoint, offline_store_uri

LAPTOP_BUCKET = "data"
"""The folder of a feature repo that holds what the bucket holds in the cluster."""
PARENTS = 8
"""Directories above the copy of a feature repo: what definitions find from `__file__` upwards is still told from an absolute path."""
FILE_SCHEME = "file://"
LOCAL_REMEDY = (
    f"Write it relative to the feature repo, such as '{LAPTOP_BUCKET}/sales.parquet': in the cluster that is the key 'sales.parquet' "
    "of the offline store's bucket. Or name an s3:// address"
)


def is_uri(path: str) -> bool:
    """Whether Feast takes a path for an address, and leaves it as it is (`FileSource.get_uri_for_file_path`)."""
    parsed = urlparse(path)
    return bool(parsed.scheme and parsed.netloc)


def is_local(path: str) -> bool:
    """Whether a path names a file of one machine."""
    return not is_uri(path) and posixpath.isabs(path)


def place_of(path: str) -> tuple[str, str]:
    """(key in the offline store's bucket, "") or ("", what lies elsewhere, in full)."""
    if is_uri(path):
        own = offline_store_uri()
        return (path.removeprefix(own).strip("/"), "") if own and path.startswith(own) else ("", path)
    return ("", path) if is_local(path) else (_key(path), "")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy of a feature repo from which definitions are imported, somewhere below `root`, whose name is random."""

    root: Path
    repo: Path
    """The feature repo that was copied."""

    @property
    def directory(self) -> Path:
        """Where the copy's files are: under a name that says nothing of this machine, with directories above it."""
        return self.root.joinpath(*["above"] * PARENTS, "feature_repo")

    def relative(self, path: str) -> str:
        """A source's path: relative to the feature repo if the definitions found it from where they lie, else as it is."""
        found = path.removeprefix(FILE_SCHEME) if path.startswith(f"{FILE_SCHEME}/") else path
        if not is_local(found):
            return path
        if found.startswith(f"{self.root}/"):
            return posixpath.relpath(found, self.directory)
        normal = posixpath.normpath(found)
        for repo in (str(self.repo), os.environ.get(REPO_VARIABLE, "").rstrip("/")):
            # What is written out, other machines do not have; it stays as it is.
            if repo and normal.startswith(f"{repo}/") and not self._writes(repo):
                return posixpath.relpath(normal, repo)
        return found

    def _writes(self, text: str) -> bool:
        return any(text in file.read_text(errors="replace") for file in self.directory.glob("**/*.py"))


def place_sources(contents: RepoContents, copy: Copy) -> list[str]:
    """Give every file source the path that Feast reads in this environment; what is wrong with their paths is returned.

    A source without a name is called after its path: it keeps the relative one.
    """
    problems: list[str] = []
    keys: dict[str, str] = {}
    bucket_uri, endpoint = offline_store_uri(), offline_store_endpoint()
    for source in file_sources([*contents.data_sources, *_sources_of_views(contents)]):
        path = copy.relative(source.path)
        if source.name == source.path:
            source.name = path
        source.file_options.uri = path
        if not is_uri(path) and not is_local(path):
            normal, key = posixpath.normpath(path), _key(path)
            if key in ("", "."):
                problems.append(f"the source {source.name!r} has the path {path!r}, a whole directory. Name a file or a folder below it.")
            elif keys.setdefault(key, normal) != normal:
                problems.append(
                    f"{keys[key]!r} and {normal!r} are two files on this machine, and one in the cluster: {key!r} in the offline "
                    "store's bucket. Rename one."
                )
            elif bucket_uri:
                source.file_options.uri = f"{bucket_uri}{key}"
        elif bucket_uri and is_local(path):
            problems.append(f"the source {source.name!r} has the path {path!r}, which is a file of another machine. {LOCAL_REMEDY}.")
        elif problem := _unreadable(path):
            problems.append(f"the source {source.name!r} has the path {path!r}: {problem}.")
        if endpoint and bucket_uri and source.file_options.uri.startswith(bucket_uri):
            source.file_options.s3_endpoint_override = source.s3_endpoint_override or endpoint
    return problems


def local_sources(sources: Iterable[DataSource]) -> list[str]:
    """The paths of sources that only this machine has."""
    return [source.path for source in file_sources(sources) if is_local(source.path)]


def file_sources(sources: Iterable[DataSource]) -> Iterator[FileSource]:
    """The file sources among some, each once."""
    return iter({id(source): source for source in sources if isinstance(source, FileSource)}.values())


def _sources_of_views(contents: RepoContents) -> Iterator[DataSource]:
    views: list[FeatureView] = [*contents.feature_views, *contents.stream_feature_views]
    for source in (source for view in views for source in (view.batch_source, view.stream_source) if source):
        yield source
        if batch_source := getattr(source, "batch_source", None):
            yield batch_source


def _key(path: str) -> str:
    """What a relative path is called in the bucket."""
    parts = posixpath.normpath(path).split("/")
    while parts and parts[0] == "..":
        parts = parts[1:]
    if parts[0:1] == [LAPTOP_BUCKET] and len(parts) > 1:
        parts = parts[1:]
    return "/".join(parts)


def _unreadable(path: str) -> str:
    """Why nothing here can read an address."""
    if not is_uri(path):
        return ""
    scheme = urlparse(path).scheme
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError):
        return f"nothing here reads {scheme}://. Put the data on S3, or name a path relative to the feature repo"
    return ""
