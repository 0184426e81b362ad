"""Builds ahead what draws on the CPU are compiled to, for images and test machines.

    python -m rsample.kernels.build [NAMES]

NAMES are classes of rsample.distributions, whose loops for large draws are built in float32 and float64; small draws of
every class need none. All is kept where a program's first draws would keep it: see :mod:`engines.cpu.cpp`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from typing import Any

import torch

from .draws import native_core
from .engines.cpu import elementwise as compiled
from .engines.cpu import interpreter, rows
from .engines.cpu import product_library as matrices

_DTYPES = (torch.float32, torch.float64)


def build(names: list[str]) -> bool:
    """Build the core, what small draws need, and the loops of some distributions; whether all of it is there.

    Raises:
        AttributeError: a name is not that of a distribution.
    """
    # Of a layer above, which registers its laws here: nothing else of this package knows their names.
    distributions: Any = importlib.import_module("rsample.distributions")
    classes = [getattr(distributions, name) for name in names]
    native_core.begin(again=True)
    built = [kind.available(dtype) for dtype in _DTYPES for kind in (interpreter, rows, matrices)]
    for cls in classes:
        for sampler in getattr(cls, "_samplers", ()):
            built += [compiled.available(sampler.law, dtype) for dtype in _DTYPES]
    return all([*built, native_core.wait()])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rsample.kernels.build", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a class of rsample.distributions, such as Normal")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        complete = build(options.names)
    except AttributeError as error:
        parser.error(str(error))
    if not complete:
        sys.exit("not everything could be built; without it draws on the CPU are slower")


if __name__ == "__main__":
    main()
