"""What the sandbox's tests share."""

from tests.sandbox.programs import make_program  # noqa: F401 - a fixture
