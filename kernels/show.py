"""Shows what becomes of a law's formulas: python -m rsample.kernels.show [LAW]

Each formula in torch, as a Triton device function and as C++, for float32; first the noise, where it is rejection that
draws it. Without a law the names of all. In a checkout, with its folder bench/ on PYTHONPATH, also what the kernels
cost: instructions per sample and registers, in the machine code for sm_90.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import torch

from .formula import device_functions
from .formula.cpp_code import printed
from .formula.trace import traced
from .laws import known_laws
from .laws.law import Law
from .laws.rejection import device
from .laws.rejection.cpp_code import rejection_laws
from .laws.rejection.noise import LoopNoise


def shown(law: Law) -> Iterator[str]:
    if isinstance(law.noise, LoopNoise) and law.noise.parts:
        yield from _noise(law.noise)
    for what, formula in law.formulas.items():
        name, function = f"{law.name}_{what}", formula.function
        yield _headline(name)
        yield inspect.getsource(function)
        if formula.override is not None:
            yield inspect.getsource(formula.override)
        yield device_functions.source(*law.definition(what))
        steps = traced(function, len(formula.arguments) - 1, torch.float32, values=law.noise.values)
        yield printed(name, steps).strip() + "\n"
    if importlib.util.find_spec("instructions") is not None:
        yield _headline("instructions")
        yield from _instructions(law)


def _headline(name: str) -> str:
    return f"{'-' * (119 - len(name))} {name}"


def _noise(noise: LoopNoise) -> Iterator[str]:
    name = f"{noise.name}_noise"
    yield _headline(name)
    for law in dict.fromkeys(part.law for part in noise.parts):
        yield inspect.getsource(sys.modules[law.attempt.__module__])
    yield device.source(noise, name)
    yield rejection_laws([noise], torch.float32)


def _instructions(law: Law) -> Iterator[str]:
    counting: Any = importlib.import_module("instructions")
    for job in (job for jobs in counting.JOBS for job in jobs() if job.draw == law.name and job.dtype == "float32"):
        count = counting.counted(job, "")
        yield f"{count.kernel}, {count.layout}: {count.instructions:.4g} per sample, {count.registers} registers"


def main() -> None:
    laws = known_laws()
    parser = argparse.ArgumentParser(
        "python -m rsample.kernels.show", description=__doc__.split("\n")[0].partition(":")[0]
    )
    parser.add_argument("law", nargs="?", choices=laws, metavar="LAW")
    law = parser.parse_args().law
    sys.stdout.write("\n".join(laws if law is None else shown(laws[law])) + "\n")


if __name__ == "__main__":
    main()
