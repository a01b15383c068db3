"""Writes docs/settings.md from the settings, so that the reference cannot say anything else than the program does.

python -m feast_eks.settings_reference [--check] docs/settings.md`
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from feast_eks.settings import Section, Settings

HEADER = """\
# Settings

Written from `infra/feast_eks/settings.py` by `make docs`; do not edit.

A stack file, `stacks/Pulumi.<stack>.yaml`, lists where an environment differs from these defaults, each key under `config` with the
prefix `feast-eks:`. Unknown keys, wrong types and contradictions are refused before anything is registered, all at once.

Secrets are no settings. Passwords are generated; the one credential that a person brings is the access key of an S3-compatible store:

    pulumi config set --secret --path offline_store_credentials.access_key_id …
    pulumi config set --secret --path offline_store_credentials.secret_access_key …
"""


WORDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "map"}


def settings_reference() -> str:
    """The whole page."""
    sections = {name: section for name, field in Settings.model_fields.items() if (section := _section(field))}
    parts = [HEADER, "## Top level\n", *_table(Settings, without=sections)]
    for name, section in sections.items():
        parts += [f"\n## {name}\n", f"{_docstring(section)}\n", *_table(section)]
    return "\n".join(parts) + "\n"


def _table(section: type[Section], without: Iterable[str] = ()) -> list[str]:
    schemas = section.model_json_schema()["properties"]
    rows = [
        f"| `{name}` | {_type(field, schemas[name])} | {_default(field)} | {_meaning(field)} |"
        for name, field in section.model_fields.items()
        if name not in set(without)
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows]


def _section(field: FieldInfo) -> type[Section] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _docstring(section: type[Section]) -> str:
    return (section.__doc__ or "").strip()


def _type(field: FieldInfo, schema: dict[str, Any]) -> str:
    if section := _section(field):
        return "{" + ", ".join(section.model_fields) + "}"
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
    if isinstance(default, Section):
        default = {key: value for key, value in default.model_dump().items() if value is not None}
    return f"`{json.dumps(default)}`"


def _meaning(field: FieldInfo) -> str:
    section = _section(field)
    return field.description or (_docstring(section) if section else "")


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is what would be written: 0 or 1."""
    path = Path(arguments[-1])
    page = settings_reference()
    if "--check" in arguments:
        if path.is_file() and path.read_text() == page:
            return 0
        sys.stderr.write(f"{path} is stale: write it with `make docs`\n")
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
