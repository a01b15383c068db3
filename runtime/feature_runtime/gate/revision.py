"""The definitions at another revision of the repository, as the old side of a comparison."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from feature_runtime.contract import FORMAT_VERSION
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.gate.comparison import Contract, Snapshot
from feature_runtime.gate.stores import stores_of
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import LOCK_FILE, definitions_sha256
from feature_runtime.settings import CONFIG_FILE

SECONDS = 60


def snapshot_of_revision(feature_repo: Path, reference: str) -> tuple[Snapshot, str]:
    """The feature repo at the merge base of `reference` and HEAD, and that commit.

    A lock of the present format that fits its definitions is taken as it is; otherwise the definitions of that revision are
    imported, from a copy. A revision without any feature repo is an empty snapshot: everything since is an addition.

    Raises:
        Refusal: no such revision, no common ancestor, or definitions that cannot be imported.
    """
    top = Path(_git(feature_repo, "rev-parse", "--show-toplevel").strip())
    commit = _merge_base(feature_repo, reference)
    where = feature_repo.resolve().relative_to(top.resolve()).as_posix()
    paths = _git(top, "ls-tree", "-r", "--name-only", "-z", commit).split("\0")
    if f"{where}/{CONFIG_FILE}" not in paths:
        elsewhere = [path for path in paths if Path(path).name == LOCK_FILE and "tests" not in Path(path).parts]
        if elsewhere:
            raise Refusal(
                f"{where} has no feature repo at {commit[:12]}, but {', '.join(elsewhere)} is there: it was moved. "
                "Compare with that file (--against FILE)."
            )
        return Snapshot(), commit
    with tempfile.TemporaryDirectory(prefix="revision-") as directory:
        archive = _git_bytes(top, "archive", "--format=tar", commit, "--", where)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory, filter="data")
        there = Path(directory).resolve() / where
        if not (there / LOCK_FILE).exists() and (feature_repo / LOCK_FILE).exists():
            # What neither these definitions nor data tell is taken for what it is now.
            shutil.copyfile(feature_repo / LOCK_FILE, there / LOCK_FILE)
        return Snapshot(contract=_contract(there, commit), stores=stores_of((there / CONFIG_FILE).read_text())), commit


def snapshot_of_file(path: Path) -> Snapshot:
    """A lock file as the old side.

    Raises:
        Refusal: unreadable, or of another format.
    """
    try:
        contract = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be read: {error}. Name a {LOCK_FILE}.") from None
    found = contract.get("format_version") if isinstance(contract, dict) else None
    if found != FORMAT_VERSION:
        raise Refusal(
            f"{path} is of format {found}, this version reads {FORMAT_VERSION}. Write it again with `make lock` at its own revision, "
            "or compare with git:REF, which imports the definitions of that revision."
        )
    try:
        return Snapshot(contract=_complete(contract))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refusal(f"{path} is no contract ({type(error).__name__}: {error}). Name a {LOCK_FILE} as `make lock` writes it.") from None


def _contract(feature_repo: Path, commit: str) -> Contract:
    try:
        contract = json.loads((feature_repo / LOCK_FILE).read_text())
        if contract["format_version"] == FORMAT_VERSION and contract["definitions_sha256"] == definitions_sha256(feature_repo):
            return _complete(contract)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # No lock, a broken one, or of a format of its own: the definitions say it all.
        pass
    try:
        return contract_of_definitions(feature_repo, load_definitions(feature_repo, only_compared=True))
    except Refusal as refusal:
        raise Refusal(
            f"the definitions at {commit[:12]} cannot be imported: {refusal}. Compare with a {LOCK_FILE} (--against FILE)."
        ) from None


def _complete(contract: Contract) -> Contract:
    """Prove that the parts which rules read are there; what is missing would compare as if nothing had changed."""
    for section in ("entities", "sources", "views", "services"):
        contract[section].items()
    for view in [*contract["views"].values(), *contract.get("on_demand_views", {}).values()]:
        dict(view["features"])
    for view in contract.get("on_demand_views", {}).values():
        view["sources"].items()
    for view in contract["views"].values():
        _ = view["kind"], view["online"], view["ttl_seconds"], view["entity_columns"]
    for service in contract["services"].values():
        _ = [(view, name, dtype) for view, name, dtype in service["features"]]
    return contract


def _merge_base(directory: Path, reference: str) -> str:
    if reference.startswith("-"):
        raise Refusal(f"{reference!r} is no revision.")
    commit = _git(directory, "rev-parse", "--verify", "--end-of-options", f"{reference}^{{commit}}").strip()
    try:
        return _git(directory, "merge-base", commit, "HEAD").strip()
    except Refusal:
        raise Refusal(
            f"{reference} and HEAD have no common ancestor in this clone. "
            "Fetch more of the history (git fetch --unshallow), or name the merge base."
        ) from None


def _git(directory: Path, *arguments: str) -> str:
    return _git_bytes(directory, *arguments).decode(errors="replace")


def _git_bytes(directory: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refusal(f"git {arguments[0]} did not run: {error}.") from None
    if done.returncode:
        raise Refusal(f"git {arguments[0]} failed in {directory}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
