"""The files of a feature repo that go to the cluster: which they are, and how a large contract is carried there.

The program that deploys and the runtime share these rules: `infra/feast_eks/repo_files.py` is a link to this file, which imports
nothing but Python's own modules.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

LOCK_FILE = "contract.lock.json"
FEASTIGNORE = ".feastignore"
CACHES = frozenset({"__pycache__", "__pypackages__", "node_modules"})
ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
"""What lies in the directory of an environment of Python, whatever that is called."""

# A feature and its type stand on one line: that is the line a reviewer wants to see change.
LIST_OF_STRINGS = re.compile(r'\[(?:\s*"(?:[^"\\]|\\.)*",?)+\s*\]')


def definition_files(feature_repo: Path) -> list[Path]:
    """The Python files that define the features, sorted.

    Not those that are hidden, of caches, of environments of Python, and what `.feastignore` names, as Feast reads it.
    """
    ignored = _ignored(feature_repo)
    files = []
    for directory, below, names in os.walk(feature_repo):
        here = Path(directory)
        below[:] = [name for name in below if not (_left_out(here / name) or here / name in ignored)]
        files += [here / name for name in names if name.endswith(".py") and not name.startswith(".")]
    return sorted(file for file in files if file.is_file() and file not in ignored)


def definitions_sha256(feature_repo: Path) -> str:
    """Digest of the Python files that define the features: what `contract.lock.json` was written from."""
    digest = hashlib.sha256()
    for path in definition_files(feature_repo):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(feature_repo).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _left_out(directory: Path) -> bool:
    return directory.name.startswith(".") or directory.name in CACHES or any((directory / mark).exists() for mark in ENVIRONMENT_MARKS)


def _ignored(feature_repo: Path) -> set[Path]:
    """The files and directories that patterns of `.feastignore` match."""
    file = feature_repo / FEASTIGNORE
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    found: set[Path] = set()
    for pattern in filter(None, (line.partition("#")[0].strip() for line in lines)):
        # Feast fails on what is no pattern of a path below the repo.
        with suppress(ValueError, NotImplementedError):
            found.update(feature_repo.glob(pattern))
    return found


def render(contract: dict[str, Any]) -> str:
    """The text of the lock file: sorted keys, ordered features one per line, as a diff reads best."""
    text = json.dumps(contract, indent=2, sort_keys=True)
    return LIST_OF_STRINGS.sub(lambda match: json.dumps(json.loads(match[0])), text) + "\n"


def cut(lock: str, limit: int) -> Iterator[tuple[str, str]]:
    """(name, text) of the lock file as it is carried: of up to so many bytes as it is, else in parts, each a JSON document.

    The first says how many `parts` there are; each goes on where the one before ends. An object of the contract stays in one part,
    whatever its size.
    """
    if len(lock.encode()) <= limit:
        yield LOCK_FILE, lock
        return
    whole: dict[str, Any] = json.loads(lock)
    parts: list[dict[str, Any]] = [{"parts": 0} | {key: said for key, said in whole.items() if not isinstance(said, dict)}]
    size = len(render(parts[0]).encode())
    for section, objects in sorted((key, said) for key, said in whole.items() if isinstance(said, dict)):
        parts[-1][section] = {}
        size += len(section) + 10
        for name, said in sorted(objects.items()):
            text = render({name: said})
            # Two levels below the document, each line is indented by four.
            own = len(text.encode()) + 4 * text.count("\n")
            if size + own > limit:
                parts.append({section: {}})
                size = len(section) + 10
            parts[-1][section][name] = said
            size += own
    parts[0]["parts"] = len(parts)
    yield from ((_part_name(number), render(part)) for number, part in enumerate(parts, 1))


def read_lock(feature_repo: Path) -> Any:
    """The document of the lock file, put together if it was carried in parts.

    Raises:
        FileNotFoundError: there is none.
        json.JSONDecodeError: it is no JSON.
    """
    lock = json.loads((feature_repo / LOCK_FILE).read_text())
    for number in range(2, lock.pop("parts", 1) + 1) if isinstance(lock, dict) else ():
        for section, objects in json.loads((feature_repo / _part_name(number)).read_text()).items():
            lock.setdefault(section, {}).update(objects)
    return lock


def _part_name(number: int) -> str:
    return LOCK_FILE if number == 1 else LOCK_FILE.replace(".json", f".{number}.json")
