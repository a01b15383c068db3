"""What a transformation computes, as a digest: two of them differ when the code differs, not when its layout does."""

import ast
import hashlib
import json
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import Any


def sha256_of_source(source: str, function: Callable[..., Any] | None) -> str:
    """Digest of a function's source, without its decorators, docstring, comments and layout.

    Feast keeps the source in the registry, so both sides have it; `function` stands in where a definition gave none.
    """
    text = _normal(source) if source else _bytecode(getattr(function, "__code__", None))
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _normal(source: str) -> str:
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        # A lambda within a call: its lines are all there is.
        return source.strip()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _bytecode(code: CodeType | None) -> str:
    if code is None:
        return ""
    constants = [_bytecode(constant) if isinstance(constant, CodeType) else repr(constant) for constant in code.co_consts]
    return json.dumps([code.co_code.hex(), code.co_names, code.co_varnames, constants])
