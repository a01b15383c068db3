"""The linters run, pass on the project, and find what they are there for."""

import shutil
import subprocess

import pytest

from delivery import lint

from .conftest import PROJECT

pytestmark = pytest.mark.skipif(shutil.which(lint.zizmor_command()[0]) is None, reason="zizmor is not among the installed packages")


@pytest.fixture
def project(tmp_path):
    """A copy of the project's workflows, as a repository of its own."""
    shutil.copytree(PROJECT / ".github", tmp_path / ".github")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def test_the_workflows_pass(project):
    assert lint.check(project) == 0, "what the linters say is printed above"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  pull_request:\n", "  pull_request_target:\n"),
        ("persist-credentials: false", "persist-credentials: true"),
        ("actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "actions/checkout@v7"),
        ("run: make check", "run: echo ${{ github.event.pull_request.title }}"),
        ("permissions: {}", "permissions: write-all"),
        ("${{ matrix.stack }}", "${{ matrix.stak }}"),
        ("          stack: ${{ matrix.stack }}\n          role", "          stock: ${{ matrix.stack }}\n          role"),
    ],
    ids=["pull_request_target", "credentials", "unpinned", "injection", "permissions", "unknown value", "unknown input"],
)
def test_a_workflow_that_is_made_worse_does_not_pass(project, before, after):
    file = project / ".github" / "workflows" / "preview.yml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    assert lint.check(project) == 1
