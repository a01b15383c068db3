"""What the sandbox's tests share."""

from tests.sandbox.programs import make_program  # noqa: F401 - a fixture
from tests.sandbox.workshop import workshop  # noqa: F401 - a fixture
