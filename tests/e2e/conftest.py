"""The feature store that `make up` brings, for all tests that use it."""

import pytest

NAMESPACE = "feast"


@pytest.fixture(scope="session")
def first_up(cloud, clone):
    """What the first `make up` says."""
    up = cloud.run("make", "up", cwd=clone, timeout=1800)
    assert up.returncode == 0, up.stdout
    return up.stdout


@pytest.fixture
def kubectl(cloud):
    return lambda *arguments: cloud.output("kubectl", "-n", NAMESPACE, *arguments)
