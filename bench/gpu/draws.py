"""The draws that are timed on a GPU, in the libraries that are compared, and what each launch of rsample's costs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from cases import Case, Draw
from counterparts import constructor
from torch import Tensor

from gpu.plan import Plan
from gpu.prediction import Kernel

COMPILED = "torch.compile"
# The reference first, as in cases.LIBRARIES; the last is torch.compile of the reference, its construction too.
LIBRARIES = ("torch", "rsample", COMPILED)
CATEGORIES = 2**12  # of a row


@dataclass(frozen=True)
class Timed:
    """A draw.

    Attributes:
        counted: what instructions.py calls it.
        multiplies: wide multiplies per sample, of each kernel.
    """

    draw: Draw
    counted: str
    multiplies: float = 4.5

    def shape(self, exponent: int) -> tuple[int, ...]:
        """Of 2**exponent samples, or categories."""
        n = 2**exponent
        return (n // CATEGORIES, CATEGORIES) if self.draw.distribution == "Categorical" else (n,)

    def kernels(self, dtype: torch.dtype, instructions: dict[tuple[str, str, str], float]) -> list[Kernel]:
        """What rsample launches.

        Args:
            instructions: by draw, kernel and dtype, those of dense parameters.
        """
        forward = replace(self.draw, work="").moved
        moved = {"forward": forward, "backward": self.draw.moved - forward}
        name = str(dtype).removeprefix("torch.")
        return [
            Kernel(numbers * dtype.itemsize, instructions[self.counted, kernel, name], self.multiplies)
            for kernel, numbers in moved.items()
            if numbers
        ]


# The most telling first.
TIMED = (
    Timed(Draw("Normal", "loc scale"), "normal"),
    Timed(Draw("Bernoulli", "probs", "sample"), "bernoulli_probs"),
    Timed(Draw("Normal", "loc scale", work="backward"), "normal"),
    Timed(Draw("Categorical", "logits", "sample"), "Categorical"),
    # A block for each sample in a round, and nothing known of its counter.
    Timed(Draw("Gamma", "concentration rate"), "gamma", multiplies=20),
    Timed(Draw("Uniform", "low high"), "uniform"),
    Timed(Draw("Bernoulli", "logits", "sample"), "bernoulli_logits"),
    Timed(Draw("Exponential", "rate"), "exponential"),
    Timed(Draw("Laplace", "loc scale"), "laplace"),
    Timed(Draw("Gumbel", "loc scale"), "gumbel"),
)


def timed_cases(plan: Plan) -> Iterator[tuple[Timed, Case]]:
    """What to time, in order."""
    for exponents in plan.exponents:
        for dtype in plan.dtypes:
            for timed in TIMED[: plan.draws]:
                for exponent in exponents:
                    yield timed, Case(timed.draw, dtype, timed.shape(exponent))


def setup(timed: Timed, library: str, case: Case, device: torch.device) -> Callable[[], object]:
    """Makes what is timed."""
    if library != COMPILED:
        return case.setup(library, device)
    parameters = timed.draw.parameters_of(case.shape, case.dtype, device)
    values, draw = tuple(parameters.values()), compiled(timed.draw)
    if timed.draw.work == "backward":
        grad = torch.ones(case.shape, dtype=case.dtype, device=device)
        return lambda: torch.autograd.grad(draw(*values), values, grad)
    return lambda: draw(*values)


@functools.cache
def compiled(draw: Draw) -> Callable[..., Tensor]:
    """torch.distributions' draw as one compiled function of the parameters, for any size: the first to come is the
    one that its launches are chosen for. What torch.compile cannot trace, as Gamma's draw on torch 2.11, stays eager.
    """
    # The functions made here share their code, whose limit torch.compile counts.
    torch._dynamo.config.recompile_limit = 8 * len(TIMED)
    make, names = constructor(draw.distribution), draw.parameters.split()

    def function(*values: Tensor) -> Any:
        distribution = make(**dict(zip(names, values, strict=True)), validate_args=False)
        return getattr(distribution, draw.method)()

    return torch.compile(function, dynamic=True)
