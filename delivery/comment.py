"""The comment on a pull request: what it would do to a stack, the gravest first.

    python -m delivery.comment --stack prod --run DIR --before TREE --output comment.md

with what `delivery.engine preview --output DIR` left and the project as it was before; or with each file by its own
option. Writes a comment whatever it is given: a preview that failed, or never ran, is what a reviewer must know.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from delivery.data import is_at_risk, loss
from delivery.features import FeatureChanges, Vector, compare_contracts
from delivery.glance import glance
from delivery.markdown import LIMIT, Section, code, count, fence, fit
from delivery.preview import Change, Finding, read_preview
from delivery.redaction import redact
from delivery.report import STACK, Report
from delivery.weakening import PolicyChange, compare_configurations, compare_packs

PROPERTIES = 12
LOG_LINES = 40
LOG = 200_000
CONTRACT = "feature_repo/contract.lock.json"
REMEDY = "A model that was trained on the old vector receives what it was not trained on; a new service leaves it alone."
ERRORS = 10
FINDINGS = 5
KNOWN_LEVELS = ("mandatory", "advisory", "remediate")
GROUPS = (("delete", "Deleted"), ("replace", "Replaced"), ("update", "Changed"), ("import", "Imported"), ("create", "Created"))


def marker(stack: str) -> str:
    """The first line of a stack's comment, by which it is found again."""
    return f"<!-- feast-eks preview: {stack} -->"


def render(report: Report, limit: int = LIMIT) -> str:
    """The comment, of at most `limit` characters."""
    preview = report.preview
    sections = [
        Section("Why the preview failed", list(_failure(report)) if report.failed else []),
        Section("Data", [_risk(change) for change in preview.changes if is_at_risk(change)]),
        Section("Features: what models receive", list(_features(report.features))),
        Section("Warnings", [f"- {code(warning, 600)}" for warning in preview.warnings]),
        Section("Policies weakened", [_policy(change) for change in report.weaker]),
        Section("Policy findings", list(_findings(preview.findings))),
        Section("Policies changed otherwise", [_policy(change) for change in report.policies if not change.weaker]),
        *(Section(title, list(_resources(preview.of(operation)))) for operation, title in GROUPS),
        Section("Other operations", list(_resources([c for c in preview.changes if c.operation not in dict(GROUPS) and c.operation]))),
    ]
    return fit(f"{marker(report.stack)}\n{glance(report)}", sections, _reproduce(report.stack), limit)


def _failure(report: Report) -> Iterator[str]:
    if report.violations:
        yield f"{count(len(report.violations), 'policy finding')} of level mandatory, below."
    for error in report.reasons[:ERRORS]:
        yield fence(error.split("\n"))
    if not report.reasons and not report.violations:
        said = [line for line in redact(report.log[-LOG:]).splitlines() if line.strip()]
        wrong = [number for number, line in enumerate(said) if re.search(r"\berror\b", line, re.IGNORECASE)]
        start = max(0, min(wrong[0] - 2 if wrong else len(said), len(said) - LOG_LINES))
        yield fence(said[start : start + LOG_LINES]) if said else "It left no message; the log of the run may have one."


def _risk(change: Change) -> str:
    what = {"replace": "is **replaced**", "delete": "is **deleted**"}.get(change.operation, "is **no longer protected** from deletion")
    because = f", forced by {', '.join(code(path) for path in change.forced_by[:PROPERTIES])}" if change.forced_by else ""
    unprotected = "; its protection is gone" if change.unprotected and change.operation else ""
    return f"- {_title(change)} {what}{because}: {loss(change)}{unprotected}."


def _features(changes: FeatureChanges) -> Iterator[str]:
    if changes.problem:
        yield f"- {code(changes.problem)}"
    for service in changes.services:
        yield f"- **Service** {code(service.name)} {_consequence(service)}"
        yield from (f"  - {code(effect)}" for effect in (*service.effects, *service.notes) if service.before is not None)
        if service.after is not None:
            yield f"\n{fence(service.lines, 'diff')}\n"
    for view in changes.views:
        new = " is new" if view.before is None else " is removed: its values are no longer loaded or served" if view.after is None else ""
        effects = view.effects if view.before is not None and view.after is not None else ()
        yield f"- **View** {code(view.name)}{new or ' changes'}"
        yield from (f"  - {code(effect)}" for effect in (*effects, *view.notes))
        if view.before and view.after and {name for name, _ in view.after} - {name for name, _ in view.before}:
            yield "  - A new feature has no values online until the backfill of this deployment has loaded them."
    for path, before, after in changes.others:
        yield f"- {code(path)}: {code(before)} → {code(after)}"


def _consequence(service: Vector) -> str:
    if service.before is None:
        return f"is new; its models receive {count(len(service.after or ()), 'feature')}:"
    if service.after is None:
        return "is **removed**: whoever asks for it is refused."
    if not service.breaks:
        return "changes, its vector does not."
    if len(service.after) == len(service.before):
        return f"would answer **another vector** of the same length, so no model would notice. {REMEDY}"
    return f"would answer **{count(len(service.after), 'feature')} instead of {len(service.before)}**. {REMEDY}"


def _policy(change: PolicyChange) -> str:
    values = f"{code(change.old)} → {code(change.new)}" if change.old else code(change.new)
    return f"- {code(change.name)} {change.what if change.what in ('rule', 'level', 'file') else code(change.what)}: {values}"


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Each policy once, what is mandatory first, with the resources that it is about."""
    by_policy: dict[tuple[bool, str, str], list[Finding]] = {}
    for finding in findings:
        by_policy.setdefault((finding.level != "mandatory", finding.policy, finding.level), []).append(finding)
    for (_, policy, level), found in sorted(by_policy.items()):
        times = f", {len(found)} times" if len(found) > 1 else ""
        remedies = list(dict.fromkeys(finding.remedy for finding in found if finding.remedy))
        remedy = f": {code(remedies[0], 300)}" if len(remedies) == 1 else ""
        yield f"- {f'**{level}**' if level in KNOWN_LEVELS else code(level)} {code(policy)}{times}{remedy}"
        for finding in found[:FINDINGS]:
            yield f"  - {f'{code(finding.resource)}: ' if finding.resource else ''}{code(finding.message, 400)}"
        if len(found) > FINDINGS:
            yield f"  - … and {len(found) - FINDINGS} more"


def _resources(changes: list[Change]) -> Iterator[str]:
    listed = [change for change in changes if change.custom or change.kind == "Chart"]
    plain: dict[str, list[str]] = {}
    for change in listed:
        if change.operation in ("create", "delete", "import"):
            plain.setdefault(change.kind, []).append(change.name)
            continue
        operation = "" if change.operation in dict(GROUPS) else f" ({code(change.operation)})"
        forcing = set(change.forced_by) if change.operation == "replace" else set()
        yield f"- {_title(change)}{operation}" + (f", forced by {', '.join(code(path) for path in sorted(forcing)[:4])}" if forcing else "")
        yield from (f"  - {code(p.path or 'value')}: {code(p.old, 80)} → {code(p.new, 80)}" for p in change.properties[:PROPERTIES])
        if len(change.properties) > PROPERTIES:
            yield f"  - … and {count(len(change.properties) - PROPERTIES, 'more value')}"
    for kind, names in plain.items():
        for start in range(0, len(names), 20):
            part = names[start : start + 20]
            yield f"- {f'{len(part)} of ' if len(part) > 1 else ''}{code(kind)} {', '.join(code(name) for name in part)}"


def _title(change: Change) -> str:
    return f"{code(change.kind)} {code(change.name)}"


def _reproduce(stack: str) -> str:
    commands = [
        "make install",
        f".venv/bin/python -m delivery.engine preview --stack {stack}   # the same, with the policies of {stack}",
        f"pulumi preview --stack {stack} --diff --policy-pack policies --policy-pack-config policies/config/{stack}.json",
        f"pulumi policy analyze --stack {stack} --policy-pack policies --policy-pack-config policies/config/{stack}.json   # what runs now",
    ]
    return f"<details><summary>The same on your machine</summary>\n\n{fence(commands, 'sh')}\n\n</details>"


def _text(path: Path | None) -> str | None:
    """The file's text; None if there is no such file, and nothing is ever raised about its bytes."""
    try:
        return path.read_bytes().decode("utf-8", "replace") if path else None
    except OSError:
        return None


def _status(text: str) -> int | None:
    """An empty exit status is one of a step that never ran."""
    return int(text) if re.fullmatch(r"\d{1,3}", text) else None


def _stack(text: str) -> str:
    if not STACK.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a stack")
    return text


def main(arguments: list[str]) -> int:
    """Write the comment; 0 unless the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="python -m delivery.comment", description="Write the comment about a preview.")
    parser.add_argument("--stack", type=_stack, required=True)
    parser.add_argument("--run", type=Path, help="where `delivery.engine preview` left its files")
    parser.add_argument("--before", type=Path, help="the project before the change, this directory being it after")
    parser.add_argument("--preview", type=Path, help="the preview's JSON, or the engine's event log")
    parser.add_argument("--log", type=Path, help="what the preview printed")
    parser.add_argument("--exit-status", type=_status, default=None, metavar="N", help="the preview's; empty if it did not run")
    parser.add_argument("--note", action="append", default=[], help="a sentence to show above all")
    parser.add_argument("--output", type=Path, required=True)
    for name, what in (("contract", "contract.lock.json"), ("policy-config", "policies/config/STACK.json"), ("policies", "policies/")):
        parser.add_argument(f"--{name}-base", type=Path, help=f"{what} before the change")
        parser.add_argument(f"--{name}", type=Path, help=f"{what} after it")
    options = parser.parse_args(arguments)
    if options.run:
        options.preview, options.log = options.run / "preview.json", options.run / "preview.txt"
        options.exit_status = _status((_text(options.run / "status") or "").strip())
    if options.before:
        for name, path in (("contract", CONTRACT), ("policy_config", f"policies/config/{options.stack}.json"), ("policies", "policies")):
            setattr(options, name, Path(path))
            setattr(options, f"{name}_base", options.before / path)
    policies = compare_configurations(_text(options.policy_config_base), _text(options.policy_config)) if options.policy_config else []
    packs = compare_packs(options.policies_base, options.policies) if options.policies and options.policies_base else []
    report = Report(
        stack=options.stack,
        exit_status=options.exit_status,
        preview=read_preview(_text(options.preview) or ""),
        features=compare_contracts(_text(options.contract_base), _text(options.contract)) if options.contract else FeatureChanges(),
        policies=(*policies, *packs),
        log=_text(options.log) or "",
        notes=tuple(note for note in options.note if note.strip()),
    )
    options.output.write_text(render(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
