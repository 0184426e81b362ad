"""Draws depend on their arguments alone: not on torch's default device and dtype, nor on modes that change factories.

A kernel writes through raw addresses, so that a result allocated on another device would crash the process.
"""

import ast
import subprocess
import sys
from pathlib import Path

from torch.utils._device import _device_constructors

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("kernels", "distributions") for path in (PACKAGE / folder).rglob("*.py")]
FACTORIES = {factory.__name__ for factory in _device_constructors()}


def without_device(node):
    """Whether a node of a syntax tree is a torch factory's call that follows the default device, or may hide one."""
    if isinstance(node, ast.ImportFrom) and node.module == "torch":
        return not FACTORIES.isdisjoint(alias.name for alias in node.names)
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    factory = ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES
    return factory and all(keyword.arg != "device" for keyword in node.keywords)


def test_every_allocation_names_its_device():
    assert len(SOURCES) > 100
    found = []
    for path in SOURCES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found += [f"{path}:{n.lineno}: {ast.unparse(n)}" for n in nodes if without_device(n)]
    assert found == []


def test_draws_are_the_same_whatever_surrounds_them():
    script = Path(__file__).with_name("ambient_cases.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""
