"""Layers of an image, kept by content: each is built once, and is either complete or absent.

A layer is a tar file whose bytes depend only on names, contents and modes: times are zero, the owner is root, the
order is the alphabet's. It gets its name by an atomic rename once it is on the disk, and the record beside it
(digest and size) is written last: a layer without a matching record is not a layer, whatever killed the build.
"""

import hashlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

KEPT_PER_NAME = 2  # the present one and what another branch uses
SET_ID_BITS = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class Layer:
    """One complete layer: `digest` is the hex sha256 of the file at `path`, `size` its length in bytes."""

    name: str
    path: Path
    digest: str
    size: int


class DigestWriter:
    """A file that knows the digest and the length of what was written to it."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write `data` and count it."""
        self._sha256.update(data)
        self.size += len(data)
        return self._target.write(data)

    @property
    def digest(self) -> str:
        """Hex sha256 of everything written so far."""
        return self._sha256.hexdigest()


class LayerStore:
    """The directory of layers. One process at a time may use it (`build` holds the lock)."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self._directory = directory
        self._scratch = scratch
        directory.mkdir(parents=True, exist_ok=True)

    def find(self, name: str, key: str) -> Layer | None:
        """The layer if it is complete, and mark it as used."""
        path, record = self._path(name, key), self._record(name, key)
        try:
            recorded = json.loads(record.read_text())
            layer = Layer(name, path, recorded["digest"], recorded["size"])
            if path.stat().st_size != layer.size:
                return None
        except (OSError, ValueError, KeyError):
            return None
        os.utime(record)
        return layer

    def add(self, name: str, key: str, fill: Callable[[Path], None]) -> Layer:
        """Build the layer from the directory that `fill` fills, and return it once it is on the disk."""
        root = self._scratch / name / "root"
        partial = self._scratch / name / "layer.tar"
        shutil.rmtree(root.parent, ignore_errors=True)
        root.mkdir(parents=True)
        fill(root)
        with partial.open("wb") as file:
            writer = DigestWriter(file)
            write_tree(writer, root)
            file.flush()
            os.fsync(file.fileno())
        layer = Layer(name, self._path(name, key), writer.digest, writer.size)
        partial.rename(layer.path)
        record = self._scratch / name / "record.json"
        record.write_text(json.dumps({"digest": layer.digest, "size": layer.size}))
        record.rename(self._record(name, key))
        shutil.rmtree(root.parent)
        return layer

    def discard(self, layer: Layer) -> None:
        """Forget a layer whose bytes turned out to be damaged."""
        layer.path.with_suffix(".json").unlink(missing_ok=True)
        layer.path.unlink(missing_ok=True)

    def prune(self) -> None:
        """Keep the layers used last of every name; older ones and those without a record go."""
        complete = {path.with_suffix(".tar") for path in self._directory.glob("*.json")}
        for path in self._directory.glob("*.tar"):
            if path not in complete:
                path.unlink()
        by_name: dict[str, list[Path]] = {}
        for record in self._directory.glob("*.json"):
            by_name.setdefault(record.stem.rpartition("-")[0], []).append(record)
        for records in by_name.values():
            records.sort(key=lambda record: record.stat().st_mtime, reverse=True)
            for record in records[KEPT_PER_NAME:]:
                record.unlink()
                record.with_suffix(".tar").unlink(missing_ok=True)

    def _path(self, name: str, key: str) -> Path:
        return self._directory / f"{name}-{key[:16]}.tar"

    def _record(self, name: str, key: str) -> Path:
        return self._path(name, key).with_suffix(".json")


def write_tree(target: DigestWriter, root: Path) -> None:
    """Write everything below `root` as a tar stream that two builds of the same tree share byte for byte."""
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for path in _sorted_tree(root):
            entry = archive.gettarinfo(path, arcname=path.relative_to(root).as_posix())
            entry.mtime = entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode &= ~SET_ID_BITS  # nothing in a restricted pod may gain privileges through a file
            if entry.isreg():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)


def _sorted_tree(directory: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        path = Path(entry.path)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _sorted_tree(path)
