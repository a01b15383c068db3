"""The plan: everything that can be asked, as questions that are worked out once.

Made from a description of plain data (`describing` makes it from the registry and the contract). The order is
canonical: entity columns by name, then the features as the contract lists them, or as the request does when it names
features one by one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from feature_runtime.serving.question import Description, PlanRefused, Question, make_question

MEMORIZED_QUESTIONS = 1_000


class UnknownFeatures(Exception):
    """A request names what is not there; `status` is 404, or 422 when no feature could be called so."""

    def __init__(self, status: int, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["rule"])
        self.status = status
        self.errors = errors


class Plan:
    """Everything that can be served."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.project: str = description["project"]
        self.views: dict[str, dict[str, Any]] = description["views"]
        if description.get("entity_key_version", 3) != 3:  # noqa: PLR2004
            raise PlanRefused("entity_key_serialization_version must be 3: only its keys can be read")
        self.services: dict[str, dict[str, Any]] = description["services"]
        self._of_service = {
            (name, full_names): self._service_question(name, service, full_names=full_names)
            for name, service in self.services.items()
            for full_names in (False, True)
        }
        self._of_features: dict[tuple[tuple[str, ...], bool], Question] = {}
        self.contract = orjson.dumps(
            {
                "project": self.project,
                "definitions_sha256": description["definitions_sha256"],
                "services": {name: {"features": one["features"], "sha256": one["sha256"]} for name, one in self.services.items()},
            }
        )

    def of_service(self, name: str, *, full_names: bool = False) -> Question:
        """The question that a feature service stands for; raises UnknownFeatures."""
        question = self._of_service.get((name, full_names))
        if question is None:
            raise UnknownFeatures(404, [self._unknown("feature_service", name, "feature service", self.services)])
        return question

    def of_features(self, refs: Sequence[str], *, full_names: bool = False) -> Question:
        """The question of features named as `view:feature`, in the order of the request; raises UnknownFeatures."""
        key = (tuple(refs), full_names)
        question = self._of_features.get(key)
        if question is None:
            question = self._features_question(key[0], full_names=full_names)
            if len(self._of_features) >= MEMORIZED_QUESTIONS:
                self._of_features.clear()
            self._of_features[key] = question
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
        features, errors, status = [], [], 404
        for position, ref in enumerate(refs):
            place = f"features[{position}]"
            view_name, colon, feature = ref.partition(":")
            view = self.views.get(view_name)
            if not colon or not view_name or not feature or "@" in view_name:
                status = 422
                errors.append(_problem(place, ref, "a feature is named as view:feature", "Write it as `view:feature`."))
            elif view is None:
                errors.append(self._unknown(place, ref, "feature view", self.views, view_name))
            elif feature not in {name for name, _ in view["features"]}:
                known = ", ".join(name for name, _ in view["features"])
                errors.append(_problem(place, ref, f"the view {view_name!r} has no feature {feature!r}", f"It has {known}."))
            features.append((view_name, feature))
        if not errors:
            names = [f"{view}__{feature}" if full_names else feature for view, feature in features]
            remedy = (
                "Name each once."
                if full_names
                else "Name each once; for features of one name in several views, ask for full_feature_names."
            )
            for position, name in enumerate(names):
                if names.index(name) < position:
                    status = 422
                    rule = f"two columns of the answer would be called {name!r}"
                    errors.append(_problem(f"features[{position}]", refs[position], rule, remedy))
        if errors:
            raise UnknownFeatures(status, errors)
        projections = {view: {"view": view, "join_key_map": {}} for view, _ in features}
        try:
            return make_question(self.description, features, projections, full_names=full_names)
        except PlanRefused as refused:
            rule = str(refused)
            raise UnknownFeatures(422, [_problem("features", list(refs), rule, "Ask for them in two requests.")]) from None

    def _unknown(self, place: str, value: str, what: str, known: Iterable[str], name: str | None = None) -> dict[str, Any]:
        name = value if name is None else name
        reason = self.description.get("unserved", {}).get(name)
        rule = f"the {what} {name!r} is not served: {reason}" if reason else f"there is no {what} {name!r} in the registry"
        return _problem(place, value, rule, f"There is {', '.join(sorted(known)) or 'none yet'}.")


def _problem(place: str, value: Any, rule: str, remedy: str) -> dict[str, Any]:
    return {"field": place, "value": value, "rule": rule, "remedy": remedy}
