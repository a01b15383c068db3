"""The program, or an empty one with the same imports, against an engine within the process; prints how many resources it registered."""

import sys

from bench.preview import IMPORT, PROJECT
from tests.infra.engine import run_program, stack_config

exec(IMPORT)  # noqa: S102 - the very lines of the empty program
registered = run_program(stack_config(), project=PROJECT).registrations if sys.argv[1] == "whole" else []
sys.stdout.write(str(len(registered)))
