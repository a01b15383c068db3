"""All that was added by hand to what a stack made, and beside it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from delivery.by_hand.cluster import CouldNotLookError
from delivery.by_hand.findings import Finding, compare
from delivery.by_hand.state import Kind, Made, Object, key_of
from delivery.by_hand.strangers import WATCHED, strangers, surroundings

Get = Callable[[Kind, str, Sequence[str]], list[Object]]
"""Objects of a kind in a namespace, all or those of these names; raises CouldNotLookError."""


@dataclass
class Report:
    """What was found, and where nobody could look."""

    findings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def grave(self) -> list[Finding]:
        """What matters for safety."""
        return [finding for finding in self.findings if finding.matters]

    @property
    def said(self) -> list[Finding]:
        """What does not: other labels and annotations, people's rights."""
        return [finding for finding in self.findings if not finding.matters]


def look(made: Sequence[Made], get: Get) -> Report:
    """Compare what the program made with what is there, and look for what else is in its namespaces."""
    report = Report()
    live: list[Object] = []
    blind: list[str] = []
    for kind, namespace, names in _questions(made):
        try:
            live += get(kind, namespace, names)
        except CouldNotLookError as error:
            report.unseen.append(str(error))
            blind.append(kind.name)
    there = {key_of(thing): thing for thing in live}
    for thing in made:
        if thing.key in there:
            report.findings += compare(thing.inputs, there[thing.key])
    own = frozenset(thing.key for thing in made)
    report.findings += strangers(live, own, surroundings(live, made, blind))
    return report


def _questions(made: Sequence[Made]) -> Iterator[tuple[Kind, str, list[str]]]:
    """What is asked of the cluster: whole kinds where the namespace is the program's, single objects elsewhere."""
    namespaces = _namespaces(made)
    for namespace in namespaces:
        for kind in dict.fromkeys([*WATCHED, *(thing.kind for thing in made if thing.namespace == namespace)]):
            yield kind, namespace, []
    elsewhere: dict[tuple[Kind, str], list[str]] = {}
    for thing in made:
        if thing.namespace not in namespaces:
            elsewhere.setdefault((thing.kind, thing.namespace), []).append(thing.name)
    for (kind, namespace), names in elsewhere.items():
        yield kind, namespace, names


def _namespaces(made: Sequence[Made]) -> list[str]:
    return [thing.name for thing in made if thing.kind.name == "Namespace" and not thing.namespace]
