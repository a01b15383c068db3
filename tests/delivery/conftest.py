"""What the tests of delivery share: previews that the real engine made, and one that is made up of a few words."""

import json
from pathlib import Path

import pytest

from delivery.features import FeatureChanges
from delivery.preview import read_preview
from delivery.report import Report

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent


@pytest.fixture(scope="session")
def fixture():
    """The text of a file in fixtures/."""
    return lambda name: (HERE / "fixtures" / name).read_text()


@pytest.fixture(scope="session")
def step():
    """One step of a preview, in the words of `pulumi preview --json`."""

    def make(op="update", kind="kubernetes:apps/v1:Deployment", name="web", *, old=None, new=None, diff=None, **state):
        return {
            "op": op,
            "urn": f"urn:pulumi:prod::feast-eks::feast-eks:index:FeatureStore${kind}::{name}",
            "oldState": {"type": kind, "custom": True, "inputs": old or {}} | state,
            "newState": {"type": kind, "custom": True, "inputs": new or {}},
            "detailedDiff": {path: {"kind": what} for path, what in (diff or {}).items()},
        }

    return make


@pytest.fixture(scope="session")
def report():
    """A report on a successful preview with the given steps."""

    def make(*steps, exit_status=0, features=None, policies=(), log="", findings=(), errors=()):
        events = [{"policyEvent": finding} for finding in findings]
        digest = {"steps": list(steps), "changeSummary": {"same": 3}, "diagnostics": [{"severity": "error", "message": e} for e in errors]}
        return Report(
            stack="prod",
            exit_status=exit_status,
            preview=read_preview(json.dumps([digest, *events])),
            features=features or FeatureChanges(),
            policies=tuple(policies),
            log=log,
        )

    return make
