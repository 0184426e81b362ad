"""What is measured: draws, dtypes and sizes, and how each draw is set up.

Parameters are dense, one number of each a sample, without a gradient unless the draw says otherwise. The distribution
is constructed outside the timed region, with its default validation; torch's Bernoulli then keeps the sigmoid of its
logits, so that it is not timed after the first draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
import torch.distributions

import rsample.distributions

# The reference first: a ratio is the first's time over the second's.
LIBRARIES: dict[str, ModuleType] = {"torch": torch.distributions, "rsample": rsample.distributions}

# Makes what is timed from a library, a size, a dtype and a device.
Setup = Callable[[ModuleType, int, torch.dtype, torch.device], Callable[[], object]]


def _parameters(n: int, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers in (0.1, 0.9), which suit as probabilities, and in (1.1, 1.9)."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(n, generator=generator).mul_(0.8).add_(0.1).to(device, dtype)
    return low, low + 1


def _normal_sample(library, n, dtype, device):
    return library.Normal(*_parameters(n, dtype, device)).sample


def _normal_rsample(library, n, dtype, device):
    return library.Normal(*_parameters(n, dtype, device)).rsample


def _normal_graph(library, n, dtype, device):
    return library.Normal(*(p.requires_grad_() for p in _parameters(n, dtype, device))).rsample


def _normal_backward(library, n, dtype, device):
    parameters = [p.requires_grad_() for p in _parameters(n, dtype, device)]
    draw = library.Normal(*parameters).rsample
    grad = torch.ones(n, dtype=dtype, device=device)
    return lambda: torch.autograd.grad(draw(), parameters, grad)


def _uniform_rsample(library, n, dtype, device):
    return library.Uniform(*_parameters(n, dtype, device)).rsample


def _uniform_graph(library, n, dtype, device):
    return library.Uniform(*(p.requires_grad_() for p in _parameters(n, dtype, device))).rsample


def _bernoulli_probs(library, n, dtype, device):
    return library.Bernoulli(probs=_parameters(n, dtype, device)[0]).sample


def _bernoulli_logits(library, n, dtype, device):
    return library.Bernoulli(logits=_parameters(n, dtype, device)[0]).sample


@dataclass(frozen=True)
class Draw:
    """One way of drawing.

    `moved` counts the numbers a sample that must cross memory whatever the implementation: parameters read, sample
    written, and for a backward pass the gradient read and the parameters' gradients written.
    """

    name: str
    setup: Setup
    moved: int
    only_exponents: tuple[int, ...] | None = None


DRAWS = (
    Draw("Normal.rsample", _normal_rsample, 3),
    Draw("Normal.rsample, backward", _normal_backward, 6),
    Draw("Normal.sample", _normal_sample, 3),
    Draw("Uniform.rsample", _uniform_rsample, 3),
    Draw("Bernoulli(probs).sample", _bernoulli_probs, 2),
    Draw("Bernoulli(logits).sample", _bernoulli_logits, 2),
    # What building a graph costs where nothing else does; the backward pass is not in it.
    Draw("Normal.rsample, graph", _normal_graph, 3, (10,)),
    Draw("Uniform.rsample, graph", _uniform_graph, 3, (10,)),
)

# Sizes are powers of two. Every second one in float32, fewer in the other dtypes.
EXPONENTS = {
    torch.float32: (10, 12, 14, 16, 18, 20, 22, 24),
    torch.bfloat16: (14, 20),
    torch.float16: (14, 20),
    torch.float64: (14, 20),
}


@dataclass(frozen=True)
class Case:
    """One draw of one size and dtype, which both libraries run."""

    draw: Draw
    dtype: torch.dtype
    exponent: int

    @property
    def n(self) -> int:
        return 2**self.exponent

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def bytes_moved(self) -> int:
        return self.draw.moved * self.dtype.itemsize * self.n

    def __str__(self) -> str:
        return f"{self.draw.name} {self.dtype_name} 2^{self.exponent}"


def cases(exponents: set[int] | None = None) -> list[Case]:
    """All cases, or those of 2**e samples for e in `exponents`; sizes outside the sweep run in float32."""
    chosen = dict(EXPONENTS)
    if exponents is not None:
        chosen = {d: tuple(e for e in swept if e in exponents) for d, swept in EXPONENTS.items()}
        chosen[torch.float32] = tuple(sorted(exponents))
    return [
        Case(draw, dtype, exponent)
        for draw in DRAWS
        for dtype, swept in chosen.items()
        for exponent in swept
        if draw.only_exponents is None or (exponent in draw.only_exponents and dtype == torch.float32)
    ]
