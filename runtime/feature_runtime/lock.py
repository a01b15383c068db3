"""Write contract.lock.json from the feature repo, or check that it is up to date (no network)."""

import argparse
from typing import Any

from feature_runtime import contract
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.definitions.overview import overview
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.settings import feature_repo_directory

STALE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Write, or only check."""
    parser.add_argument("--check", action="store_true", help=f"write nothing; exit {STALE} when the file is stale")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the lock file; the result says what changed."""
    repo = feature_repo_directory()
    definitions = load_definitions(repo, renew=not arguments.check)
    new = contract_of_definitions(repo, definitions)
    path = repo / contract.LOCK_FILE
    text = contract.render(new)
    fresh = path.is_file() and path.read_text() == text
    changes = [] if fresh else _changes(path.is_file(), repo, new)
    if arguments.check and not fresh:
        raise Refusal(f"{contract.LOCK_FILE} is stale: {'; '.join(changes)}. {contract.REMEDY}", exit_code=STALE, changes=changes)
    if not fresh:
        path.write_text(text)
    if not arguments.check:
        say(overview(new, definitions))
    services = {name: contract.vector_names(service) for name, service in new["services"].items()}
    return {"lock": str(path), "changed": not fresh, "changes": changes, "services": services}


def _changes(exists: bool, repo: Any, new: contract.Contract) -> list[str]:
    if not exists:
        return ["it did not exist"]
    try:
        old = contract.read_unchecked(repo)
    except Refusal as refusal:
        return [str(refusal)]
    return contract.differences(old, new) or ["only its formatting"]
