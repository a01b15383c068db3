"""Findings for people, and as annotations of a pull request.

Both go to stderr: stdout is the one line of JSON that every verb prints, and GitHub reads commands from either.
"""

from collections.abc import Mapping

from feature_runtime.contract import LOCK_FILE
from feature_runtime.gate.judgement import Verdict
from feature_runtime.gate.rule import BREAKING, WARNING, Finding
from feature_runtime.gate.waivers import FILE as WAIVERS_FILE

COMMANDS = {BREAKING: "error", WARNING: "warning"}


def as_text(verdict: Verdict) -> str:
    """A paragraph for each finding, and a last line that counts them."""
    lines = []
    for finding in verdict.findings:
        severity = f"waived ({finding.waived})" if finding.waived else str(finding.severity)
        lines += [f"{finding.rule} {severity}: {finding.object}", f"    {finding.reason}", f"    {finding.remedy}"]
    counted = verdict.summary
    lines.append(f"{counted['breaking']} breaking, {counted['warnings']} warnings, {counted['infos']} infos, {counted['waived']} waived")
    return "\n".join(lines)


def as_annotations(verdict: Verdict, places: Mapping[str, str], directory: str) -> str:
    """One workflow command for each finding: at the definition of its object, else at the contract.

    `places` maps objects to `file:line` below `directory`.
    """
    lines = []
    for finding in verdict.findings:
        command = COMMANDS.get(finding.severity, "notice") if finding.stands else "notice"
        file, line = _place(finding, places)
        waived = f" Waived: {finding.waived}." if finding.waived else ""
        properties = f"file={_property(f'{directory}/{file}')},line={line},title={_property(f'{finding.rule} {finding.object}')}"
        lines.append(f"::{command} {properties}::{_data(f'{finding.reason}. {finding.remedy}{waived}')}")
    return "\n".join(lines)


def _place(finding: Finding, places: Mapping[str, str]) -> tuple[str, str]:
    parts = finding.object.split(".")
    for length in range(len(parts), 0, -1):
        if found := places.get(".".join(parts[:length])):
            file, _, line = found.rpartition(":")
            return file, line
    return (WAIVERS_FILE if parts[0] == "waivers" else LOCK_FILE), "1"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
