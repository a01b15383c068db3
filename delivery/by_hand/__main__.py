"""Say what was added by hand to a stack: 0 is nothing, 1 something, COULD_NOT_LOOK neither."""

import argparse
import subprocess
import sys

from delivery.by_hand.check import Report, look
from delivery.by_hand.cluster import connected
from delivery.by_hand.state import read_state
from delivery.drift import COULD_NOT_LOOK
from delivery.report import STACK

REMEDY = "No update takes these away; docs/operations.md#drift says how they go."


def main(arguments: list[str]) -> int:
    """Look, and print what was found, what matters last."""
    parser = argparse.ArgumentParser(prog="python -m delivery.by_hand", description="What was added by hand to what a stack made.")
    parser.add_argument("--stack", required=True)
    stack = parser.parse_args(arguments).stack
    if not STACK.fullmatch(stack):
        parser.error(f"{stack!r} is no name of a stack")
    # Its answer holds secrets in the clear: it stays in memory, and their values are dropped as it is read.
    command = ["pulumi", "stack", "export", "--stack", stack, "--show-secrets"]
    exported = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    report = Report()
    try:
        for cluster in read_state(exported.stdout):
            with connected(cluster.connection) as kubectl:
                found = look(cluster.objects, kubectl.get)
            report = Report(report.findings + found.findings, report.unseen + found.unseen)
    except ValueError as error:
        report.unseen.append(str(error))
    sys.stdout.write(render(report))
    return 1 if report.grave else COULD_NOT_LOOK if report.unseen else 0


def render(report: Report) -> str:
    """The report as lines: what cannot be known and what matters stand at the end, where a log is read."""
    lines = []
    if report.said:
        lines += ["Added, and no matter of safety:", *(f"  {finding}" for finding in report.said)]
    if report.unseen:
        lines += ["Could not look:", *(f"  {reason}" for reason in report.unseen)]
    if report.grave:
        lines += ["Added by hand:", *(f"  {finding}" for finding in report.grave), REMEDY]
    return "".join(f"{line}\n" for line in lines or ["Nothing was added by hand."])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
