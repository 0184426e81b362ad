"""Shows what becomes of a law's formulas: python -m rsample.kernels.show [LAW]

Each formula in torch, as a Triton device function and as C++ on vectors, for float32; without a law the names of all.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from types import FunctionType

import torch

from . import device_functions
from .loops.noise import LoopNoise
from .maps import known_maps
from .maps.map import Map
from .translate import printed, traced


def laws() -> dict[str, Map]:
    """The elementwise maps by their names."""
    return {name: map for name, map in known_maps().items() if not isinstance(map.noise, LoopNoise)}


def shown(map: Map) -> Iterator[str]:
    for what, formula in map.formulas.items():
        name, function = f"{map.name}_{what}", formula.function
        yield f"{'-' * (119 - len(name))} {name}"
        yield inspect.getsource(function)
        on_gpu = formula.override or function
        if on_gpu is not function:
            yield inspect.getsource(getattr(on_gpu, "fn", on_gpu))
        if isinstance(on_gpu, FunctionType):
            yield device_functions.source(name, on_gpu, formula.arguments, formula.read, map.noise.values)
        steps = traced(function, len(formula.arguments) - 1, torch.float32, values=map.noise.values)
        yield printed(name, steps).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m rsample.kernels.show", description=__doc__.split("\n")[0].partition(":")[0]
    )
    parser.add_argument("law", nargs="?", choices=laws(), metavar="LAW")
    law = parser.parse_args().law
    sys.stdout.write("\n".join(laws() if law is None else shown(laws()[law])) + "\n")


if __name__ == "__main__":
    main()
