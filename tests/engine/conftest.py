"""What the engine's tests of whole environments stand on: nodes of any size, the kinds of monitoring, a login to EKS."""

import os

import pytest

from sandbox import aws_command
from sandbox import fake_nodes as fakes
from tests.engine import monitoring_crds as crds
from tests.sandbox.programs import make_program  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def kwok(cloud):
    """The executable, built when a test first needs it."""
    return fakes.build()


@pytest.fixture(scope="module")
def fake_nodes(cloud, kwok, request):
    """Fake nodes for the pods of the namespaces in the module's FAKE_NAMESPACES; volumes of the classes in its STORAGE_CLASSES."""
    namespaces = request.module.FAKE_NAMESPACES
    classes = getattr(request.module, "STORAGE_CLASSES", ())
    with fakes.fake_nodes(*namespaces, storage_classes=classes, kubeconfig=cloud.kubeconfig, kwok=kwok) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def monitoring_crds(cloud):
    """The cluster knows ServiceMonitors and PrometheusRules."""
    with crds.installed(cloud):
        yield


@pytest.fixture(scope="session")
def aws_login(cloud, tmp_path_factory):
    """Environment in which a kubeconfig's `aws eks get-token` logs in to the sandbox's cluster."""
    directory = tmp_path_factory.mktemp("aws")
    aws_command.install(directory, cloud.kubeconfig)
    return {"PATH": os.pathsep.join([str(directory), cloud.env["PATH"]])}
