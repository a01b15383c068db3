"""Pulumi programs as tests write them: each in a directory of its own, with a state of its own, removed with all it made."""

import json
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/feast-eks/data-stores:1"

CHART = {
    "Chart.yaml": "{apiVersion: v2, name: tiny, version: 0.1.0}\n",
    "values.yaml": "greeting: hello\n",
    "templates/all.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-config}
data: {greeting: {{ .Values.greeting | quote }}}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-auth}
stringData: {password: the-charts-own-password}
""",
}


@dataclass(frozen=True)
class Program:
    """A Pulumi program in a directory of its own, with a state of its own."""

    directory: Path
    cloud: object
    namespace: str
    more: dict[str, str] = field(default_factory=dict)
    """What the environment has in addition."""

    @property
    def environment(self):
        return self.cloud.env | {
            "PULUMI_BACKEND_URL": f"file://{self.directory}",
            "PULUMI_STACK": "test",
            "NAMESPACE": self.namespace,
            "IMAGE": IMAGE,
            **self.more,
        }

    def write(self, text):
        (self.directory / "__main__.py").write_text(text)

    def start(self, *arguments):
        return subprocess.Popen(
            ["pulumi", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pulumi(self, *arguments, ok=True):
        """What a command says. It has to succeed, or to fail, as the test expects."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        if ok is not None:
            assert (process.returncode == 0) is ok, said
        return said

    def up(self, **options):
        return self.pulumi("up", "--yes", "--skip-preview", "--non-interactive", **options)

    def preview(self, *arguments, **options):
        return self.pulumi("preview", "--non-interactive", *arguments, **options)

    def drift(self):
        """What refresh would change; empty where nothing has drifted."""
        process = self.start("refresh", "--preview-only", "--diff", "--expect-no-changes", "--non-interactive")
        said, _ = process.communicate(timeout=120)
        return said if process.returncode else ""

    def kubectl(self, *arguments):
        command = ["kubectl", "-n", self.namespace, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def live(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))


@pytest.fixture(scope="module")
def make_program(cloud, tmp_path_factory):
    made = []

    def make(text, **more):
        directory = tmp_path_factory.mktemp("program")
        options = {"toolchain": "pip", "virtualenv": str(PROJECT / ".venv")}
        project = {"name": "provider-test", "runtime": {"name": "python", "options": options}}
        (directory / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        for name, content in CHART.items():
            file = directory / "tiny" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        program = Program(directory, cloud, f"provider-{uuid.uuid4().hex[:8]}", more)
        program.write(text)
        program.pulumi("stack", "init", "test")
        made.append(program)
        return program

    yield make
    for program in made:
        program.write("")
        program.pulumi("cancel", "--yes", ok=None)
        program.pulumi("destroy", "--yes", "--skip-preview", "--non-interactive", ok=None)
        subprocess.run(
            ["kubectl", "delete", "namespace", program.namespace, "--ignore-not-found", "--wait=false"],
            env=program.environment,
            check=False,
            capture_output=True,
        )
