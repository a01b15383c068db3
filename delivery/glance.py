"""The first ten seconds of the comment: one line of verdict, and one line for each thing that a reviewer must know."""

from collections.abc import Iterator

from delivery.data import is_at_risk
from delivery.markdown import code, count
from delivery.preview import Change
from delivery.report import Report

MOST = 4
SIZES = frozenset(
    {
        *("minReplicas", "maxReplicas", "replicas", "parallelism", "completions", "minAvailable", "maxUnavailable"),
        *("cpu", "memory", "storage", "allocatedStorage", "instanceType"),
    }
)


def glance(report: Report) -> str:
    """The headline and the alert below it."""
    lines = list(_lines(report))
    alert = _alert(report)
    return "\n".join([f"### `{report.stack}`: {_verdict(report)}\n", f"> [!{alert}]", *(f"> - {line}" for line in lines)])


def _verdict(report: Report) -> str:
    if report.exit_status is None:
        return "the preview did not run"
    if report.failed:
        return "the preview failed"
    counts = _counts(report)
    return f"{', '.join(counts) if counts else 'no resource changes'}; {report.preview.unchanged} unchanged"


def _counts(report: Report) -> list[str]:
    words = (("delete", "deleted"), ("replace", "replaced"), ("update", "changed"), ("import", "imported"), ("create", "created"))
    numbers = [(len([c for c in report.preview.of(operation) if c.custom]), word) for operation, word in words]
    return [f"{number} {word}" for number, word in numbers if number]


def _alert(report: Report) -> str:
    if report.failed or report.violations or any(is_at_risk(change) for change in report.preview.changes):
        return "CAUTION"
    return "WARNING" if report.weaker or report.features.breaking or report.features.problem or report.preview.warnings else "NOTE"


def _lines(report: Report) -> Iterator[str]:
    yield from (f"**Note**: {code(note, 300)}" for note in report.notes)
    if report.reasons:
        yield f"**Failed**: {code(report.reasons[0].partition(chr(10))[0], 300)}"
    if report.exit_status == 0 and not report.preview.readable:
        yield "**Preview**: what it said could not be read; nothing below tells what it would do."
    yield from _data(report)
    yield from _features(report)
    if warnings := report.preview.warnings:
        yield f"**Warning**: {code(warnings[0], 300)}{f' and {len(warnings) - 1} more, below' if len(warnings) > 1 else ''}."
    yield from _policies(report)
    yield from _sizes(report.preview.of("update", "replace"))


def _data(report: Report) -> Iterator[str]:
    risks = [change for change in report.preview.changes if is_at_risk(change)]
    if risks:
        named = ", ".join(f"{code(change.kind)} {code(change.name)}" for change in risks[:MOST])
        deleted = {change.operation for change in risks}
        what = "is deleted or replaced" if deleted & {"delete", "replace"} else "loses its protection"
        yield f"**Data {what}**: {named}{_more(len(risks))}."
    elif not report.failed:
        yield "**Data**: nothing that holds data is deleted or replaced."


def _features(report: Report) -> Iterator[str]:
    changes = report.features
    for service in changes.services[:MOST]:
        if service.before is None:
            yield f"**Features**: new service {code(service.name)}, {count(len(service.after or ()), 'feature')}."
        elif service.after is None:
            yield f"**Features**: service {code(service.name)} is removed."
        elif service.breaks:
            effects = "; ".join(code(effect) for effect in service.effects[:MOST])
            was = f", was {len(service.before)}" if len(service.after) != len(service.before) else ""
            vector = f"another vector ({count(len(service.after), 'feature')}{was})"
            yield f"**Features**: models of {code(service.name)} would receive {vector}: {effects}{_more(len(service.effects))}."
    if changes.problem:
        yield "**Features**: the contract could not be read."
    elif changes and not any(service.breaks or service.before is None for service in changes.services):
        names = ", ".join(code(view.name) for view in changes.views[:MOST])
        yield f"**Features**: no model receives another vector{f'; changed views: {names}{_more(len(changes.views))}' if names else ''}."


def _policies(report: Report) -> Iterator[str]:
    weaker = report.weaker
    if weaker:
        named = [f"{code(c.name)} {code(c.old)} → {code(c.new)}" if c.old else f"{code(c.name)} {code(c.new)}" for c in weaker[:MOST]]
        passed = len([f for f in report.preview.findings if f.policy in {c.name for c in weaker} and f.level != "mandatory"])
        lets_through = f", which lets {count(passed, 'finding')} through" if passed else ""
        yield f"**Policy weakened**: {'; '.join(named)}{_more(len(weaker))}{lets_through}."
    violations = report.violations
    if violations:
        broken = sorted({code(finding.policy) for finding in violations})
        yield f"**Policy violated**: {', '.join(broken[:MOST])}{_more(len(broken))}; {count(len(violations), 'finding')}."
    told = {change.name for change in weaker}
    others = len([finding for finding in report.preview.findings if finding.level != "mandatory" and finding.policy not in told])
    if others:
        yield f"**Policy**: {count(others, 'finding')} that may pass, below."


def _sizes(changes: list[Change]) -> Iterator[str]:
    sizes = []
    for change in changes:
        found = [f"{code(size.key)} {code(size.old, 40)} → {code(size.new, 40)}" for size in change.properties if size.key in SIZES]
        if found:
            sizes.append(f"{code(change.name)} {', '.join(found[:MOST])}")
    if sizes:
        yield f"**Size**: {'; '.join(sizes[:MOST])}{_more(len(sizes))}."


def _more(number: int) -> str:
    return f" and {number - MOST} more" if number > MOST else ""
