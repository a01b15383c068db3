"""Waivers: findings that a team has read and lets pass, in `waivers.yaml` beside the definitions.

Each names one rule and one object, says why, and until when. It is reviewed with the change that needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from feature_runtime.gate.rule import BREAKING, RULES, WARNING, Finding
from feature_runtime.refusal import Refusal

FILE = "waivers.yaml"
KEYS = frozenset({"rule", "object", "reason", "expires"})
SHAPE = 'a list of {rule: F002, object: services.NAME.FEATURE, reason: "…", expires: YYYY-MM-DD}'


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """One entry of the file. Without a reason it counts for nothing."""

    rule: str
    object: str
    reason: str
    expires: date

    def fits(self, finding: Finding) -> bool:
        """Whether it is about this finding."""
        return (self.rule, self.object) == (finding.rule, finding.object)


def read_waivers(feature_repo: Path) -> list[Waiver]:
    """The waivers beside the definitions; none if there is no file.

    Raises:
        Refusal: the file is not what it must be; every mistake is named.
    """
    path = feature_repo / FILE
    if not path.is_file():
        return []
    try:
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refusal(f"{FILE} is no YAML: {error}. It must be {SHAPE}.") from None
    if document is None:
        return []
    if not isinstance(document, list):
        raise Refusal(f"{FILE} is no list. It must be {SHAPE}.")
    read = [_waiver(number, entry) for number, entry in enumerate(document, 1)]
    if mistakes := [mistake for mistake in read if isinstance(mistake, str)]:
        raise Refusal(f"{FILE}: {'; '.join(mistakes)}. It must be {SHAPE}.", mistakes=mistakes)
    return [waiver for waiver in read if isinstance(waiver, Waiver)]


def mark(findings: Sequence[Finding], waivers: Sequence[Waiver], today: date) -> list[Finding]:
    """The findings, those that a waiver lets pass marked so."""
    valid = [waiver for waiver in waivers if not _problems(waiver, findings, today)]
    marked = []
    for finding in findings:
        waiver = next((waiver for waiver in valid if waiver.fits(finding)), None)
        marked.append(replace(finding, waived=waiver.reason) if waiver else finding)
    return marked


def problems(waivers: Sequence[Waiver], findings: Sequence[Finding], today: date) -> list[Finding]:
    """What is wrong with the waivers themselves."""
    return [problem for waiver in waivers for problem in _problems(waiver, findings, today)]


def _problems(waiver: Waiver, findings: Sequence[Finding], today: date) -> list[Finding]:
    if waiver.rule not in RULES:
        said = "W002", BREAKING, f"there is no rule {waiver.rule}", "Name a rule of the gate."
    elif not waiver.reason:
        said = "W003", BREAKING, "the waiver has no reason", "Say why it is safe, or who agreed."
    elif waiver.expires < today:
        said = "W001", WARNING, f"the waiver expired on {waiver.expires}", "Remove it, or renew it with its reason."
    elif not any(waiver.fits(finding) for finding in findings):
        said = "W004", WARNING, "the waiver matches nothing", "Remove it once every environment has the change that it was for."
    else:
        return []
    identifier, severity, reason, remedy = said
    return [Finding(rule=identifier, severity=severity, object=f"waivers.{waiver.rule}.{waiver.object}", reason=reason, remedy=remedy)]


def _waiver(number: int, entry: Any) -> Waiver | str:
    if not isinstance(entry, dict):
        return f"entry {number} is no map"
    if unknown := sorted(map(str, entry.keys() - KEYS)):
        return f"entry {number} has unknown keys {', '.join(unknown)}"
    if missing := sorted({"rule", "object", "expires"} - entry.keys()):
        return f"entry {number} has no {', '.join(missing)}"
    expires = entry["expires"]
    if isinstance(expires, str):
        try:
            expires = date.fromisoformat(expires)
        except ValueError:
            return f"entry {number}: expires is {expires!r}, not a date"
    if isinstance(expires, datetime) or not isinstance(expires, date):
        return f"entry {number}: expires is {expires!r}, not a date"
    return Waiver(
        rule=str(entry["rule"]),
        object=str(entry["object"]),
        reason=str(entry.get("reason") or "").strip(),
        expires=expires,
    )
