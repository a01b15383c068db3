"""What a feature repo must not say: definitions that Feast would take, and that would be lost or serve something else.

Errors name the file, the line and the object.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast import OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.repo_contents import RepoContents

from feature_runtime.refusal import Refusal
from feature_runtime.serving import on_demand
from feature_runtime.serving.describing import computed_view, service_as_asked, stored_view
from feature_runtime.serving.drafting import make_question
from feature_runtime.serving.question import PlanRefused

if TYPE_CHECKING:
    from feature_runtime.definitions.feature_repo import Definitions

DEFINING_CALLS = ("View", "FeatureService", "Entity", "Source")


def check_assignments(file: Path, copy: Path) -> None:
    """Refuse a variable to which two definitions are assigned: Python, and Feast after it, would only see the last."""
    relative = file.relative_to(copy)
    try:
        tree = ast.parse(file.read_text())
    except SyntaxError as error:
        raise Refusal(f"{relative}:{error.lineno}: syntax error: {error.msg}") from None
    seen: dict[str, int] = {}
    for name, line in assignments(tree, only=DEFINING_CALLS):
        if name in seen:
            raise Refusal(
                f"{relative}:{line}: `{name}` is assigned again, so what line {seen[name]} defined is lost. Give one of them another name."
            )
        seen[name] = line


def assignments(tree: ast.Module, only: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Names that a module assigns or decorates at its top level, and the lines; with `only`, assigned from calls whose name ends so."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not only:
            yield node.name, node.lineno
        if not isinstance(node, ast.Assign):
            continue
        if only:
            function = node.value.func if isinstance(node.value, ast.Call) else None
            called = str(getattr(function, "attr", None) or getattr(function, "id", ""))
            if not called.endswith(only):
                continue
        yield from ((target.id, node.lineno) for target in node.targets if isinstance(target, ast.Name))


def check_names(contents: RepoContents, places: dict[int, str]) -> None:
    """Refuse two objects of one kind and one name; `places` has the `file:line` of objects by identity."""
    groups: list[tuple[str, list[Any]]] = [
        (
            "feature views",
            [*contents.feature_views, *contents.stream_feature_views, *contents.on_demand_feature_views],
        ),
        ("feature services", contents.feature_services),
        ("entities", contents.entities),
        ("data sources", contents.data_sources),
    ]
    for kind, objects in groups:
        seen: dict[str, Any] = {}
        for defined in objects:
            # Feast looks names up without regard to case.
            other = seen.setdefault(defined.name.lower(), defined)
            if other is not defined:
                raise Refusal(
                    f"two {kind} have the name {defined.name!r}: {places.get(id(other), 'one without a variable')} "
                    f"and {places.get(id(defined), 'one without a variable')}. Rename or remove one."
                )


def check_views(definitions: "Definitions", places: dict[int, str], problems: Sequence[str] = ()) -> None:
    """Refuse views that say too little to be locked, or that the server could not compute; `problems` are known already."""
    if not definitions.views:
        raise Refusal("the feature repo defines no feature view.")
    join_keys = {view.name: stored_view(view, view.name)["join_keys"] for view in definitions.views}
    known = {DUMMY_ENTITY_NAME, *(entity.name for entity in definitions.entities)}
    found = list(problems)
    for view in [*definitions.views, *definitions.on_demand_views]:
        computed = isinstance(view, OnDemandFeatureView)
        place = f"{places.get(id(view), view.name)}: the {'on-demand ' if computed else ''}feature view {view.name!r}"
        if computed and not view.features:
            found.append(f"{place} declares no schema. List its fields: what models receive is decided here, not by what a function gives.")
        names = [column.name for column in [*view.entity_columns, *view.features]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            found.append(f"{place} has two fields named {', '.join(twice)}. Rename or remove one: Feast would serve whichever comes last.")
        if computed:
            # Without its sources nothing can be said of what it computes.
            if not problems and view.features and (wrong := on_demand.problems(view, join_keys)):
                found.append(f"{place}: {'; '.join(wrong)}.")
        elif nameless := sorted(set(view.entities) - known):
            found.append(
                f"{places.get(id(view), view.name)}: no variable of a module holds the entity {', '.join(nameless)} of the feature view "
                f"{view.name!r}. Assign it to one: definitions are what the modules' variables hold."
            )
    if found:
        raise Refusal(" ".join(found), problems=found)


def check_services(definitions: "Definitions", places: dict[int, str]) -> None:
    """Refuse services that Feast would complete from the registry when it applies, or never compare, or that no server could answer."""
    for service in definitions.services:
        aliases: dict[str, set[bool]] = {}
        for projection in service.feature_view_projections:
            aliases.setdefault(projection.name, set()).add(projection.name_alias is None)
        if mixed := sorted(view for view, found in aliases.items() if len(found) > 1):
            raise Refusal(
                f"{places.get(id(service), service.name)}: the feature service {service.name!r} uses {', '.join(mixed)} both as it is and "
                "under another name. Feast applies that once and fails on it ever after. Give each use a name (`with_name`)."
            )
        if named := [feature for feature in service._features if isinstance(feature, str)]:  # noqa: SLF001  Feast resolves them when it applies
            raise Refusal(
                f"{places.get(id(service), service.name)}: the feature service {service.name!r} names {', '.join(named)} as text. "
                "Name the view itself and list its features: what models receive is decided here, not by whatever the registry holds."
            )
    _check_questions(definitions, places)


def _check_questions(definitions: "Definitions", places: dict[int, str]) -> None:
    """Refuse services that no server could make its plan of: one such in the registry, and none would start or reload."""
    description = {
        "project": definitions.project,
        "views": {
            **{view.name: stored_view(view, view.name) for view in definitions.views},
            **{view.name: computed_view(view) for view in definitions.on_demand_views},
        },
    }
    problems = []
    for service in definitions.services:
        asked = service_as_asked(service)
        rules: set[str] = set()
        for full_names in (False, True):
            try:
                make_question(
                    description, asked["features"], asked["projections"], full_names=full_names, service=service.name, sha256=None
                )
            except PlanRefused as refused:
                rules.add(str(refused))
        problems += [f"{places.get(id(service), service.name)}: the feature service {service.name!r}: {rule}" for rule in sorted(rules)]
    if problems:
        raise Refusal(
            f"{'; '.join(problems)}. No server could answer, or start with these definitions. Rename or retype in the views what is named."
        )
