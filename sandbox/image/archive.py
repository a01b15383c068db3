"""An image as one file: an OCI image layout that `ctr images import`, `podman load` and `docker load` take."""

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.image.layer import Layer

EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CHUNK = 1 << 20


class DamagedLayerError(Exception):
    """A layer's bytes are not what its record says."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(f"{layer.path} does not match its digest")
        self.layer = layer


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How a container of the image starts."""

    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str
    working_directory: str = "/"
    stop_signal: str = "SIGTERM"


def image_id(config: ImageConfig, layers: Sequence[Layer]) -> str:
    """Hex digest of the image's configuration and layers; the reference is no part of it."""
    return hashlib.sha256(_configuration(config, layers)).hexdigest()


def write_archive(partial: Path, reference: str, config: ImageConfig, layers: Sequence[Layer]) -> None:
    """Write the archive of `layers` under the name `reference` and put it on the disk.

    Raises:
        DamagedLayerError: a cached layer differs from its record; the file at `partial` is then useless.
    """
    configuration = _configuration(config, layers)
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", configuration),
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": f"sha256:{layer.digest}",
                    "size": layer.size,
                }
                for layer in layers
            ],
        }
    )
    name, tag = reference.rsplit(":", 1)
    index = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
                | {
                    "annotations": {
                        "io.containerd.image.name": f"{name}:{tag}",
                        "org.opencontainers.image.ref.name": tag,
                    },
                    "platform": {"architecture": _architecture(), "os": "linux"},
                }
            ],
        }
    )
    with partial.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(archive, "index.json", index)
            for blob in (manifest, configuration):
                _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
            for layer in layers:
                _add_layer(archive, layer)
        file.flush()
        os.fsync(file.fileno())


def _configuration(config: ImageConfig, layers: Sequence[Layer]) -> bytes:
    return _json(
        {
            "created": EPOCH,
            "architecture": _architecture(),
            "os": "linux",
            "config": {
                "User": config.user,
                "Env": [f"{name}={value}" for name, value in sorted(config.environment.items())],
                "Entrypoint": list(config.entrypoint),
                "Cmd": list(config.command),
                "WorkingDir": config.working_directory,
                "StopSignal": config.stop_signal,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created": EPOCH, "created_by": layer.name} for layer in layers],
        }
    )


def _architecture() -> str:
    return ARCHITECTURES[platform.machine()]


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


class _HashingReader:
    """Hashes a file while it is copied, so that a damaged layer never gets into an archive unnoticed."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self.sha256 = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        data = self._source.read(size)
        self.sha256.update(data)
        return data


def _add_layer(archive: tarfile.TarFile, layer: Layer) -> None:
    entry = tarfile.TarInfo(f"blobs/sha256/{layer.digest}")
    entry.size = layer.size
    with layer.path.open("rb") as file:
        reader = _HashingReader(file)
        archive.addfile(entry, reader)
    if reader.sha256.hexdigest() != layer.digest:
        raise DamagedLayerError(layer)
