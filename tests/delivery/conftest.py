"""What the tests of delivery share: previews that the real engine made, and one that is made up of a few words."""

import json
import os
import stat
import sys
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

    def make(*steps, exit_status=0, features=None, policies=(), log="", findings=(), errors=(), warnings=()):
        events = [{"policyEvent": finding} for finding in findings]
        diagnostics = [{"severity": "error", "message": e} for e in errors] + [{"severity": "warning", **w} for w in warnings]
        digest = {"steps": list(steps), "changeSummary": {"same": 3}, "diagnostics": diagnostics}
        return Report(
            stack="prod",
            exit_status=exit_status,
            preview=read_preview(json.dumps([digest, *events])),
            features=features or FeatureChanges(),
            policies=tuple(policies),
            log=log,
        )

    return make


KUBECTL = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
file = arguments[arguments.index("--kubeconfig") + 1] if "--kubeconfig" in arguments else ""
seen = {{"arguments": arguments}}
if file and pathlib.Path(file).exists():
    seen |= {{"kubeconfig": pathlib.Path(file).read_text(), "mode": oct(pathlib.Path(file).stat().st_mode & 0o777)}}
with (here / "kubectl.asked").open("a") as asked:
    asked.write(json.dumps(seen) + chr(10))
told = json.loads((here / "kubectl.told.json").read_text())
kind, *names = arguments[arguments.index("get") + 1 :]
kind, names = kind.partition(".")[0], [name for name in names if not name.startswith("-")]
namespace = names.pop() if "--namespace" in arguments else ""
if kind in told["forbidden"]:
    sys.exit("Error from server (Forbidden): " + kind + " is forbidden")
found = [o for o in told["live"] if (o["kind"], o["metadata"].get("namespace", "")) == (kind, namespace)]
found = [o for o in found if not names or o["metadata"]["name"] in names]
print(json.dumps(found[0] if len(names) == 1 and found else {{"kind": "List", "items": found}}))
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch, fixture):
    """A kubectl before the cluster of fixtures/by-hand.live.json: it notes what it is asked, and has no right to what is forbidden."""
    directory = tmp_path / "kubectl"
    directory.mkdir()
    command = directory / "kubectl"
    command.write_text(KUBECTL.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    class Kubectl:
        def tell(self, *more, forbidden=()):
            live = [*json.loads(fixture("by-hand.live.json")), *more]
            (directory / "kubectl.told.json").write_text(json.dumps({"live": live, "forbidden": list(forbidden)}))

        @property
        def asked(self):
            return [json.loads(line) for line in (directory / "kubectl.asked").read_text().splitlines()]

    told = Kubectl()
    told.tell()
    return told
