"""Whether a view can be loaded and served with what it was trained on: its function, and its place in the online store.

Feast applies the function of a batch or stream view when it loads and not when it makes a training set. So a view that
is served has none, or one that gives back what it gets.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feast import FeatureView, StreamFeatureView
from feast.infra.online_stores.helpers import _mmh3

from feature_runtime.online_store.keys import key_types
from feature_runtime.registry.rebuilding import why_not_rebuilt

if TYPE_CHECKING:
    from feature_runtime.definitions.feature_repo import Definitions


def changes_values(view: Any) -> str:
    """Why what a view loads is not what its source has; empty where it is the same."""
    if getattr(view, "aggregations", None):
        return "it aggregates its rows when it is loaded, and a training set has the source's rows as they are"
    function = _function(view)
    if function is None or _gives_back(function):
        return ""
    return "its function changes rows when they are loaded, and a training set has the source's rows as they are"


REMEDY = "Compute it in the job that writes the source, or in an on-demand feature view; or set online=False, to train on the source only"


def _function(view: Any) -> Any:
    return getattr(getattr(view, "feature_transformation", None), "udf", None) or getattr(view, "udf", None)


def _gives_back(function: Any) -> bool:
    """Whether a function of one argument is `return` of it."""
    code = getattr(function, "__code__", None)
    return bool(code and code.co_argcount == 1 and not code.co_kwonlyargcount and code.co_code == _GIVEN_BACK)


_GIVEN_BACK = (lambda given: given).__code__.co_code


def unloadable(views: Iterable[FeatureView], repo: Path) -> dict[str, str]:
    """Why nothing could load some views, by their names: the offline store cannot read where their rows lie."""
    # Not above: servers load no definitions, and start sooner without what reads files.
    from feature_runtime.offline_store.source import ViewSource, not_loaded  # noqa: PLC0415

    found = {view.name: not_loaded(view, repo) for view in views if not ViewSource.readable(view)}
    return {name: f"its source {why.removeprefix('it ')}" for name, why in found.items() if why}


def check_loadable(
    definitions: "Definitions", places: dict[int, str], modules: Collection[str], no_source: Mapping[str, str]
) -> Iterator[str]:
    """Views that could not be loaded, or would be served with other values than are trained on.

    `modules` are the feature repo's own: nobody else has them. `no_source` is what `unloadable` found.
    """
    for view in definitions.views:
        if view.name in no_source:
            yield f"{places.get(id(view), view.name)}: the feature view {view.name!r}: {no_source[view.name]}."
        for problem in _problems(view, modules):
            yield f"{places.get(id(view), view.name)}: the feature view {view.name!r}: {problem}."
    yield from _same_hash(definitions.views)


def _problems(view: FeatureView, modules: Collection[str]) -> Iterator[str]:
    if problem := _not_rebuilt(view, modules):
        yield problem
    elif view.online and (problem := changes_values(view)):
        yield f"{problem}. {REMEDY}"


def _not_rebuilt(view: FeatureView, modules: Collection[str]) -> str:
    """Why the view's function could not be rebuilt elsewhere."""
    function = _function(view)
    if function is None:
        return ""
    if getattr(function, "__module__", None) in modules:
        # As Feast's decorators do: the function itself is kept then, not where it was.
        function.__module__ = "__main__"
    kind = StreamFeatureView if isinstance(view, StreamFeatureView) else FeatureView
    try:
        proto = view.to_proto()
    except Exception as error:  # noqa: BLE001  whatever cannot be pickled
        return f"its function cannot be written into the registry ({error})"
    with _without(modules):
        why = why_not_rebuilt(kind.from_proto(proto))
    return why and f"{why}. The registry keeps the function alone: import what it needs, and define what it uses, inside it"


@contextmanager
def _without(modules: Collection[str]) -> Iterator[None]:
    """Let modules be as if they were nowhere."""
    kept = {name: sys.modules.get(name) for name in modules}
    # None is Python's own sign for that.
    nowhere: Any = dict.fromkeys(kept)
    sys.modules.update(nowhere)
    try:
        yield
    finally:
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _same_hash(views: Iterable[FeatureView]) -> Iterator[str]:
    """Features that one entity would have in one place: the online store calls a field by four bytes of its name's hash."""

    def keys(view: FeatureView) -> list[str]:
        return sorted(key_types(view))

    for of_keys, group in groupby(sorted((view for view in views if view.online), key=keys), key=keys):
        seen: dict[bytes, str] = {}
        for name in [f"{view.name}:{feature.name}" for view in group for feature in view.features]:
            other = seen.setdefault(_mmh3(name), name)
            if other != name:
                yield (
                    f"{other} and {name} of the entity {', '.join(of_keys)} have one hash, so that the online store would keep the one in "
                    "place of the other. Rename one of the two features."
                )
