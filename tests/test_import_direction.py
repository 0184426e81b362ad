"""Imports point down: from the classes to the draws, to what runs them, to the laws, to noise and keys."""

import ast
import graphlib
from pathlib import Path

import pytest

import rsample

# The folders, from the ground. What lies in none of them, such as `python -m rsample.kernels.show`, is above these.
FLOORS = [f"kernels.{name}" for name in ("runtime", "formula", "stream", "laws", "engines", "draws")]
CLASSES = len(FLOORS)

ROOT = Path(rsample.kernels.__path__[0]).parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for folder in ("kernels", "distributions")
    for file in (ROOT / folder).rglob("*.py")
    if "top_level" not in file.parts
}


def floor(module):
    return next((i for i, name in enumerate(FLOORS) if f"{module}.".startswith(f"{name}.")), CLASSES)


def imported(module):
    """The package's modules that one imports, at whatever place: in functions, and for type checkers, too."""
    file = FILES[module]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        inside = file.parent.relative_to(ROOT).parts
        base = inside[: len(inside) - node.level + 1] if node.level else ()
        path = ".".join((*base, *filter(None, [node.module]))).removeprefix("rsample.")
        found = {f"{path}.{alias.name}" if f"{path}.{alias.name}" in FILES else path for alias in node.names}
        yield from found & (FILES.keys() - {module})


GRAPH = {module: set(imported(module)) for module in FILES}


def test_nothing_imports_what_imports_it():
    assert len(list(graphlib.TopologicalSorter(GRAPH).static_order())) > 100


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    assert [name for name in GRAPH[module] if floor(name) > floor(module)] == []
