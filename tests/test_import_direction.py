"""Imports point down: from the classes to the draws, to what runs them, to the laws, to noise and keys."""

import ast
import graphlib
from pathlib import Path

import pytest

import rsample

# The floors, from the ground. A module of kernels/ that none of them names is on the one of the draws.
STREAM = """language devicemath polynomial philox noise philox_key window layout backend compatibility dtensor hugepages
    cache"""
FORMULA = "special cotangent translate derivatives device_functions cases"
LAWS = "maps loops"
ENGINES = """direct_launch launch tiles reduction elementwise loop_kernels reference compiler cpp interpreter compiled
    checks outputs rows.gumbel rows.layout rows.inversion rows.race rows.relaxed rows.inversion_kernels rows.reference
    rows.compiled matrices.kind matrices.layout matrices.library matrices.noise matrices.reference matrices.product
    matrices.compiled"""
FLOORS = {f"kernels.{name}": i for i, names in enumerate((STREAM, FORMULA, LAWS, ENGINES)) for name in names.split()}
DRAWS, CLASSES = 4, 5

ROOT = Path(rsample.kernels.__path__[0]).parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for folder in ("kernels", "distributions")
    for file in (ROOT / folder).rglob("*.py")
    if "top_level" not in file.parts
}


def floor(module):
    if module.startswith("distributions"):
        return CLASSES
    return FLOORS.get(module, FLOORS.get(module.rpartition(".")[0], DRAWS))


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
