"""What torch.compile is told of draws: how its code generator fuses them, and which version of them it has compiled.

An operator is opaque to it unless :mod:`draws.lowerings` knows better. That module is imported, and Inductor's import
not caused, when a compiler records the first draw after Inductor has been loaded.

Inductor keeps what it has generated, beyond the process. So operators are recorded with the version of the sources
that the generated code has come from, and other code is never taken for it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

LOGGER = logging.getLogger("rsample")
# The folders and files whose text decides on what a fused draw computes.
_SOURCES = ("formula", "stream", "laws", "engines/triton", "draws/native_core.py", "draws/lowerings.py")
# Whose private interfaces the lowerings have been tested with.
_TESTED = ("2.11", "2.15")


def version() -> str:
    """A digest of the sources that fused draws are generated from."""
    return _digest()


# As torch.compiler.assume_constant_result has it, which imports all of torch.compile.
version._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _digest() -> str:
    digest = hashlib.sha256()
    for place in _SOURCES:
        path = Path(__file__).parents[1] / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else (path,):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def announce(operators: Any) -> None:
    """Has the lowerings of a law's operators registered as soon as a compiler records a call that Inductor may get.

    Where Inductor is not loaded then, another compiler records it.
    """
    for operator in (operators.forward_op, operators.backward_op):
        if operator is not None:
            _announce(operators, operator)


def _announce(operators: Any, operator: Any) -> None:
    def recorded(mode: Any, *args: Any, **options: Any) -> Any:
        prepare(operators)
        return mode.__torch_dispatch__(operator, (), args, options)

    operator.py_impl(ProxyTorchDispatchMode)(recorded)


def prepare(operators: Any) -> None:
    """Registers the lowerings of a law's operators, once, where Inductor is loaded and known."""
    if operators.fusable and not operators.is_lowered and _is_loaded() and known():
        operators.is_lowered = True
        from . import lowerings

        lowerings.register(operators.law, operators.forward_op, operators.backward_op, version())


def prepare_reservations() -> None:
    """Registers the lowering of `rsample::reserve_key`, once, where Inductor is loaded and known."""
    if _is_loaded() and known():
        from . import lowerings

        lowerings.register_reservations(version())


def _is_loaded() -> bool:
    return "torch._inductor.lowering" in sys.modules


@functools.cache
def known() -> bool:
    """Whether this version of torch has the interfaces that the lowerings need; other versions call the operators."""
    release = ".".join(torch.__version__.split(".")[:2])
    if release not in _TESTED:
        LOGGER.info("compiled draws are not fused: torch %s is not one of %s", release, ", ".join(_TESTED))
        return False
    try:
        from . import lowerings

        lowerings.install()
    except (ImportError, AttributeError, KeyError) as error:
        LOGGER.info("compiled draws are not fused: %s", error)
        return False
    return True
