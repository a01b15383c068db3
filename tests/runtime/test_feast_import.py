"""Feast's type checks are where features are declared, and nowhere else."""

import subprocess
import sys

import pytest

PARSE = """
import sys
from feature_runtime.__main__ import _parse
_parse(sys.argv[1:])
from feast import FeatureView
print("typeguard" in FeatureView.__init__.__code__.co_names)
"""


@pytest.mark.parametrize(("verb", "checked"), [("lock", True), ("apply", True), ("serve", False), ("materialize", False)])
def test_only_verbs_that_declare_features_check_their_types(repository, verb, checked):
    done = subprocess.run([sys.executable, "-c", PARSE, verb], cwd=repository / "runtime", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(checked)
