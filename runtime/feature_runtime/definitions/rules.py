"""What a feature repo must not say: definitions that Feast would take, and that would be lost or serve something else.

Errors name the file, the line and the object.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast import FeatureService, OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.repo_contents import RepoContents

from feature_runtime.refusal import Refusal
from feature_runtime.serving import on_demand
from feature_runtime.serving.drafting import make_question
from feature_runtime.serving.function_check import read_though_ambiguous
from feature_runtime.serving.question import PlanRefused
from feature_runtime.serving.registry_snapshot import computed_view, service_as_asked, stored_view

if TYPE_CHECKING:
    from feature_runtime.definitions.feature_repo import Definitions

LABELS = "it is a label view, and nothing here loads or serves labels; take it out of the service, and give train-set the labels"
DEFINING_CALLS = ("View", "FeatureService", "Entity", "Source")


def refuse(problems: Iterable[str]) -> None:
    """Refuse definitions that have any problems, with all of them at once; each is a sentence that names its place."""
    if found := list(dict.fromkeys(problems)):
        raise Refusal(" ".join(found), problems=found)


def check_assignments(file: Path, copy: Path) -> Iterator[str]:
    """Variables to which two definitions are assigned: Python, and Feast after it, would only see the last."""
    relative = file.relative_to(copy)
    try:
        tree = ast.parse(file.read_text())
    except SyntaxError as error:
        yield f"{relative}:{error.lineno}: syntax error: {error.msg}."
        return
    seen: dict[str, int] = {}
    for name, line in assignments(tree, only=DEFINING_CALLS):
        if name in seen:
            lost = f"so what line {seen[name]} defined is lost"
            yield f"{relative}:{line}: `{name}` is assigned again, {lost}. Give one of them another name."
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


def check_names(contents: RepoContents, places: dict[int, str]) -> Iterator[str]:
    """Two objects of one kind and one name; `places` has the `file:line` of objects by identity."""
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
                yield (
                    f"two {kind} have the name {defined.name!r}: {places.get(id(other), 'one without a variable')} "
                    f"and {places.get(id(defined), 'one without a variable')}. Rename or remove one."
                )


def check_views(definitions: "Definitions", places: dict[int, str], unfinished: Collection[str] = ()) -> Iterator[str]:
    """Views that say too little to be locked, or that the server could not compute; nothing of what is made of `unfinished` ones."""
    if not definitions.views:
        yield "the feature repo defines no feature view."
    join_keys = {view.name: stored_view(view, view.name)["join_keys"] for view in definitions.views}
    known = {DUMMY_ENTITY_NAME, *(entity.name for entity in definitions.entities)}
    for view in [*definitions.views, *definitions.on_demand_views]:
        computed = isinstance(view, OnDemandFeatureView)
        place = places.get(id(view), view.name)
        if computed and not view.features:
            yield (
                f"{place}: the on-demand feature view {view.name!r} declares no schema. "
                "List its fields: what models receive is decided here, not by what a function gives."
            )
        names = [column.name for column in [*view.entity_columns, *view.features]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield (
                f"{place}: the feature view {view.name!r} has two fields named "
                f"{', '.join(twice)}. Rename or remove one: Feast would serve whichever comes last."
            )
        if not computed and view.ttl is not None and view.ttl < timedelta(0):
            yield (
                f"{place}: the feature view {view.name!r} has a ttl of {view.ttl.total_seconds():g} s, by which no value ever counts. "
                "Give it one above 0, or timedelta(0) for values that count for ever."
            )
        whole = computed and view.features and not _uses(view.source_feature_view_projections.values(), unfinished)
        if whole and (
            problems := _sources_of_one_name(view) or on_demand.problems(view, join_keys) or _ambiguous(view, definitions, join_keys)
        ):
            yield f"{place}: the on-demand feature view {view.name!r}: {'; '.join(problems)}."
        if not computed and (nameless := sorted(set(view.entities) - known)):
            yield (
                f"{place}: no variable of a module holds the entity {', '.join(nameless)} of the feature view "
                f"{view.name!r}. Assign it to one: definitions are what the modules' variables hold."
            )


def _uses(projections: Iterable[Any], views: Collection[str]) -> bool:
    return any(projection.name in views for projection in projections)


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


def check_services(definitions: "Definitions", places: dict[int, str], unfinished: Collection[str] = ()) -> Iterator[str]:
    """Services that Feast would complete from the registry when it applies, or never compare, or that no server could answer."""
    computed = {view.name for view in definitions.on_demand_views if _uses(view.source_feature_view_projections.values(), unfinished)}
    for service in definitions.services:
        place = f"{places.get(id(service), service.name)}: the feature service {service.name!r}"
        aliases: dict[str, set[bool]] = {}
        for projection in service.feature_view_projections:
            aliases.setdefault(projection.name, set()).add(projection.name_alias is None)
        if mixed := sorted(view for view, found in aliases.items() if len(found) > 1):
            yield (
                f"{place} uses {', '.join(mixed)} both as it is and "
                "under another name. Feast applies that once and fails on it ever after. Give each use a name (`with_name`)."
            )
        maps: dict[str, list[dict[str, str]]] = {}
        for projection in service.feature_view_projections:
            maps.setdefault(projection.name_to_use(), []).append(projection.join_key_map)
        if twice := sorted(name for name, found in maps.items() if any(one != found[0] for one in found)):
            yield (
                f"{place} reads {', '.join(twice)} by several keys "
                "under one name, of which Feast keeps one. Give each use a name (`with_name`)."
            )
        if named := [feature for feature in service._features if isinstance(feature, str)]:  # noqa: SLF001  Feast resolves them when it applies
            yield (
                f"{place} names {', '.join(named)} as text. "
                "Name the view itself and list its features: what models receive is decided here, not by whatever the registry holds."
            )
    whole = [service for service in definitions.services if not _uses(service.feature_view_projections, {*unfinished, *computed})]
    yield from _check_questions(definitions, whole, places)


def _check_questions(definitions: "Definitions", services: Iterable[FeatureService], places: dict[int, str]) -> Iterator[str]:
    """Services that no server could make its plan of: one such in the registry, and none would start or reload."""
    description = {
        "project": definitions.project,
        "views": {
            **{view.name: stored_view(view, view.name) for view in definitions.views},
            **{view.name: computed_view(view) for view in definitions.on_demand_views},
        },
        "unserved": {view.name: LABELS for view in definitions.label_views},
    }
    for service in services:
        asked = service_as_asked(service)
        try:
            # What can be answered with full names can be served: without, only names collide.
            make_question(description, asked["features"], asked["projections"], full_names=True, service=service.name, sha256=None)
        except PlanRefused as refused:
            yield (
                f"{places.get(id(service), service.name)}: the feature service {service.name!r}: {refused}. "
                "No server could answer, or start with these definitions. Correct in the views, or in the service, what is named."
            )
