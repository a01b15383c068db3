"""Which runtime image belongs to this checkout.

The tag of the runtime image is the digest of its sources, so a changed runtime is a changed image in every preview,
and whoever builds the image (a CI job, the sandbox) and whoever deploys it agree without telling each other.
"""

import hashlib
from pathlib import Path

IGNORED_DIRECTORIES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


def digest_of_files(root: Path, pattern: str = "**/*") -> str:
    """Digest of the names and contents of the files below `root` that match `pattern`.

    Returns the hex sha256. The order of the directory listing, times and modes do not matter.
    """
    digest = hashlib.sha256()
    for path in sorted(root.glob(pattern)):
        relative = path.relative_to(root)
        hidden = any(part in IGNORED_DIRECTORIES or part.startswith(".") for part in relative.parts[:-1])
        if not path.is_file() or hidden:
            continue
        content = path.read_bytes()
        digest.update(f"{relative.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def source_tag(runtime: Path) -> str:
    """Tag of the image built from the `runtime` directory: the first 12 hex digits of its digest."""
    return digest_of_files(runtime)[:12]
