"""Writes the files that are made from the settings, or checks that they are fresh.

`python -m feast_eks.generated [--check]`
"""

import sys
from pathlib import Path

from feast_eks.costs import costs_page
from feast_eks.settings_reference import settings_reference
from feast_eks.settings_schema import settings_schema

PROJECT_DIRECTORY = Path(__file__).resolve().parents[2]
FILES = {"docs/settings.md": settings_reference, "docs/costs.md": costs_page, "stacks/schema.json": settings_schema}


def main(arguments: list[str]) -> int:
    """Write the files, or with --check say which of them are not what would be written: 0 or 1."""
    stale = 0
    for name, text in FILES.items():
        path, content = PROJECT_DIRECTORY / name, text()
        if "--check" not in arguments:
            path.write_text(content)
        elif not path.is_file() or path.read_text() != content:
            sys.stderr.write(f"{name} is stale: write it with `make docs`\n")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
