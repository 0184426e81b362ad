"""Hints to Triton's compiler stand on operations of the function that gives them, in every kernel of the package.

Triton 3.9 puts a hint about one result of a device function on another of its results, and takes numbers that differ
for constant (seen: wrong samples). What a parameter stands for, a function cannot know either.
"""

import ast
from pathlib import Path

import pytest

from rsample import kernels

HINTS = {"multiple_of", "max_contiguous", "max_constancy"}
SOURCES = sorted(path for folder in kernels.__path__ for path in Path(folder).rglob("*.py"))


def misplaced(source):
    """The line and text of every hint in a jitted function that is not about an operation of that function's own."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and any("jit" in ast.unparse(d) for d in function.decorator_list):
            foreign = {argument.arg for argument in function.args.args}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and _calls_device_function(node.value):
                    foreign |= {name.id for t in node.targets for name in ast.walk(t) if isinstance(name, ast.Name)}
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in HINTS:
                    about = node.args[0]
                    if _calls_device_function(about) or (isinstance(about, ast.Name) and about.id in foreign):
                        yield node.lineno, ast.unparse(node)


def _calls_device_function(node):
    """Whether an expression is the result of a function, or part of it, that is neither Triton's nor a method."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_hints_are_about_own_operations(path):
    assert list(misplaced(path.read_text())) == []


FORBIDDEN = """
@triton.jit
def kernel(ptr, n):
    i, mask = lanes(n)
    a = tl.max_constancy(mask, 8)
    b = tl.multiple_of(lanes(n)[0], 8)
    c = tl.max_contiguous(ptr, 8)
    return a, b, c, tl.max_constancy(mask & (i < n), 8)
"""


def test_the_rule_finds_what_it_forbids():
    assert [line for line, _ in misplaced(FORBIDDEN)] == [5, 6, 7]
