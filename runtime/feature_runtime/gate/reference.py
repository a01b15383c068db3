"""The table of rules in docs/changing-features.md, written from the rules themselves.

python -m feature_runtime.gate.reference docs/changing-features.md [--check]
"""

import sys
from pathlib import Path

from feature_runtime.gate import judgement
from feature_runtime.gate.rule import RULES

BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"
HEAD = "| id | change | severity | why |\n|---|---|---|---|\n"


def table() -> str:
    """One row for each rule."""
    assert judgement.MODULES, "the modules of rules register them"
    rules = [RULES[identifier] for identifier in sorted(RULES)]
    return HEAD + "".join(f"| {rule.id} | {rule.change} | {rule.level} | {rule.why} |\n" for rule in rules)


def written_into(page: str) -> str:
    """The page with the table between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"the page has no {BEGIN}"
    assert end, f"the page has no {END}"
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is fresh."""
    path = Path(next(argument for argument in arguments if not argument.startswith("--")))
    page = path.read_text()
    fresh = written_into(page)
    if "--check" not in arguments:
        path.write_text(fresh)
    elif page != fresh:
        sys.stderr.write(f"{path} does not fit the rules of the gate. Write it: python -m feature_runtime.gate.reference {path}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
