"""The image that holds each pod's namespaces open: one static executable in one layer."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from sandbox.addresses import PAUSE_IMAGE
from sandbox.state import write

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive(executable: Path, directory: Path) -> Path:
    """A docker-archive of the pause image, named by its content."""
    layer = _tar({"pause": (executable.read_bytes(), 0o755)})
    configuration = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    content = _tar(
        {
            "config.json": (configuration, 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )
    path = directory / f"pause-{hashlib.sha256(content).hexdigest()[:16]}.tar"
    if not path.exists():
        write(path, content, 0o644)
    return path


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
