"""Compare the definitions with what is in use, and refuse what breaks its readers.

Against the live registry (read only), a revision of the repository, or a lock file. Nothing is changed anywhere. Exit 0 is
safe, 1 a refusal or, with --strict, a warning, 2 a breaking change without a waiver, 3 that no comparison was possible.
"""

import argparse
import traceback
from pathlib import Path
from typing import Any

from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import Definitions, load_definitions
from feature_runtime.gate.comparison import NIGHTLY_MARGIN, Comparison, Snapshot
from feature_runtime.gate.judgement import judge
from feature_runtime.gate.opening import snapshot_of_registry
from feature_runtime.gate.report import as_annotations, as_text
from feature_runtime.gate.revision import snapshot_of_file, snapshot_of_revision
from feature_runtime.gate.stores import stores_of
from feature_runtime.gate.waivers import read_waivers
from feature_runtime.offline_store import source
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.settings import CONFIG_FILE, feature_repo_directory

NOT_COMPARED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """With what to compare, how to say it, how strict to be."""
    parser.add_argument(
        "--against", required=True, metavar="registry|git:REF|FILE", help="the live registry, the merge base with REF, or a lock"
    )
    parser.add_argument(
        "--format", choices=("json", "text", "github"), default="json", help="what stderr gets besides the line on stdout (json)"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings")
    parser.add_argument("--sources", action="store_true", help="look into the sources too, as `apply` does (F053)")
    add_margin(parser)
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a registry that is away (90)")


def add_margin(parser: argparse.ArgumentParser) -> None:
    """How long values must live; `apply` asks for the same."""
    what = f"two gaps of the materialization's schedule and one deadline: how long a value must live ({NIGHTLY_MARGIN})"
    parser.add_argument("--margin-seconds", type=int, default=NIGHTLY_MARGIN, help=what)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare; the result has the findings, and the exit code that follows from them."""
    repo = feature_repo_directory()
    definitions = load_definitions(repo)
    waivers = read_waivers(repo)
    new = new_snapshot(repo, definitions)
    problems = source_problems(definitions, repo) if arguments.sources else ()
    old, compared_with = _old_side(repo, arguments)
    verdict = judge(Comparison(old=old, new=new, margin_seconds=arguments.margin_seconds, source_problems=problems), waivers)
    if arguments.format == "text":
        say(as_text(verdict))
    elif arguments.format == "github":
        say(as_annotations(verdict, definitions.places, _shown(repo)))
    return {"against": compared_with, **verdict.summary, "exit_code": verdict.exit_code(strict=arguments.strict)}


def new_snapshot(repo: Path, definitions: Definitions) -> Snapshot:
    """The definitions as they are now: the new side of every comparison."""
    return Snapshot(contract=contract_of_definitions(repo, definitions), stores=stores_of((repo / CONFIG_FILE).read_text()))


def source_problems(definitions: Definitions, repo: Path) -> tuple[tuple[str, str], ...]:
    """(view, what its source lacks), for every source that can be looked into."""
    return tuple((view, problem) for view, _, problem in source.source_problems(definitions.views, repo))


def _old_side(repo: Path, arguments: argparse.Namespace) -> tuple[Snapshot, str]:
    against: str = arguments.against
    try:
        if against == "registry":
            return snapshot_of_registry(repo, wait_seconds=arguments.wait_seconds), against
        if against.startswith("git:"):
            snapshot, commit = snapshot_of_revision(repo, against.removeprefix("git:"))
            return snapshot, f"git:{commit}"
        return snapshot_of_file(Path(against)), against
    except Refusal as refusal:
        raise Refusal(f"could not compare with {against}: {refusal}", exit_code=NOT_COMPARED, **refusal.details) from None
    except Exception as error:
        # Whatever it is, it must not pass for "nothing changed", nor be tried again for ever.
        traceback.print_exc()
        raise Refusal(f"could not compare with {against}: {first_line(error)}.", exit_code=NOT_COMPARED) from error


def _shown(repo: Path) -> str:
    """The feature repo as annotations name it: from the working directory, which is the repository's root in a workflow."""
    try:
        return repo.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return repo.name
