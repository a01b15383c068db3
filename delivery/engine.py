"""The engine with everything that a delivery needs: the stack's policies, no colours, no outputs in a log.

    python -m delivery.engine preview --stack prod [--output DIR]
    python -m delivery.engine deploy --stack prod --approved DIR/changes.json [--output DIR]
    python -m delivery.engine drift --stack prod [--output DIR]

`deploy` is a preview, a comparison with what was approved, and then the update: there is no update without the other
two. `up` alone would run the stack's policies only after everything has changed.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from delivery.approval import differences, intent, read_intent
from delivery.drift import Check, issue
from delivery.preview import read_preview
from delivery.report import STACK

PACK = "policies"
QUIET = ("--non-interactive", "--color", "never", "--suppress-outputs", "--suppress-progress")
OTHERWISE = 3
"""Exit status when the changes are not the approved ones."""


def policy_options(stack: str) -> list[str]:
    """The pack at the levels of the stack's environment."""
    return ["--policy-pack", PACK, "--policy-pack-config", f"{PACK}/config/{stack}.json"]


def preview_command(stack: str, events: Path) -> list[str]:
    """The preview; its events are written to a file, since `--json` leaves out what the policies find."""
    return ["pulumi", "preview", "--stack", stack, "--diff", *QUIET, "--event-log", str(events), *policy_options(stack)]


def up_command(stack: str) -> list[str]:
    """The update; its preview has been made and compared by then."""
    return ["pulumi", "up", "--stack", stack, "--yes", "--skip-preview", *QUIET, *policy_options(stack)]


def drift_commands(stack: str) -> dict[str, list[str]]:
    """What finds a difference between the program, the state and what is there; none of them changes anything."""
    return {
        "what was deployed is there, with its values": [
            *("pulumi", "refresh", "--stack", stack, "--preview-only", "--expect-no-changes", "--run-program", "--diff", *QUIET)
        ],
        "nothing was added to it by hand": [sys.executable, "-m", "delivery.by_hand", "--stack", stack],
        "what was deployed is what the program says": [
            *("pulumi", "preview", "--stack", stack, "--expect-no-changes", "--diff", *QUIET, *policy_options(stack))
        ],
        "what was deployed obeys the policies": ["pulumi", "policy", "analyze", "--stack", stack, *policy_options(stack)],
    }


def preview(stack: str, output: Path) -> int:
    """Preview; leaves preview.json, preview.txt, changes.json and status in `output` and returns the engine's exit status."""
    output.mkdir(parents=True, exist_ok=True)
    for left in ("preview.json", "changes.json", "status"):
        (output / left).unlink(missing_ok=True)
    events = output / "preview.json"
    status = run(preview_command(stack, events.absolute()), output / "preview.txt")
    found = read_preview(events.read_text(errors="replace") if events.exists() else "")
    if status == 0 and not found.readable:
        sys.stderr.write("the preview left no events: what it would do is not known\n")
        status = 1
    if status == 0:
        (output / "changes.json").write_text(json.dumps(intent(found), indent=1, sort_keys=True))
    (output / "status").write_text(str(status))
    return status


def deploy(stack: str, approved: Path, output: Path) -> int:
    """Preview, compare with what was approved, update."""
    expected = read_intent(approved)
    status = preview(stack, output)
    if status != 0:
        return status
    otherwise = differences(expected, read_intent(output / "changes.json"))
    if otherwise:
        sys.stderr.write(f"{stack} would change otherwise than was approved; nothing was changed:\n")
        sys.stderr.write("".join(f"  {line}\n" for line in otherwise))
        sys.stderr.write("Run the workflow again: its new preview is the one to approve.\n")
        return OTHERWISE
    return run(up_command(stack), output / "up.txt")


def drift(stack: str, output: Path) -> int:
    """Look for differences by every way, also when one fails; leaves drift.md in `output`. 0 is none."""
    output.mkdir(parents=True, exist_ok=True)
    checks = []
    for number, (promise, command) in enumerate(drift_commands(stack).items(), 1):
        log = output / f"drift-{number}.txt"
        status = run(command, log)
        said = shlex.join(command).replace(sys.executable, ".venv/bin/python")
        checks.append(Check(promise=promise, command=said, status=status, log=log.read_text(errors="replace")))
    (output / "drift.md").write_text(issue(stack, checks), encoding="utf-8")
    return 0 if all(check.status == 0 for check in checks) else 1


def run(command: list[str], log: Path) -> int:
    """Run the command, say which it is, and show and keep what it prints."""
    sys.stdout.write(f"$ {shlex.join(command)}\n")
    sys.stdout.flush()
    # The event log is an option of the engine's own automation and is hidden without this.
    environment = {**os.environ, "PULUMI_DEBUG_COMMANDS": "true", "PULUMI_SKIP_UPDATE_CHECK": "true"}
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            kept.write(line)
    return process.returncode


def main(arguments: list[str]) -> int:
    """Run one verb; the exit status is the engine's."""
    parser = argparse.ArgumentParser(prog="python -m delivery.engine", description="The engine, with the stack's policies.")
    parser.add_argument("verb", choices=("preview", "deploy", "drift"))
    parser.add_argument("--stack", required=True)
    parser.add_argument("--approved", type=Path, help="changes.json of the approved preview (deploy)")
    parser.add_argument("--output", type=Path, help="where the files go (default: delivery-STACK)")
    options = parser.parse_args(arguments)
    if not STACK.fullmatch(options.stack):
        parser.error(f"{options.stack!r} is no name of a stack")
    output = options.output or Path(f"delivery-{options.stack}")
    if options.verb == "preview":
        return preview(options.stack, output)
    if options.verb == "drift":
        return drift(options.stack, output)
    if options.approved is None:
        parser.error("deploy needs --approved")
    try:
        return deploy(options.stack, options.approved, output)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return OTHERWISE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
