"""What a rule is, and how the engine runs it.

A rule is a pure function over plain values, with the metadata that its violation, the reference and the environments' levels are
made from. Rules of one resource see its inputs before it is deployed; rules of the stack see all resources together, at the end.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

from feast_eks_policies.values import plain

Harm = Literal["exposure", "encryption", "identity", "workloads", "durability", "integrity"]
SeverityName = Literal["low", "medium", "high", "critical"]


@dataclass(frozen=True, kw_only=True)
class Provider:
    """The provider that a resource goes through."""

    type: str
    name: str
    props: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether the engine made it by itself, from the environment of whoever runs it."""
        return self.name == "default" or self.name.startswith("default_")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as rules see it.

    `props` are plain values (see `values.plain`): inputs in a resource rule, outputs in a stack rule. `settings` are the options of
    the rule that looks at it. `dependencies` and `property_dependencies` hold URNs and are filled for stack rules only.
    `retain_on_delete` is not here: the engine does not tell.
    """

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]
    protect: bool = False
    ignore_changes: tuple[str, ...] = ()
    parent: str | None = None
    provider: Provider | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def stack(self) -> str:
        """The stack's name, without organization and project."""
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    def is_a(self, *patterns: str) -> bool:
        """Whether the type token matches one of the patterns, as in `kubernetes:*:Deployment`."""
        return any(fnmatchcase(self.type, pattern) for pattern in patterns)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a stack rule knows beside the resources: the options of the rule and the stack's name."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    stack: str = ""


Finding = str | tuple[Resource, str]
"""A violation of a stack rule: what is wrong, and with which resource if it is one."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What every rule says about itself.

    `controls` are ids of public control catalogues, `options` the properties its configuration may set, with the strictest as default.
    A violation is mandatory unless an environment's configuration relaxes it.
    """

    name: str
    description: str
    harm: Harm
    severity: SeverityName
    controls: tuple[str, ...] = ()
    remedy: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, configured: Mapping[str, Any] | None) -> dict[str, Any]:
        """The rule's options as configured."""
        return {**plain(self.options), **plain(dict(configured or {}))}

    def _metadata(self) -> dict[str, Any]:
        options = {name: _schema(default) for name, default in self.options.items()}
        return {
            "name": self.name,
            "description": self.description,
            "enforcement_level": EnforcementLevel.MANDATORY,
            "severity": Severity(self.severity),
            "framework": PolicyComplianceFramework(name="controls", specification=", ".join(self.controls)) if self.controls else None,
            "tags": [self.harm, *self.controls],
            "remediation_steps": self.remedy,
            "url": f"docs/policies.md#{self.name}",
            "config_schema": PolicyConfigSchema(options) if options else None,
        }

    def _message(self, finding: str) -> str:
        return f"{finding}\n{self.remedy}"

    def _own_failure(self, error: Exception) -> str:
        """What to say when the rule itself fails: not the error's text, which may quote a secret."""
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else "unknown place"
        return f"the rule {self.name} itself failed ({type(error).__name__} at {where}); this resource was not checked"


@dataclass(frozen=True, kw_only=True)
class ResourceRule(_Rule):
    """A rule about each resource whose type matches one of `types` on its own."""

    types: tuple[str, ...]
    check: Callable[[Resource], Iterator[str]]

    def findings(self, resource: Resource) -> Iterator[str]:
        """What is wrong with the resource, one message per violation; a failure of the rule itself is one too."""
        if not resource.is_a(*self.types):
            return
        try:
            yield from self.check(resource)
        except Exception as error:  # noqa: BLE001 - an error would end the whole operation without saying which rule it was
            yield self._own_failure(error)

    def policy(self) -> Policy:
        """The rule as the engine runs it."""

        def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
            if any(fnmatchcase(args.resource_type, pattern) for pattern in self.types):
                for finding in self.findings(_resource(args, self.settings(args.get_config()))):
                    report(self._message(finding), None)

        return ResourceValidationPolicy(validate=validate, **self._metadata())


@dataclass(frozen=True, kw_only=True)
class StackRule(_Rule):
    """A rule about how the resources of a stack go together."""

    check: Callable[[list[Resource], Context], Iterator[Finding]]

    def findings(self, resources: list[Resource], context: Context) -> Iterator[tuple[Resource | None, str]]:
        """What is wrong with the stack: (resource if it is one, message) per violation; a failure of the rule itself is one too."""
        try:
            for finding in self.check(resources, context):
                yield (None, finding) if isinstance(finding, str) else finding
        except Exception as error:  # noqa: BLE001 - as above
            yield None, self._own_failure(error)

    def policy(self) -> Policy:
        """The rule as the engine runs it."""

        def validate(args: StackValidationArgs, report: ReportViolation) -> None:
            settings = self.settings(args.get_config())
            resources = [_stack_resource(resource, settings) for resource in args.resources]
            context = Context(settings=settings, stack=resources[0].stack if resources else "")
            for resource, finding in self.findings(resources, context):
                report(self._message(finding), resource.urn if resource else None)

        return StackValidationPolicy(validate=validate, **self._metadata())


Rule = ResourceRule | StackRule


def policies(rules: Iterable[Rule]) -> list[Policy]:
    """The rules as a policy pack takes them."""
    return [rule.policy() for rule in rules]


def _resource(args: ResourceValidationArgs | PolicyResource, settings: Mapping[str, Any], **more: Any) -> Resource:
    provider = args.provider
    return Resource(
        type=args.resource_type,
        name=args.name,
        urn=args.urn,
        props=plain(args.props),
        protect=args.opts.protect,
        ignore_changes=tuple(args.opts.ignore_changes),
        provider=Provider(type=provider.resource_type, name=provider.name, props=plain(provider.props)) if provider else None,
        settings=settings,
        **{"parent": args.opts.parent, **more},
    )


def _stack_resource(resource: PolicyResource, settings: Mapping[str, Any]) -> Resource:
    return _resource(
        resource,
        settings,
        parent=resource.parent.urn if resource.parent else resource.opts.parent,
        dependencies=tuple(other.urn for other in resource.dependencies),
        property_dependencies={name: tuple(o.urn for o in others) for name, others in resource.property_dependencies.items()},
    )


def _schema(default: Any) -> dict[str, Any]:
    """The JSON schema of an option, from its default."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if isinstance(default, (list, tuple)):
        return {"type": "array", "items": {"type": "string"}, "default": list(default)}
    return {"type": kinds[type(default)], "default": default}
