"""Programs as the policy pack sees them: every registration with its options, provider and dependencies, without a real engine."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from runpy import run_path
from typing import Any
from unittest import mock

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks
from pulumi.runtime.proto import analyzer_pb2
from pulumi.runtime.settings import set_root_resource
from pulumi.runtime.sync_await import _sync_await
from pulumi_policy.deserialize import SPECIAL_ASSET_SIG, SPECIAL_SIG_KEY, deserialize_properties
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from feast_eks_policies import RULES, configuration
from feast_eks_policies.objects import CHARTS
from feast_eks_policies.rule import Context, Provider, Resource, ResourceRule, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, plain
from tests.infra.engine import Engine
from tests.policies import charts
from tests.policies.charts import CHART

STRICT: Mapping[str, Any] = {}
"""The configuration that relaxes nothing."""


@dataclass(frozen=True)
class Violation:
    """What a rule said about a resource (its logical name; None for the stack as a whole), at which level."""

    rule: str
    resource: str | None
    message: str
    level: str

    def __str__(self) -> str:
        return f"[{self.level}] {self.rule} on {self.resource}: {self.message}"


@dataclass
class Recording:
    """`inputs` is what resource rules see, `outputs` what stack rules see; `requests` the same inputs as the engine sends them."""

    inputs: list[Resource] = field(default_factory=list)
    outputs: list[Resource] = field(default_factory=list)
    requests: list[analyzer_pb2.AnalyzeRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        for resource in [*self.inputs, *self.outputs]:
            assert not (resource.is_a(*CHARTS) and resource.props), f"{resource.name}: no provider registers a Chart with inputs"

    def without_what_depends_on_others(self) -> "Recording":
        """As in a first preview: each property that takes a value from another resource is unknown."""
        return Recording([_first_preview(r) for r in self.inputs], [_first_preview(r) for r in self.outputs], [])

    def stack_request(self) -> analyzer_pb2.AnalyzeStackRequest:
        """All resources as the engine sends them at the end."""
        return analyzer_pb2.AnalyzeStackRequest(resources=[_analyzer_resource(resource) for resource in self.outputs])

    def violations(self, config: Mapping[str, Any] = STRICT, rules: tuple[Rule, ...] = RULES) -> list[Violation]:
        """Everything that the rules say at the levels of a configuration, but what is disabled."""
        found = []
        for rule in rules:
            level = configuration.level(rule.name, config)
            if level != "disabled":
                found += [Violation(rule.name, resource, message, level) for resource, message in self._findings(rule, config)]
        return found

    def _findings(self, rule: Rule, config: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
        settings = rule.settings(configuration.options(rule.name, config))
        if isinstance(rule, ResourceRule):
            for resource in self.inputs:
                for message in rule.findings(replace(resource, settings=settings)):
                    yield resource.name, message
        elif isinstance(rule, StackRule):
            stack = self.outputs[0].stack if self.outputs else ""
            for resource, message in rule.findings(self.outputs, Context(settings=settings, stack=stack)):
                yield (resource.name if resource else None), message


def _first_preview(resource: Resource) -> Resource:
    unknown = {name for name, urns in resource.property_dependencies.items() if urns}
    props = {name: UNKNOWN if name in unknown else value for name, value in resource.props.items() if name not in ("id", "arn")}
    return replace(resource, props=props)


def from_wire(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Properties as the adapters make them from what comes over the wire."""
    return plain(unknown_checking_proxy(deserialize_properties(json_format.MessageToDict(struct))))


def to_wire(props: Mapping[str, Any]) -> struct_pb2.Struct:
    """Plain properties as they go over the wire."""

    def sent(value: Any) -> Any:
        if value is UNKNOWN:
            return UNKNOWN_STRING_VALUE
        if isinstance(value, pulumi.Asset):
            return {SPECIAL_SIG_KEY: SPECIAL_ASSET_SIG, "path": str(getattr(value, "path", ""))}
        if isinstance(value, Mapping):
            return {key: sent(below) for key, below in value.items()}
        return [sent(below) for below in value] if isinstance(value, list) else value

    return json_format.ParseDict(sent(props), struct_pb2.Struct())


def record(run: Callable[[], Engine], *, stack: str) -> Recording:
    """Run a program against a recording engine and keep all that the policy pack would be told."""
    recording = Recording()
    providers: dict[str, Any] = {}

    def urn(self: mocks.MockMonitor, parent: str, type_: str, name: str) -> str:
        # The SDK's own asks its thread for the stack, and registrations have threads that do not know.
        return make_urn(self, parent, type_, name).replace("urn:pulumi:stack::", f"urn:pulumi:{stack}::", 1)

    register, make_urn = mocks.MockMonitor.RegisterResource, mocks.MockMonitor.make_urn

    def registered(self: mocks.MockMonitor, request: Any) -> Any:
        response = register(self, request)
        if request.type.startswith("pulumi:providers:"):
            providers[response.urn] = request
        inputs = Resource(
            type=request.type,
            name=request.name,
            urn=response.urn,
            props=from_wire(request.object),
            protect=request.protect,
            ignore_changes=tuple(request.ignoreChanges),
            parent=request.parent or None,
            provider=_provider(request, providers),
            dependencies=tuple(request.dependencies),
            property_dependencies={name: tuple(deps.urns) for name, deps in request.propertyDependencies.items()},
        )
        if inputs.type == CHART:
            shown = charts.registered(inputs)
            recording.requests += [_analyze_request(each, to_wire(each.props)) for each in shown]
            recording.inputs += shown
            recording.outputs += shown
            return response
        outputs = from_wire(response.object) | ({"id": response.id} if response.id else {})
        recording.requests.append(_analyze_request(inputs, request.object))
        recording.inputs.append(inputs)
        recording.outputs.append(replace(inputs, props={**inputs.props, **outputs}))
        return response

    # The SDK registers a stack only where it knows of none, such as an earlier recording's.
    set_root_resource(None)
    with mock.patch.multiple(mocks.MockMonitor, RegisterResource=registered, make_urn=urn):
        engine = run()
    for position, resource in enumerate(recording.outputs):
        if resource.type == "pulumi:pulumi:Stack":
            recording.outputs[position] = replace(resource, props={name: _resolved(value) for name, value in engine.outputs.items()})
    return recording


def record_script(path: Path, *, stack: str) -> Recording:
    """Record a program of plain resources."""

    def run() -> Engine:
        engine = Engine()
        pulumi.runtime.set_mocks(engine, project="bypass", stack=stack, preview=False)
        pulumi.runtime.set_all_config({})

        @pulumi.runtime.test
        def program() -> None:
            with mock.patch.object(pulumi, "export", engine.outputs.__setitem__):
                run_path(str(path), run_name="__main__")

        program()
        return engine

    return record(run, stack=stack)


def _resolved(value: Any) -> Any:
    return plain(_sync_await(pulumi.Output.from_input(value).future()))


def _provider(request: Any, providers: Mapping[str, Any]) -> Provider | None:
    package = request.type.partition(":")[0]
    if package == "pulumi" or not (request.custom or request.remote):
        return None
    urn = (request.provider or request.providers.get(package, "")).rpartition("::")[0]
    if urn in providers:
        used = providers[urn]
        return Provider(type=used.type, name=used.name, props=from_wire(used.object))
    return Provider(type=f"pulumi:providers:{package}", name="default_1_0_0")


def _analyze_request(resource: Resource, properties: struct_pb2.Struct) -> analyzer_pb2.AnalyzeRequest:
    return analyzer_pb2.AnalyzeRequest(
        type=resource.type,
        properties=properties,
        urn=resource.urn,
        name=resource.name,
        options=analyzer_pb2.AnalyzerResourceOptions(
            protect=resource.protect, ignoreChanges=resource.ignore_changes, parent=resource.parent or ""
        ),
        provider=_wire_provider(resource.provider) if resource.provider else None,
    )


def _analyzer_resource(resource: Resource) -> analyzer_pb2.AnalyzerResource:
    return analyzer_pb2.AnalyzerResource(
        type=resource.type,
        properties=to_wire(resource.props),
        urn=resource.urn,
        name=resource.name,
        options=analyzer_pb2.AnalyzerResourceOptions(protect=resource.protect, ignoreChanges=resource.ignore_changes),
        provider=_wire_provider(resource.provider) if resource.provider else None,
        parent=resource.parent or "",
        dependencies=resource.dependencies,
        propertyDependencies={
            name: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns) for name, urns in resource.property_dependencies.items()
        },
    )


def _wire_provider(provider: Provider) -> analyzer_pb2.AnalyzerProviderResource:
    urn = f"urn:pulumi:stack::project::{provider.type}::{provider.name}"
    return analyzer_pb2.AnalyzerProviderResource(type=provider.type, name=provider.name, urn=urn, properties=to_wire(provider.props))
