"""A recording stand-in for the Pulumi engine: what the program registers, as it goes over the wire."""

import atexit
import copy
import functools
import json
import runpy
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml

PROJECT = Path(__file__).resolve().parents[2]
STACKS = sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in (PROJECT / "stacks").glob("Pulumi.*.yaml"))

AUTHORITY = "tests/infra/authority.pem"
"""A certificate of nobody, that an external store could be known by."""

ACCOUNT = "123456789012"
KEY_ARN = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"


@dataclass(frozen=True)
class Registration:
    type: str
    name: str
    inputs: dict[str, Any]
    protect: bool = False
    depends_on: frozenset[str] = frozenset()
    """Logical names of what comes before."""


@dataclass
class Engine(pulumi.runtime.Mocks):
    registrations: list[Registration] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """What was asked of a cloud: (function, arguments)."""
    warnings: list[str] = field(default_factory=list)
    """What the program warns of."""
    requests: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What was said to the engine beside the inputs, by type and logical name."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs):
        inputs = {key: value.path if isinstance(value, pulumi.FileAsset) else value for key, value in args.inputs.items()}
        request = self.requests.get((args.typ, args.name))
        before = frozenset(urn.rpartition("::")[2] for urn in request.dependencies) if request else frozenset()
        self.registrations.append(Registration(args.typ, args.name, inputs, bool(request and request.protect), before))
        state = dict(args.inputs)
        if args.typ == "random:index/randomPassword:RandomPassword":
            state["result"] = f"generated-{args.name}"
        if args.typ == "aws:s3/bucket:Bucket":
            state["bucket"] = args.inputs.get("bucket", f"{args.name}-1234567")
            return state["bucket"], state
        if args.typ == "aws:kms/key:Key":
            state |= {"arn": KEY_ARN, "keyId": KEY_ARN.rpartition("/")[2]}
        if args.typ == "aws:iam/role:Role":
            state |= {
                "arn": f"arn:aws:iam::{ACCOUNT}:role{args.inputs.get('path', '/')}{args.name}-1234567",
                "name": f"{args.name}-1234567",
            }
        return f"{args.name}-id", state

    def call(self, args: pulumi.runtime.MockCallArgs):
        self.calls.append((args.token, args.args))
        assert args.token == "aws:eks/getCluster:getCluster", f"the program asks for {args.token}: answer it here"
        name = args.args["name"]
        return {
            "name": name,
            "arn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/{name}",
            "endpoint": "https://cluster.example.com",
            "certificateAuthorities": [{"data": "Y2VydGlmaWNhdGU="}],
            "identities": [{"oidcs": [{"issuer": ISSUER}]}],
        }

    @property
    def timeouts(self) -> dict[str, str]:
        """How long Pulumi waits for the creation of each resource that says so, by logical name."""
        return {name: request.customTimeouts.create for (_, name), request in self.requests.items() if request.customTimeouts.create}

    def of_type(self, suffix: str) -> dict[str, Registration]:
        """Registrations whose type token ends in `suffix`, by logical name."""
        return {r.name: r for r in self.registrations if r.type.endswith(suffix)}

    @property
    def store_charts(self) -> dict[str, Registration]:
        """The charts that run a store, by logical name; the one that only looks which kinds there are makes nothing."""
        return {name: chart for name, chart in self.of_type("helm.sh/v4:Chart").items() if name != "required-kinds"}

    def one(self, suffix: str) -> Registration:
        found = list(self.of_type(suffix).values())
        assert len(found) == 1, f"expected one {suffix}, found {[r.name for r in found]}"
        return found[0]

    def pod_specs(self) -> dict[str, dict[str, Any]]:
        """Pod specs of our own workloads, by logical name."""
        specs = {}
        for r in self.registrations:
            spec = r.inputs.get("spec") or {}
            if r.type.endswith(":CronJob"):
                spec = spec["jobTemplate"]["spec"]
            if r.type.endswith((":CronJob", ":Job", ":Deployment")):
                specs[r.name] = spec["template"]["spec"]
        return specs


def stack_config(stack: str = "local", **overrides: Any) -> dict[str, Any]:
    """The `config` of a stack file, with keys of feast-eks replaced (or, with None, removed)."""
    config = copy.deepcopy(_stack_file(stack))
    for key, value in overrides.items():
        if value is None:
            config.pop(f"feast-eks:{key}", None)
        else:
            config[f"feast-eks:{key}"] = value
    return config


@functools.cache
def _stack_file(stack: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    return config


def copy_of_project(directory: Path) -> Path:
    """The project as far as the program reads it, with a file where `make sample-data` writes the example's data."""
    for part in ("infra", "feature_repo", "runtime", "stacks", "sandbox/charts"):
        shutil.copytree(PROJECT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__", "data"))
    (directory / AUTHORITY).parent.mkdir(parents=True)
    shutil.copy(PROJECT / AUTHORITY, directory / AUTHORITY)
    (directory / "feature_repo" / "data").mkdir()
    (directory / "feature_repo" / "data" / "employee_attrition.parquet").touch()
    return directory


@functools.cache
def _unchanged_project() -> Path:
    directory = tempfile.TemporaryDirectory(prefix="feast-eks-")
    atexit.register(directory.cleanup)
    return copy_of_project(Path(directory.name))


def run_program(config: Mapping[str, Any], *, stack: str = "local", preview: bool = False, project: Path | None = None) -> Engine:
    """Run infra/__main__.py of a copy of the project from start to end against a recording engine.

    Whatever the program raises is raised, with the engine as its attribute `engine`.
    """
    engine = Engine()
    pulumi.runtime.set_mocks(engine, project="feast-eks", stack=stack, preview=preview)
    pulumi.runtime.set_all_config({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()})

    register = pulumi.runtime.mocks.MockMonitor.RegisterResource

    def remember(monitor, request):
        engine.requests[request.type, request.name] = request
        return register(monitor, request)

    @pulumi.runtime.test
    def program():
        main = []
        with mock.patch.object(pulumi, "run", main.append):
            runpy.run_path(str((project or _unchanged_project()) / "infra" / "__main__.py"), run_name="__main__")
        return main[0]()

    try:
        # The requests come after the program has run: they wait for its outputs.
        with (
            mock.patch.object(pulumi.runtime.mocks.MockMonitor, "RegisterResource", remember),
            mock.patch.object(pulumi, "export", engine.outputs.__setitem__),
            mock.patch.object(pulumi, "warn", engine.warnings.append),
        ):
            program()
    except Exception as error:
        error.engine = engine
        raise
    return engine
