"""Writes docs/policies.md from the rules, so that the reference cannot say anything else than the pack does.

`python -m feast_eks_policies.reference docs/policies.md [--check]`
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from feast_eks_policies import HARMS, RULES
from feast_eks_policies.configuration import environments, level, options
from feast_eks_policies.rule import ResourceRule, Rule

HEADER = """\
# Policies

Written from `policies/feast_eks_policies/` by `make docs`; do not edit.

A rule looks at what a program registers, whoever wrote it, and a mandatory violation stops `pulumi preview` and `pulumi up` before anything
is changed. Rules are strict; an environment's configuration, `policies/config/<stack>.json`, lists what it gives up:

    pulumi preview --policy-pack policies --policy-pack-config policies/config/prod.json

Without a configuration every rule is mandatory, and `env-config-matches-stack` says that it was forgotten. Levels are `mandatory`,
`advisory` (reported, stops nothing) and `disabled`; *mandatory, relaxed* is mandatory with the options listed below the table. Controls are
ids of Checkov, of AWS Security Hub (S3.…) and of the Kubernetes Pod Security Standards (PSS); a rule without one is ours.

Rules of a *resource* see its inputs before it is deployed; rules of the *stack* see how resources go together, at the end. A value that
only the deployment will know breaks no rule of a preview: it is looked at again by `pulumi up`, and afterwards by `pulumi policy analyze`.

A Helm *Chart* is judged by its objects, which are its children: providers register it without its values. A Helm *Release*
(`helm.sh/v3:Release`) shows the opposite, values and no object, and less of it can be judged.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEADER]
    for harm, meaning in HARMS.items():
        rules = [rule for rule in RULES if rule.harm == harm]
        parts += [f"## {harm}\n", f"{meaning}\n", *_table(rules), ""]
        for rule in rules:
            parts += _details(rule)
    return "\n".join(parts).rstrip() + "\n"


def _table(rules: list[Rule]) -> Iterator[str]:
    names = _environments()
    yield f"| rule | severity | controls | {' | '.join(names)} |"
    yield "|---" * (3 + len(names)) + "|"
    for rule in rules:
        levels = " | ".join(_level(rule, name) for name in names)
        yield f"| [`{rule.name}`](#{rule.name}) | {rule.severity} | {', '.join(rule.controls) or 'ours'} | {levels} |"


def _details(rule: Rule) -> Iterator[str]:
    yield f"### {rule.name}\n"
    yield f"{rule.description}\n"
    yield f"Remedy: {rule.remedy}.\n"
    looks_at = ", ".join(f"`{pattern}`" for pattern in rule.types) if isinstance(rule, ResourceRule) else "the whole stack"
    yield f"Looks at {looks_at}.\n"
    for name, default in rule.options.items():
        yield f"- option `{name}`, default `{json.dumps(default)}`{_differences(rule, name)}"
    if rule.options:
        yield ""


def _differences(rule: Rule, option: str) -> str:
    """Where an environment sets an option."""
    found = {name: options(rule.name, config) for name, config in environments().items()}
    return "".join(f"; {name}: `{json.dumps(found[name][option])}`" for name in _environments() if option in found[name])


def _level(rule: Rule, environment: str) -> str:
    config = environments()[environment]
    relaxed = ", relaxed" if options(rule.name, config) and "environment" not in options(rule.name, config) else ""
    return f"{level(rule.name, config)}{relaxed}"


def _environments() -> list[str]:
    """The environments, strictest first: the one that relaxes least."""
    return sorted(environments(), key=lambda name: (len(environments()[name]), name))


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is what would be written: 0 or 1."""
    path = Path(next(argument for argument in arguments if not argument.startswith("--")))
    page = reference()
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
