"""Reads a stack file: the only reader of pulumi.Config.

A wrong file is refused as a whole, every error at once, before anything registers.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pulumi
from pulumi.runtime import config as pulumi_config
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from feast_eks.refusal import Problem, Refusal
from feast_eks.settings.secrets import SECRET_KEYS, presence_problems, shape_problems
from feast_eks.settings.section import Contradiction, Section
from feast_eks.settings.tree import RULES_BETWEEN_SECTIONS, Settings

if TYPE_CHECKING:
    from feast_eks.settings.stores import OnlineStoreSettings, RegistrySettings

SHOWN_CHARACTERS = 80


def load_settings(project_directory: Path) -> Settings:
    """Read the settings of the selected stack.

    Raises:
        Refusal: naming every wrong key, its value, the rule and the remedy.
    """
    namespace = f"{pulumi.get_project()}:"
    config = pulumi.Config()
    keys = {key.removeprefix(namespace) for key in pulumi_config.CONFIG.get() if key.startswith(namespace)}
    values = {key: _plain(config, key) for key in sorted(keys)}
    secrets = {key: values.pop(key) for key in sorted(keys & SECRET_KEYS)}
    return parse_settings(
        values,
        pulumi.get_stack(),
        project_directory,
        secret_keys=secrets.keys(),
        found=[problem for key, secret in secrets.items() for problem in shape_problems(key, secret)],
    )


def parse_settings(
    values: Mapping[str, Any],
    stack: str,
    project_directory: Path,
    *,
    secret_keys: AbstractSet[str] = frozenset(),
    found: Sequence[Problem] = (),
) -> Settings:
    """Settings from the plain values of a stack file, and which secrets it has; `load_settings` without Pulumi.

    `found`: problems that are known already, to be reported with the others.

    Raises:
        Refusal: naming every wrong key, its value, the rule and the remedy.
    """
    problems = list(found)
    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as errors:
        problems += [problem for error in errors.errors() for problem in _problems(error)]
        settings = _sound_part(values)
        reported = {(problem.path, problem.rule) for problem in problems}
        problems += [problem for problem in _between_sound_sections(settings) if (problem.path, problem.rule) not in reported]
    for check in (
        _feature_repo_problems(settings, project_directory),
        _sample_data_problems(settings, project_directory),
        *(_store_problems(store, settings, project_directory) for store in ("registry", "online_store")),
        *(presence_problems(key, settings, secret_keys) for key in sorted(SECRET_KEYS)),
    ):
        # What stands in a section that is refused already cannot be looked at.
        with suppress(AttributeError):
            problems += check
    if problems:
        raise Refusal(f"stacks/Pulumi.{stack}.yaml", problems)
    return settings


@contextmanager
def refusals_without_traceback() -> Iterator[None]:
    """Turn a Refusal into the error that Pulumi prints as a sentence."""
    try:
        yield
    except Refusal as refusal:
        raise pulumi.RunError(str(refusal)) from None


def _plain(config: pulumi.Config, key: str) -> Any:
    """A config value as YAML wrote it: Pulumi hands scalars over as text, and lists and maps as JSON."""
    text = config.get(key)
    try:
        return config.get_object(key)
    except pulumi.ConfigTypeError:
        return text


def _sound_part(values: Mapping[str, Any]) -> Settings:
    """Settings that have only those sections which are right by themselves; any other is an AttributeError."""
    sound: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        if name not in values and not field.is_required():
            sound[name] = field.get_default(call_default_factory=True)
            continue
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        config = None if is_section else ConfigDict(strict=True)
        annotation: Any = Annotated[field.annotation, *field.metadata, None]
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=config)
        with suppress(ValidationError, KeyError):
            sound[name] = adapter.validate_python(values[name])
    part = Settings.model_construct(**sound)
    for name in Settings.model_fields.keys() - sound.keys():
        part.__dict__.pop(name, None)
    return part


def _between_sound_sections(part: Settings) -> Iterator[Problem]:
    for rule in RULES_BETWEEN_SECTIONS:
        with suppress(AttributeError):
            for contradiction in rule(part):
                yield _contradiction((), part, contradiction)


def _feature_repo_problems(settings: Settings, project_directory: Path) -> Iterator[Problem]:
    path = project_directory / settings.feature_repo
    if not (path / "feature_store.yaml").is_file():
        inner = sorted(found.parent.relative_to(project_directory).as_posix() for found in path.glob("*/feature_store.yaml"))
        remedy = f"write feature_repo: {inner[0]}" if inner else "name the directory that `feast init` made, with its feature_store.yaml"
        rule = "a directory with a feature_store.yaml, relative to the project"
        yield Problem(path="feature_repo", value=repr(settings.feature_repo), rule=rule, remedy=remedy)


def _sample_data_problems(settings: Settings, project_directory: Path) -> Iterator[Problem]:
    sample = settings.offline_store.sample_data
    path = project_directory / sample if sample else None
    if path is None or path.is_file() or (path.is_dir() and any(path.rglob("*.parquet"))):
        return
    remedy = "write the example's data with `make sample-data`, or leave the key out"
    rule = "a file, or a folder of Parquet files, relative to the project"
    yield Problem(path="offline_store.sample_data", value=repr(sample), rule=rule, remedy=remedy)


def _store_problems(name: str, settings: Settings, project_directory: Path) -> Iterator[Problem]:
    store: RegistrySettings | OnlineStoreSettings = getattr(settings, name)
    location = store.chart.location
    if store.chart.kind == "path" and not (project_directory / "infra" / location).exists():
        remedy = "put the chart there (a directory or a .tgz), or name an oci:// location"
        yield Problem(path=f"{name}.chart.location", value=repr(location), rule="a path relative to infra/", remedy=remedy)
    if store.ca_certificate and (rule := _refusal_of_certificate(project_directory / store.ca_certificate)):
        remedy = "save the certificate authority's certificate there, without any key"
        yield Problem(path=f"{name}.external.ca_certificate", value=repr(store.ca_certificate), rule=rule, remedy=remedy)


def _refusal_of_certificate(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").encode("ascii", errors="replace").decode()
    except OSError:
        return "a file, relative to the project"
    if "PRIVATE KEY" in text:
        return "a certificate only: the file holds a private key, which would be readable by everybody in the namespace"
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        return "a certificate in PEM"
    return ""


def _problems(error: ErrorDetails) -> list[Problem]:
    context = error.get("ctx") or {}
    if contradictions := context.get("contradictions"):
        return [_contradiction(error["loc"], context["section"], contradiction) for contradiction in contradictions]
    path = ".".join(str(part) for part in error["loc"]) or "stack file"
    if error["type"] == "missing":
        return [Problem(path=path, value="missing", rule="this key has no default", remedy=f"set feast-eks:{path}")]
    if error["type"] == "extra_forbidden":
        # Nobody knows what an unknown key holds: perhaps a password that somebody looked for a place for.
        shown = repr(error["input"]) if isinstance(error["input"], (bool, int, float)) else "not shown"
        section = path.rpartition(".")[0] or "a stack file"
        remedy = f"remove it, or see docs/settings.md for what {section} accepts"
        return [Problem(path=path, value=shown, rule="a known key", remedy=remedy)]
    remedy = str(context.get("remedy", "correct the value in the stack file"))
    return [Problem(path=path, value=_shown(error["input"]), rule=error["msg"], remedy=remedy)]


def _contradiction(location: Sequence[int | str], section: Section, contradiction: Contradiction) -> Problem:
    value = attrgetter(contradiction.key)(section)
    return Problem(
        path=".".join([*(str(part) for part in location), contradiction.key]),
        value="not set" if value is None else _shown(value),
        rule=contradiction.rule,
        remedy=contradiction.remedy,
    )


def _shown(value: Any) -> str:
    """The value as a refusal repeats it, without the user and password of an address."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    text = re.sub(r"://[^\s/@]*@", "://…@", repr(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
