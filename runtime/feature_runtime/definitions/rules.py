"""What a feature repo must not say: definitions that Feast would take, and that would be lost or serve something else.

Errors name the file, the line and the object.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast import OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.repo_contents import RepoContents

from feature_runtime.refusal import Refusal
from feature_runtime.serving import on_demand
from feature_runtime.serving.describing import computed_view, service_as_asked, stored_view
from feature_runtime.serving.drafting import make_question
from feature_runtime.serving.function_check import read_though_ambiguous
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


def check_views(definitions: "Definitions", places: dict[int, str]) -> None:
    """Refuse views that say too little to be locked, or that the server could not compute."""
    if not definitions.views:
        raise Refusal("the feature repo defines no feature view.")
    join_keys = {view.name: stored_view(view, view.name)["join_keys"] for view in definitions.views}
    for view in [*definitions.views, *definitions.on_demand_views]:
        if not view.features:
            raise Refusal(
                f"{places.get(id(view), view.name)}: the feature view {view.name!r} declares no schema. "
                "List its fields: what models receive is decided here, not by whatever the file contains."
            )
        names = [column.name for column in [*view.entity_columns, *view.features]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise Refusal(
                f"{places.get(id(view), view.name)}: the feature view {view.name!r} has two fields named "
                f"{', '.join(twice)}. Rename or remove one: Feast would serve whichever comes last."
            )
        columns = {column.name for column in view.entity_columns}
        if isinstance(view, OnDemandFeatureView):
            if problems := _sources_of_one_name(view) or on_demand.problems(view, join_keys) or _ambiguous(view, definitions, join_keys):
                raise Refusal(f"{places.get(id(view), view.name)}: the on-demand feature view {view.name!r}: {'; '.join(problems)}.")
            continue
        known = {DUMMY_ENTITY_NAME, *(entity.name for entity in definitions.entities)}
        if nameless := sorted(set(view.entities) - known):
            raise Refusal(
                f"{places.get(id(view), view.name)}: no variable of a module holds the entity {', '.join(nameless)} of the feature view "
                f"{view.name!r}. Assign it to one: definitions are what the modules' variables hold."
            )
        keys = {entity.join_key for entity in definitions.entities if entity.name in view.entities}
        if missing := sorted(keys - columns):
            raise Refusal(
                f"{places.get(id(view), view.name)}: the schema of the feature view {view.name!r} lacks its join key "
                f"{', '.join(missing)}. Add a Field for it."
            )


def _sources_of_one_name(view: OnDemandFeatureView) -> list[str]:
    names = [source.name for source in view.sources]
    return [
        f"it has two sources named {name!r}, of which Feast keeps the last. Read each by a view of its own name"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]


def _ambiguous(view: OnDemandFeatureView, definitions: "Definitions", join_keys: Mapping[str, Any]) -> list[str]:
    views = {one.name: one for one in definitions.views}
    projections = view.source_feature_view_projections

    def alike(_: str, names: Sequence[str]) -> bool:
        # One column of one source, counted as long and found by the same keys.
        said = [(views[name].batch_source, views[name].ttl, views[name].entities, projections[name].join_key_map) for name in names]
        return all(one == said[0] for one in said)

    return [
        f"its function reads {name!r}, which is {' and '.join(columns)}: Feast gives it one when it serves and another when it trains. "
        f"Read {' or '.join(repr(column) for column in columns if column != name)} instead"
        for name, columns in read_though_ambiguous(view, join_keys, alike).items()
    ]


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
        maps: dict[str, list[dict[str, str]]] = {}
        for projection in service.feature_view_projections:
            maps.setdefault(projection.name_to_use(), []).append(projection.join_key_map)
        if twice := sorted(name for name, found in maps.items() if any(one != found[0] for one in found)):
            raise Refusal(
                f"{places.get(id(service), service.name)}: the feature service {service.name!r} reads {', '.join(twice)} by several keys "
                "under one name, of which Feast keeps one. Give each use a name (`with_name`)."
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
        try:
            # What can be answered with full names can be served: without, only names collide.
            make_question(description, asked["features"], asked["projections"], full_names=True, service=service.name, sha256=None)
        except PlanRefused as refused:
            problems.append(f"{places.get(id(service), service.name)}: the feature service {service.name!r}: {refused}")
    if problems:
        raise Refusal(
            f"{'; '.join(problems)}. No server could answer, or start with these definitions. Rename or retype in the views what is named."
        )
