"""Checks the environments' configurations: `python -m feast_eks_policies.check_config policies/config/*.json`."""

import sys
from pathlib import Path

from feast_eks_policies import RULES
from feast_eks_policies.configuration import DIRECTORY, problems


def main(arguments: list[str]) -> int:
    """Say on stderr what is wrong with the files, all configurations of the pack by default: 0 for nothing, else 1."""
    rules = {rule.name: rule for rule in RULES}
    paths = [Path(argument) for argument in arguments] or sorted(DIRECTORY.glob("*.json"))
    found = [problem for path in paths for problem in problems(path, rules)]
    for problem in found:
        sys.stderr.write(f"policies/config/{problem}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
