"""Secrets where everybody can read them: in pods, command lines, ConfigMaps, values of Releases, annotations.

A finding names the place, never what stands there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feast_eks_policies.objects import RELEASE, environment, release_values, texts, words
from feast_eks_policies.rule import Resource, ResourceRule, Rule
from feast_eks_policies.values import WORKLOADS, containers, get, leaves, mapping, pod_specs

_SECRET_WORDS = frozenset(
    {"PASSWORD", "PASSWORDS", "PASSWD", "PASS", "PASSPHRASE", "PWD", "SECRET", "SECRETS", "TOKEN", "DSN", "CREDENTIAL", "CREDENTIALS"}
)
_KINDS_OF_KEY = frozenset({"API", "ACCESS", "SECRET", "PRIVATE", "ENCRYPTION", "SIGNING", "MASTER"})
_RUN_TOGETHER = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|APIKEY|SECRETKEY|ACCESSKEY|AUTHTOKEN)$|^REDISCLI_AUTH$|^REQUIREPASS$|^MASTERAUTH$")
_NO_SECRETS = re.compile(r"(?i)|true|false|yes|no|on|off|none|null|\d|\*+")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$\([^)]*\)|\$[A-Za-z_]\w*|\{\{.*?\}\}|<[^<>]*>|%\([^)]*\)s|\{[A-Za-z_]\w*\}")

_CONTENT = {
    "a URL with a password": re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@\"']*:(?P<secret>[^\s/@\"']+)@"),
    "an AWS access key": re.compile(r"\b(?P<secret>(?:AKIA|ASIA)[0-9A-Z]{16})\b"),
    "a private key": re.compile(r"(?P<secret>-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----)"),
    "an access token": re.compile(
        r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{30,}|xox[abp]-[A-Za-z0-9-]{20,}|pul-[0-9a-f]{40}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)"
    ),
    "a password in SQL": re.compile(r"(?i)\bpassword\s+'(?P<secret>[^']+)'"),
    "a password in a connection string": re.compile(r"(?i)[,;?& ](?:password|pwd)=(?P<secret>[^\s,;&\"']+)"),
    "a Redis password": re.compile(
        r"(?m)^\s*(?:requirepass|masterauth|sentinel auth-pass \S+)\s+(?P<secret>\S+)|^user\s.*\s>(?P<other>\S+)"
    ),
}
"""What a secret looks like, wherever it stands."""

_ASSIGNMENT = re.compile(
    r"""(?m)^[ \t]*(?:export\s+|-\s+)?["']?(?P<name>[A-Za-z][\w.-]*)["']?[ \t]*[:=][ \t]*(?P<quote>["']?)(?P<value>[^\s"'#,]*)"""
)
_OPTION = re.compile(
    r"(?:^|\s)(?:--?(?P<name>[A-Za-z][\w.-]*)(?:=|\s+)|(?P<variable>[A-Z][A-Z0-9_]*)=)(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"']+)"
)
_SHORT_OPTIONS = re.compile(r"\bredis-cli\b.*\s(?:-a|--pass)\s*(?P<redis>[^\s]+)|\bmysql\b.*\s-p(?P<mysql>[^\s]+)")


def is_secret_name(name: str) -> bool:
    """Whether something of this name holds a secret itself: not its file, its Secret's name or the key under which it is kept."""
    parts = [part.upper() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    if not parts or "EXISTING" in parts:
        return False
    return (
        parts[-1] in _SECRET_WORDS
        or (parts[-1] == "KEY" and len(parts) > 1 and parts[-2] in _KINDS_OF_KEY)
        or parts[-3:] == ["ACCESS", "KEY", "ID"]
        or bool(_RUN_TOGETHER.search("".join(parts)) or _RUN_TOGETHER.search(name.upper()))
    )


def is_literal(value: Any) -> bool:
    """Whether a value would be a secret itself: a text that is neither a switch nor a placeholder."""
    return isinstance(value, str) and not _NO_SECRETS.fullmatch(value.strip()) and not _is_placeholder(value)


def _is_placeholder(value: str) -> bool:
    """Whether nothing is left of the text once its placeholders are taken out."""
    return bool(_PLACEHOLDER.search(value)) and not _PLACEHOLDER.sub("", value).strip("\"'/ ")


def content(text: Any) -> Iterator[str]:
    """The secrets that a text shows by their looks, as in `a private key`."""
    if not isinstance(text, str):
        return
    for what, looks in _CONTENT.items():
        for match in looks.finditer(text):
            secret = next((group for group in match.groupdict().values() if group), "")
            if not _PLACEHOLDER.match(secret):
                yield what
                break


def _container(path: str, container: Mapping[str, Any]) -> Iterator[str]:
    for name, variable in environment(container).items():
        value = variable.get("value")
        where = f"{path}.env[{name}].value"
        if is_secret_name(name) and is_literal(value):
            yield f"{where} is a secret in clear"
        yield from (f"{where} holds {what}" for what in content(value))
    for what in _spoken(words(container)):
        yield f"{path}.args or command holds {what}"


def _spoken(said: list[str]) -> Iterator[str]:
    for index, word in enumerate(said):
        yield from content(word)
        option = word.lstrip("-")
        if word.startswith("-") and is_secret_name(option) and index + 1 < len(said):
            following = said[index + 1]
            if not following.startswith("-") and is_literal(following):
                yield f"a secret after {word}"
        for match in _OPTION.finditer(word):
            if is_secret_name(match["name"] or match["variable"]) and is_literal(match["value"].strip("\"'")):
                yield f"a secret given as {match['name'] or match['variable']}"
    for match in _SHORT_OPTIONS.finditer(" ".join(said)):
        if is_literal((match["redis"] or match["mysql"]).strip("\"'")):
            yield "a password given to a client program"


def _file(name: str, text: str) -> Iterator[str]:
    yield from content(text)
    program = re.search(r"\.(py|sh|lua)\W*$", name) or text.startswith("#!")
    if is_secret_name(name.partition("[")[2].rstrip("]")) and is_literal(text):
        yield "a secret"
    for match in _ASSIGNMENT.finditer(text):
        # Programs compute: only a quoted text is a value there. `name: str` and `password=$(cat …)` are none.
        literal = is_literal(match["value"]) and not re.match(r"[$`({<&*|>\[]", match["value"])
        if is_secret_name(match["name"]) and literal and (match["quote"] or not program):
            yield f"a value for {match['name']}"


def _values(values: Any) -> Iterator[str]:
    for path, value in leaves(values):
        last = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
        if is_secret_name(last) and is_literal(value):
            yield f"values.{path} is a secret in clear"
        yield from (f"values.{path} holds {what}" for what in content(value))
    yield from _variables(values, "values")


def _variables(value: Any, path: str) -> Iterator[str]:
    """Environment variables in a Release's values: maps with `name` and `value`."""
    if isinstance(value, Mapping):
        name = value.get("name")
        if isinstance(name, str) and is_secret_name(name) and is_literal(value.get("value")):
            yield f"{path}.value is {name} in clear"
        for key, below in value.items():
            yield from _variables(below, f"{path}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _variables(below, f"{path}[{index}]")


def _plain_secrets(resource: Resource) -> Iterator[str]:
    for path, metadata, spec in pod_specs(resource):
        for within, container in containers(spec):
            yield from _container(f"{path}.{within}", container)
        for key, value in mapping(metadata.get("annotations")).items():
            yield from (f"{path.rpartition('spec')[0]}metadata.annotations[{key}] holds {what}" for what in content(value))
    for key, value in mapping(get(resource.props, "metadata", "annotations")).items():
        yield from (f"metadata.annotations[{key}] holds {what}" for what in content(value))
    if resource.is_a("kubernetes:*:ConfigMap"):
        for where, text in texts(resource):
            yield from (f"{where} holds {what}" for what in dict.fromkeys(_file(where, text)))
    yield from _values(release_values(resource))


RULES: tuple[Rule, ...] = (
    ResourceRule(
        name="no-plain-secret",
        description="Secrets stand in Secrets only: not in pods, command lines, ConfigMaps, values of Releases or annotations.",
        harm="exposure",
        severity="critical",
        controls=("CKV_K8S_35",),
        remedy="keep it in a Secret; refer to it by secretKeyRef or a mounted file, in files by ${VARIABLE}, in values by existingSecret. "
        "Then change it: whoever read this has seen it",
        types=(*WORKLOADS, "kubernetes:*:ConfigMap", "kubernetes:*:Secret", "kubernetes:*:Service", RELEASE),
        check=_plain_secrets,
    ),
)
