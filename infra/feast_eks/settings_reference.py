"""The reference of all settings, made from them, so that it cannot say anything else than the program does."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from feast_eks.settings import SHAPES, ChartSettings, ImageSettings, PinnedImageSettings, Section, Settings

HEADER = """\
# Settings

Written from `infra/feast_eks/settings/` by `make docs`; do not edit.

A stack file, `stacks/Pulumi.<stack>.yaml`, lists where an environment differs from these defaults, each key under `config` with the
prefix `feast-eks:`. Unknown keys, wrong types and contradictions are refused before anything is registered, all at once.
`stacks/schema.json` lets an editor complete the keys and mark wrong ones.
"""

SECRETS = """
## Secrets

Secrets are no settings. Passwords are generated; what a person brings for somebody else's store is set part by part, with
`pulumi config set --secret --path feast-eks:<key>.<part>`. A missing secret is refused, and so is one that nothing uses.

| key | parts | what it is |
|---|---|---|
"""

SHARED: dict[type[Section], str] = {ImageSettings: "image", PinnedImageSettings: "image", ChartSettings: "chart"}
"""Sections that stand in many places and are described once."""

WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "map", "array": "list"}


def settings_reference() -> str:
    """The whole page."""
    tops = {name: field for name, field in Settings.model_fields.items() if _section(field) is None}
    parts = [HEADER, "## Top level\n", *_table(Settings, tops)]
    for name, field in Settings.model_fields.items():
        if (section := _section(field)) and section not in SHARED:
            parts += _described(name, section)
    parts += [f"\n## An image\n\n{_docstring(ImageSettings)}\n", *_table(ImageSettings, ImageSettings.model_fields)]
    parts += [f"\n## A chart\n\n{_docstring(ChartSettings)}\n", *_table(ChartSettings, ChartSettings.model_fields)]
    parts += [SECRETS + "\n".join(f"| `{key}` | {_parts(shape)} | {_docstring(shape)} |" for key, shape in SHAPES.items())]
    return "\n".join(parts) + "\n"


def _described(path: str, section: type[Section]) -> Iterator[str]:
    level = "#" * (2 + path.count("."))
    yield f"\n{level} {path}\n\n{_docstring(section)}\n"
    yield from _table(section, section.model_fields)
    for name, field in section.model_fields.items():
        if (inner := _section(field)) and inner not in SHARED:
            yield from _described(f"{path}.{name}", inner)


def _table(section: type[Section], fields: dict[str, FieldInfo]) -> list[str]:
    schemas = section.model_json_schema()["properties"]
    rows = [f"| `{name}` | {_type(field, schemas[name])} | {_default(field)} | {_meaning(field)} |" for name, field in fields.items()]
    if section is Settings:
        image = Settings.model_fields["runtime_image"]
        rows.append(f"| `runtime_image` | an image | required | {image.description} |")
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows]


def _section(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, also where it may be left out."""
    choices = [field.annotation, *get_args(field.annotation)]
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section)), None)


def _docstring(section: type[Section]) -> str:
    return re.sub(r"\s+", " ", section.__doc__ or "").strip()


def _type(field: FieldInfo, schema: dict[str, Any]) -> str:
    if section := _section(field):
        return f"an {SHARED[section]}".replace("an chart", "a chart") if section in SHARED else "section"
    schema = next((option for option in schema.get("anyOf", []) if option.get("type") != "null"), schema)
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    word = WORDS[schema["type"]]
    return f"{word}, {schema['minimum']} to {schema['maximum']}" if "maximum" in schema else word


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, ImageSettings):
        return f"`{default.reference()}`"
    if isinstance(default, ChartSettings):
        return f"`{default.location}` {default.version or ''}".strip()
    return f"`{json.dumps(default)}`"


def _meaning(field: FieldInfo) -> str:
    section = _section(field)
    return field.description or (_docstring(section) if section else "")


def _parts(shape: type[Section], prefix: str = "") -> str:
    found: list[str] = []
    for name, field in shape.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inner = _section(field)
        found.append(_parts(inner, f"{path}.") if inner else f"`{path}`")
    return ", ".join(found)
