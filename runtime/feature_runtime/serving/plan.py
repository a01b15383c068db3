"""The plan: everything that can be asked, as questions that are worked out once.

Made from a description of plain data (`registry_snapshot` makes it from the registry and the contract). The order is
canonical: entity columns by name, then the features as the contract lists them, or as the request does when it names
features one by one.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from feature_runtime.serving.drafting import make_question
from feature_runtime.serving.question import Description, PlanRefused, Question
from feature_runtime.serving.refused import MOST_ERRORS, Refused, first_of, listed, problem, shown

MEMORIZED_BYTES = 16 << 20
"""What lists of features may hold that were worked out; the oldest go first."""
QUESTION_BYTES, FEATURE_BYTES = 2_000, 400
"""What one holds beside the names in it, measured."""


class Plan:
    """Everything that can be served."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.project: str = description["project"]
        self.views: dict[str, dict[str, Any]] = description["views"]
        if description.get("entity_key_version", 3) != 3:  # noqa: PLR2004
            raise PlanRefused("entity_key_serialization_version must be 3: only its keys can be read")
        self.services: dict[str, dict[str, Any]] = description["services"]
        self._view_names = sorted(self.views)
        self._features = {name: dict.fromkeys(feature for feature, _ in view["features"]) for name, view in self.views.items()}
        self._most = sum(map(len, self._features.values()))
        self._of_service = {(name, True): self._service_question(name, service, full_names=True) for name, service in self.services.items()}
        self._only_full_names: dict[str, str] = {}
        """Of services that cannot be asked otherwise, why."""
        for name, service in self.services.items():
            try:
                self._of_service[name, False] = self._service_question(name, service, full_names=False)
            except PlanRefused as refused:
                self._only_full_names[name] = str(refused)
        self._of_features: dict[tuple[tuple[str, ...], bool], Question] = {}
        self._memorized_bytes = 0
        self.contract = orjson.dumps(
            {
                "project": self.project,
                "definitions_sha256": description["definitions_sha256"],
                "services": {
                    name: {"features": one["features"], "sha256": one["sha256"]}
                    | ({"full_feature_names": True} if name in self._only_full_names else {})
                    for name, one in self.services.items()
                },
            }
        )

    def of_service(self, name: str, *, full_names: bool = False) -> Question:
        """The question that a feature service stands for; raises Refused."""
        question = self._of_service.get((name, full_names))
        if question is None:
            if why := self._only_full_names.get(name):
                raise Refused(422, [problem("full_feature_names", full_names, why, "Send `full_feature_names: true`.")])
            raise Refused(404, [self._unknown("feature_service", name, "feature service", name, sorted(self.services))])
        return question

    def of_features(self, refs: Sequence[str], *, full_names: bool = False) -> Question:
        """The question of features named as `view:feature`, in the order of the request; raises Refused."""
        key = (tuple(refs), full_names)
        question = self._of_features.get(key)
        if question is None:
            question = self._of_features[key] = self._features_question(key[0], full_names=full_names)
            self._memorized_bytes += _bytes(key[0])
            while self._memorized_bytes > MEMORIZED_BYTES:
                oldest = next(iter(self._of_features))
                del self._of_features[oldest]
                self._memorized_bytes -= _bytes(oldest[0])
        return question

    def _service_question(self, name: str, service: dict[str, Any], *, full_names: bool) -> Question:
        try:
            return make_question(
                self.description,
                [(view, feature) for view, feature, _ in service["features"]],
                service["projections"],
                full_names=full_names,
                service=name,
                sha256=service["sha256"],
            )
        except PlanRefused as refused:
            raise PlanRefused(f"feature service {name!r}: {refused}") from None

    def _features_question(self, refs: tuple[str, ...], *, full_names: bool) -> Question:
        if len(refs) > max(self._most, MOST_ERRORS):
            rule = f"{len(refs)} features are named, and there are {self._most}"
            raise Refused(422, [problem("features", None, rule, "Name each once.")])
        wrong = list(itertools.islice(self._wrong_refs(refs), MOST_ERRORS))
        if wrong:
            raise Refused(max(status for status, _ in wrong), [error for _, error in wrong])
        features = [(view, feature) for view, _, feature in (ref.partition(":") for ref in refs)]
        if repeated := first_of(_repeated_names(refs, features, full_names=full_names)):
            raise Refused(422, repeated)
        projections = {view: {"view": view, "join_key_map": {}} for view, _ in features}
        try:
            return make_question(self.description, features, projections, full_names=full_names, service=None, sha256=None)
        except PlanRefused as refused:
            raise Refused(422, [problem("features", list(refs), str(refused), "Ask for them in two requests.")]) from None

    def _wrong_refs(self, refs: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Status and error of each: 404 when it is not there, 422 when no feature could be called so."""
        for position, ref in enumerate(refs):
            place = f"features[{position}]"
            view, colon, feature = ref.partition(":")
            if not colon or not view or not feature or "@" in view:
                yield 422, problem(place, ref, "a feature is named as view:feature", "Write it as `view:feature`.")
            elif view not in self.views:
                yield 404, self._unknown(place, ref, "feature view", view, self._view_names)
            elif feature not in self._features[view]:
                rule = f"the view {view!r} has no feature {shown(feature)!r}"
                yield 404, problem(place, ref, rule, f"It has {listed(self._features[view])}.")

    def _unknown(self, place: str, value: str, what: str, name: str, known: list[str]) -> dict[str, Any]:
        reason = self.description.get("unserved", {}).get(name)
        rule = f"the {what} {name!r} is not served: {reason}" if reason else f"there is no {what} {shown(name)!r} in the registry"
        return problem(place, value, rule, f"There is {listed(known) or 'none yet'}.")


def _bytes(refs: tuple[str, ...]) -> int:
    return QUESTION_BYTES + FEATURE_BYTES * len(refs) + sum(map(len, refs))


def _repeated_names(refs: tuple[str, ...], features: list[tuple[str, str]], *, full_names: bool) -> Iterator[dict[str, Any]]:
    remedy = "Name each once." if full_names else "Name each once; for features of one name in several views, ask for full_feature_names."
    seen = set()
    for position, (view, feature) in enumerate(features):
        name = f"{view}__{feature}" if full_names else feature
        if name in seen:
            yield problem(f"features[{position}]", refs[position], f"two columns of the answer would be called {name!r}", remedy)
        seen.add(name)
