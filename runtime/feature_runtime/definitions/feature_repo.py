"""The feature definitions, imported from the feature repo without trusting how they are mounted.

In a pod the repo is a ConfigMap: read-only, every file a symlink into a hidden directory that Feast would import a
second time. So the definitions are imported from a clean copy. Errors name the file, the line and the object.
"""

import ast
import importlib
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView
from feast.base_feature_view import BaseFeatureView
from feast.data_source import DataSource
from feast.errors import FeastError
from feast.labeling.label_view import LabelView
from feast.permissions.permission import Permission
from feast.project import Project
from feast.repo_config import FeastConfigError, RepoConfig, load_repo_config
from feast.repo_contents import RepoContents
from feast.repo_operations import get_repo_files, parse_repo
from pydantic import ValidationError

from feature_runtime.definitions.completing import Completed, complete
from feature_runtime.definitions.file_places import Copy, place_sources
from feature_runtime.definitions.loadable import check_loadable, unloadable
from feature_runtime.definitions.rules import assignments, check_assignments, check_names, check_services, check_views, refuse
from feature_runtime.definitions.unenforced import refuse_unenforced
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import FEASTIGNORE, definition_files
from feature_runtime.retrying import first_line
from feature_runtime.settings import CONFIG_FILE, check_yaml_variables

COPY_PREFIX = "feature-repo-"
OWN_PREFIX = "__"
"""Of the objects that Feast makes by itself: the entity of views that have none, the request source of an input schema."""
DEFINED = (BaseFeatureView, FeatureService, Entity, DataSource)


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """What the feature repo defines: Feast's objects, and the project they belong to.

    `places` maps the name of an object in the contract (`views.employee_features`) to the `file:line` that defines it.
    `completed` is what they do not say, and what was found for it.
    """

    project: str
    contents: RepoContents
    places: dict[str, str] = field(default_factory=dict)
    completed: tuple[Completed, ...] = ()

    @property
    def entities(self) -> list[Entity]:
        """The repo's own entities, without Feast's stand-in for views that have none."""
        return [entity for entity in self.contents.entities if not entity.name.startswith(OWN_PREFIX)]

    @property
    def views(self) -> list[FeatureView]:
        """Views that are loaded from a source (on-demand views are computed from these)."""
        return [*self.contents.feature_views, *self.contents.stream_feature_views]

    @property
    def on_demand_views(self) -> list[OnDemandFeatureView]:
        """Views that are computed when they are asked for."""
        return list(self.contents.on_demand_feature_views)

    @property
    def label_views(self) -> list[LabelView]:
        """Views of labels, which nothing here loads or serves."""
        return list(self.contents.label_views)

    @property
    def permissions(self) -> list[Permission]:
        """Who may do what, in a revision that is only compared."""
        return list(self.contents.permissions)

    @property
    def services(self) -> list[FeatureService]:
        """The feature services."""
        return list(self.contents.feature_services)

    @property
    def sources(self) -> list[DataSource]:
        """The data sources."""
        return list(self.contents.data_sources)


def load_config(repo: Path, *, only: str = "") -> RepoConfig:
    """The repo's `feature_store.yaml` with the environment's values in it.

    With `only`, the variables of that section alone must be set: whoever reads one store has no password of the others.

    Raises:
        Refusal: a variable is not set, Feast does not accept the file, or it asks for a login that nothing enforces.
    """
    path = repo / CONFIG_FILE
    refuse_unenforced(path)
    if only:
        _check_variables_of(only, path)
    else:
        check_yaml_variables(path)
    try:
        config = load_repo_config(repo, path)
        # Feast reads these sections only when they are first used.
        _ = config.registry, config.online_store, config.offline_store
    except (FeastError, FeastConfigError, ValidationError, yaml.YAMLError, TypeError) as error:
        raise Refusal(f"{CONFIG_FILE} is not what Feast accepts: {error}") from None
    return config


def _check_variables_of(section: str, path: Path) -> None:
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise Refusal(f"{path.name} is no YAML: {error}") from None
    with tempfile.TemporaryDirectory() as directory:
        part = Path(directory) / path.name
        part.write_text(yaml.safe_dump(document.get(section) if isinstance(document, dict) else None))
        check_yaml_variables(part)


def load_definitions(repo: Path, *, only_compared: bool = False, renew: bool = False) -> Definitions:
    """Import every Python file of the feature repo, collect what they define, and complete it as Feast does.

    With `only_compared`, what nothing enforces is let pass: a revision that had permissions can be compared with one without.
    With `renew`, as when the contract is written, what the data tell is read again, and views that nothing could load are refused.

    Raises:
        Refusal: a file does not import, a name is defined twice, a view says too little to be locked, or who may read what
            is said, which nothing enforces.
    """
    project = _project_name(repo)
    with _clean_copy(repo) as made:
        copy = made.directory
        files = get_repo_files(copy)
        refuse(problem for file in files for problem in check_assignments(file, copy))
        modules = _imported(files, made)
        contents = parse_repo(copy)
        places = _places(modules, copy)
        misplaced = place_sources(contents, made)
    if not only_compared:
        refuse_unenforced(repo / CONFIG_FILE, [permission.name for permission in contents.permissions])
    projects = {declared.name for declared in contents.projects} or {project}
    if projects != {project}:
        raise Refusal(
            f"the repo defines the project {', '.join(sorted(projects))}, but {CONFIG_FILE} says {project}. Both must name the same one."
        )
    if not contents.projects:
        contents.projects.append(Project(name=project))
    _add_request_sources(contents)
    no_source = {} if only_compared or not renew else unloadable([*contents.feature_views, *contents.stream_feature_views], repo)
    completion = complete(contents, places, repo, renew=renew, unread=no_source)
    definitions = Definitions(
        project=project, contents=contents, places=_named_places(contents, places), completed=tuple(completion.completed)
    )
    refuse(
        [
            *check_names(contents, places),
            *([] if only_compared else misplaced),
            *completion.problems,
            *check_views(definitions, places, completion.unfinished),
            *([] if only_compared else check_loadable(definitions, places, [module.__name__ for module in modules.values()], no_source)),
            *check_services(definitions, places, completion.unfinished),
        ]
    )
    return definitions


def _imported(files: list[Path], made: Copy) -> dict[Path, Any]:
    """The modules of all files.

    Raises:
        Refusal: some do not import; names all.
    """
    modules: dict[Path, Any] = {}
    problems = []
    for file in files:
        try:
            modules[file] = _import(file, made)
        except Refusal as refusal:
            problems.append(str(refusal))
    refuse(problems)
    return modules


def _project_name(repo: Path) -> str:
    try:
        config = yaml.safe_load((repo / CONFIG_FILE).read_text())
    except yaml.YAMLError as error:
        raise Refusal(f"{CONFIG_FILE} is no YAML: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("project"), str):
        raise Refusal(f"{CONFIG_FILE} names no `project`.")
    return str(config["project"])


@contextmanager
def _clean_copy(repo: Path) -> Iterator[Copy]:
    """A copy of the repo's files as the working directory and first on the import path, for as long as it is needed."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix=COPY_PREFIX) as directory:
        made = Copy(root=Path(directory).resolve(), repo=repo)
        copy = made.directory
        # Only what the cluster gets is copied, so that a definition which reads another file fails here and not there.
        for path in [repo / CONFIG_FILE, *definition_files(repo)]:
            target = copy / path.relative_to(repo)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        _forget_earlier_copies()
        sys.path.insert(0, str(copy))
        os.chdir(copy)
        importlib.invalidate_caches()
        try:
            yield made
        finally:
            os.chdir(before)
            sys.path.remove(str(copy))


def _forget_earlier_copies() -> None:
    for name, module in list(sys.modules.items()):
        # A package without __init__.py has no file.
        if COPY_PREFIX in (getattr(module, "__file__", None) or str(getattr(module, "__path__", ""))):
            del sys.modules[name]


def _import(file: Path, made: Copy) -> Any:
    copy = made.directory
    relative = file.relative_to(copy)
    try:
        # Feast warns of what `lock` tells in its own words, and names the copy.
        with warnings.catch_warnings(action="ignore"):
            module = importlib.import_module(".".join(relative.with_suffix("").parts))
    except (Exception, SystemExit) as error:  # noqa: BLE001  definitions may raise anything
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(copy))]
        line = f"{Path(frames[-1].filename).relative_to(copy)}:{frames[-1].lineno}" if frames else str(relative)
        raise Refusal(
            f"{line}: the definitions do not import: {first_line(error).replace(f'{copy}/', '')}{_remedy(error, made) or '.'}"
        ) from None
    origin = Path(getattr(module, "__file__", None) or "").resolve()
    if origin != file:
        raise Refusal(
            f"{relative}: its name is taken by the installed module {module.__name__}, so it would be ignored. Give the file another name."
        )
    return module


def _remedy(error: BaseException, made: Copy) -> str:
    """What to do about a file of the repo that is not in its copy."""
    if isinstance(error, FileNotFoundError) and (made.directory / str(error.filename)).is_relative_to(made.directory):
        return f". Only the Python files and {CONFIG_FILE} go to the cluster: put what it holds into a module."
    if isinstance(error, ModuleNotFoundError) and error.name:
        place = made.repo / error.name.replace(".", "/")
        if place.is_dir() or place.with_suffix(".py").is_file():
            return f". It is in the feature repo, but no definition: {FEASTIGNORE} names it, or it is hidden or in an environment."
    return ""


def _places(modules: dict[Path, Any], copy: Path) -> dict[int, str]:
    """For every Feast object that has a variable its `file:line`, by identity."""
    places: dict[int, str] = {}
    for file, module in modules.items():
        for name, line in assignments(ast.parse(file.read_text())):
            value = getattr(module, name, None)
            if isinstance(value, DEFINED):
                places.setdefault(id(value), f"{file.relative_to(copy)}:{line}")
    return places


def _add_request_sources(contents: RepoContents) -> None:
    """Name the sources of requests among the repo's own: Feast registers them, and removes at the next apply what is not there."""
    known = {source.name for source in contents.data_sources}
    for view in contents.on_demand_feature_views:
        for source in view.source_request_sources.values():
            if source.name not in known:
                known.add(source.name)
                contents.data_sources.append(source)


def _named_places(contents: RepoContents, places: dict[int, str]) -> dict[str, str]:
    groups = {
        "entities": contents.entities,
        "sources": contents.data_sources,
        "views": [*contents.feature_views, *contents.stream_feature_views, *contents.on_demand_feature_views],
        "services": contents.feature_services,
    }
    return {
        f"{group}.{defined.name}": places[id(defined)] for group, objects in groups.items() for defined in objects if id(defined) in places
    }
