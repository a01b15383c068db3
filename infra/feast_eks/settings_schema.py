"""The JSON Schema of stack files, made from the settings: editors complete keys and mark wrong ones while they are written.

It knows every rule for a single value; rules between values are the program's own.
"""

import json
from typing import Any

from feast_eks.settings import SHAPES, Settings

NAMESPACE = "feast-eks"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SECURE = {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"], "additionalProperties": False}
"""A value that Pulumi encrypted."""

PULUMI_KEYS = {
    "encryptionsalt": "Of the passphrase that secrets are encrypted with.",
    "secretsprovider": "What secrets are encrypted with, e.g. awskms://alias/…",
    "encryptedkey": "The key of secrets, encrypted by the secrets provider.",
}

Schema = dict[str, Any]


def settings_schema() -> str:
    """The whole schema, as JSON text."""
    tree = Settings.model_json_schema(ref_template="#/$defs/{model}")
    definitions = tree.pop("$defs")
    properties = {f"{NAMESPACE}:{name}": _as_config(schema) for name, schema in tree["properties"].items()}
    for name, shape in SHAPES.items():
        secret = shape.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= {key: _or_secure(schema) for key, schema in secret.pop("$defs", {}).items()}
        properties[f"{NAMESPACE}:{name}"] = {"anyOf": [_or_secure(secret), SECURE], "description": f"Secret. {shape.__doc__}"}
    config = {
        "type": "object",
        "properties": properties,
        "required": [f"{NAMESPACE}:{name}" for name in tree["required"]],
        "patternProperties": {f"^(?!{NAMESPACE}:)[^:]+:.+$": {"description": "Another package's setting."}},
        "additionalProperties": False,
    }
    schema: Schema = {
        "$schema": DIALECT,
        "title": f"Stack file of {NAMESPACE}",
        "type": "object",
        "properties": {key: {"type": "string", "description": text} for key, text in PULUMI_KEYS.items()} | {"config": config},
        "required": ["config"],
        "additionalProperties": False,
        "$defs": definitions,
    }
    return json.dumps(_without_titles(schema), indent=2, ensure_ascii=False) + "\n"


def _as_config(schema: Schema) -> Schema:
    """`pulumi config set` writes what is no map as text."""
    if schema.get("type") == "boolean":
        return {key: value for key, value in schema.items() if key != "type"} | {"enum": [True, False, "true", "false"]}
    return schema


def _or_secure(schema: Schema) -> Schema:
    """The shape of a secret, each text of which may be encrypted."""
    parts = {name: {"anyOf": [part, SECURE]} if part.get("type") == "string" else part for name, part in schema["properties"].items()}
    return schema | {"properties": parts}


def _without_titles(schema: Any) -> Any:
    """Pydantic's titles repeat the keys."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    root = "$schema" in schema
    return {key: _without_titles(value) for key, value in schema.items() if root or key != "title" or not isinstance(value, str)}
