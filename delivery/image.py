"""The runtime image of this commit: built once, found by its tag, named by its digest.

    python -m delivery.image find      digest of this commit's image, or a stand-in if it is not built yet (pull requests)
    python -m delivery.image ensure    the same, building and pushing it first where there is none (deployments)

Both print `repository=`, `tag=` and `digest=` lines, as a workflow step's outputs. The tag is the digest of runtime/,
so a commit that does not touch it finds the image of an earlier one.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from feast_eks.runtime_image import source_tag

PROJECT = Path(__file__).resolve().parent.parent
STACKS = ("dev", "staging", "prod")
"""In the order of their deployment."""
NOT_BUILT = f"sha256:{'0' * 64}"
"""Stands for the digest of an image that is built after the merge. Deployments refuse it."""
NOTE = "runtime/ changes: the image is built after the merge, until then its digest is shown as zeros"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ABSENT = re.compile(r"not found|manifest unknown|name unknown|MANIFEST_UNKNOWN|does not exist", re.IGNORECASE)

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


class ImageError(Exception):
    """The image cannot be found or made."""


@dataclass(frozen=True)
class Image:
    """Where it is, and which one."""

    repository: str
    tag: str
    digest: str

    @property
    def lines(self) -> str:
        """The outputs of a workflow step."""
        note = NOTE if self.digest == NOT_BUILT else ""
        return f"repository={self.repository}\ntag={self.tag}\ndigest={self.digest}\nnote={note}\n"


def repository(stacks: Path, names: Sequence[str] = STACKS) -> str:
    """The one repository that all stack files name.

    Raises:
        ImageError: they name several, so that one build could not serve all, or none.
    """
    named = {}
    for name in names:
        document = yaml.safe_load((stacks / f"Pulumi.{name}.yaml").read_text())
        named[name] = str((document["config"].get("feast-eks:runtime_image") or {}).get("repository") or "")
    if len(set(named.values())) != 1 or not all(named.values()):
        listed = ", ".join(f"{name}: {found or 'none'}" for name, found in named.items())
        raise ImageError(f"the stack files name different runtime_image.repository ({listed}); one image is built for all of them")
    return named[names[0]]


def find(where: str, tag: str, run: Run) -> str:
    """Digest of the tag in the registry; empty if there is no such image.

    Raises:
        ImageError: the registry could not be asked. That is not the same as absent.
    """
    asked = run(["docker", "buildx", "imagetools", "inspect", f"{where}:{tag}", "--format", "{{json .Manifest}}"])
    if asked.returncode == 0:
        return _digest(asked.stdout, "digest", where)
    if ABSENT.search(asked.stderr):
        return ""
    raise ImageError(f"the registry did not say whether {where}:{tag} is there: {asked.stderr.strip()}")


def build(where: str, tag: str, run: Run) -> str:
    """Build runtime/ and push it. Returns the digest that the registry keeps it under."""
    with tempfile.TemporaryDirectory() as directory:
        metadata = Path(directory) / "metadata.json"
        built = run(
            ["docker", "buildx", "build", "--push", "--tag", f"{where}:{tag}", "--metadata-file", str(metadata), str(PROJECT / "runtime")]
        )
        if built.returncode != 0:
            raise ImageError(f"{where}:{tag} was not built: {built.stderr.strip()[-2000:]}")
        return _digest(metadata.read_text(), "containerimage.digest", where)


def image(*, may_build: bool, run: Run) -> Image:
    """The image of this commit."""
    where, tag = repository(PROJECT / "stacks"), source_tag(PROJECT / "runtime")
    digest = find(where, tag, run) or (build(where, tag, run) if may_build else NOT_BUILT)
    return Image(where, tag, digest)


def _digest(document: str, key: str, where: str) -> str:
    try:
        found = str(json.loads(document)[key])
    except (ValueError, KeyError, TypeError):
        found = ""
    if not DIGEST.fullmatch(found) or found == NOT_BUILT:
        raise ImageError(f"no digest in what was said about {where}")
    return found


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def main(arguments: list[str], run: Run = _run) -> int:
    """Print the image; 0 if there is one, or may be one later."""
    parser = argparse.ArgumentParser(prog="python -m delivery.image", description="The runtime image of this commit.")
    parser.add_argument("verb", choices=("find", "ensure"))
    try:
        found = image(may_build=parser.parse_args(arguments).verb == "ensure", run=run)
    except (ImageError, OSError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(found.lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
