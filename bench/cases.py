"""What is measured: draws, dtypes and sizes, and how each draw is set up.

Parameters are dense, one number of each a sample, without a gradient unless the draw says otherwise; a temperature is
one number. But for "construct", the distribution is constructed outside the timed region; torch's Bernoulli
then keeps the sigmoid of its logits, so that it is not timed after the first draw, as Categorical keeps its softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import counterparts
import torch
from results import size_label

import rsample.distributions

# The reference first: a ratio is the first's time over the second's.
LIBRARIES: dict[str, Callable[[str], Any]] = {
    "torch": counterparts.constructor,
    "rsample": lambda name: getattr(rsample.distributions, name),
}

# All classes that draw, and none of what is torch's.
FAMILIES = sorted(
    name for name in rsample.distributions.__all__ if hasattr(LIBRARIES["rsample"](name), "sample_with_log_prob")
)

# The interval in which a parameter's numbers lie; of others, that of the class's example.
RANGES = {
    "loc": (0.1, 0.9),
    "scale": (1.1, 1.9),
    "low": (0.1, 0.9),
    "high": (1.1, 1.9),
    "rate": (1.1, 1.9),
    "alpha": (1.1, 1.9),
    "concentration": (0.1, 0.9),
    "concentration0": (1.1, 1.9),
    "concentration1": (1.1, 1.9),
    "probs": (0.1, 0.9),
    "logits": (0.1, 0.9),
    "df": (3.0, 9.0),
    "df1": (3.0, 9.0),
    "df2": (3.0, 9.0),
    "total_count": (100.0, 100.0),
    "cov_factor": (0.1, 0.9),
    "cov_diag": (1.1, 1.9),
}
# Other intervals, where another algorithm is at work.
VARIANTS = {"large rate": {"rate": (80.0, 120.0)}}
A_FACTOR_PER_ROW = "a factor per row"  # the variant with a matrix of its own for every row
# Parameters with one value for all samples, or one matrix.
SHARED = {"temperature", "scale_tril", "cov_factor", "cov_diag"}
TEMPERATURE = 0.5
RANK = 8  # of a covariance factor

Shape = tuple[int, ...]
Sweep = tuple[tuple[torch.dtype, Shape], ...]


def _sweep(dtype: torch.dtype, *exponents: int) -> Sweep:
    return tuple((dtype, (2**e,)) for e in exponents)


# Numbers of samples are powers of two. The first three distributions are measured at many and in every dtype; the rest
# where a call is all overhead, where compiled loops begin, and where a ratio is required and beyond.
FULL = (
    *_sweep(torch.float32, 10, 12, 14, 16, 18, 20, 22, 24),
    *_sweep(torch.bfloat16, 14, 20),
    *_sweep(torch.float16, 14, 20),
    *_sweep(torch.float64, 14, 20),
)
SHORT = _sweep(torch.float32, 10, 14, 20, 22)
OVERHEAD = _sweep(torch.float32, 10)
# Rows of categories, all of which count as samples: a language model's logits, one long row, many short ones.
SHORT_ROWS = ((torch.float32, (4096, 128)),)
ROWS = ((torch.float32, (64, 50257)), (torch.float32, (1, 262144)), *SHORT_ROWS)
# Rows that a matrix is multiplied by: short, long enough for a matrix library, and one; and with a matrix each.
PRODUCTS = ((torch.float32, (4096, 3)), (torch.float32, (4096, 64)), (torch.float32, (1, 1024)), *SHORT_ROWS)
FACTORS = ((torch.float32, (4096, 16)),)
ROW_SWEEPS = (SHORT_ROWS, ROWS, PRODUCTS, FACTORS)


@dataclass(frozen=True)
class Draw:
    """One way of drawing.

    Attributes:
        distribution: a class of rsample.distributions.
        parameters: the names of its arguments, with blanks between them.
        method: "rsample", or "sample" where there is no other or it is the one to time.
        variant: which intervals the parameters' numbers lie in, see VARIANTS; or A_FACTOR_PER_ROW.
        work: what is timed besides the draw: "" for nothing; "construct" for the distribution's construction, with its
            default validation; "graph" for the recording of a graph; "backward" for the parameters' gradients, given
            the sample's; "log_prob" for the sample's log-density.
        sweep: dtypes and shapes.
    """

    distribution: str
    parameters: str
    method: str = "rsample"
    work: str = ""
    sweep: Sweep = SHORT
    variant: str = ""

    @property
    def name(self) -> str:
        alternative = {"probs", "logits"}.intersection(self.parameters.split())
        given = f"({alternative.pop()})" if alternative else ""
        return ", ".join(filter(None, (f"{self.distribution}{given}.{self.method}", self.work, self.variant)))

    @property
    def moved(self) -> int:
        """Numbers per sample that must cross memory whatever the implementation.

        Parameters are read and the sample is written; of a backward pass the gradient is read and the parameters' are
        written. A category's number, one per row, does not count, nor does a row's matrix.
        """
        dense = len([name for name in self.parameters.split() if name not in SHARED])
        written = 0 if self.distribution == "Categorical" else 1
        return dense + written + {"backward": 1 + dense, "log_prob": written}.get(self.work, 0)

    def parameters_of(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
        """The parameters by their names, wanting gradients where these are timed."""
        ranges = _ranges(self.distribution) | RANGES | VARIANTS.get(self.variant, {})
        parameters: dict[str, Any] = {
            name: _parameter(name, ranges, shape, dtype, device) for name in self.parameters.split()
        }
        if self.variant == A_FACTOR_PER_ROW:
            factor = parameters["scale_tril"]
            parameters["scale_tril"] = factor.expand(*shape[:-1], *factor.shape).contiguous()
        if self.distribution == "Multinomial":
            parameters["total_count"] = 100  # takes one number for all
        if self.work in ("graph", "backward"):
            for parameter in parameters.values():
                parameter.requires_grad_()
        return parameters

    def distribution_of(self, library: str, parameters: dict[str, Any]) -> Any:
        """The distribution that is drawn from."""
        return LIBRARIES[library](self.distribution)(**parameters)

    def setup(self, library: str, shape: Shape, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
        """Makes what is timed."""
        parameters = self.parameters_of(shape, dtype, device)
        distribution = self.distribution_of(library, parameters)
        draw = getattr(distribution, self.method)
        if self.work == "backward":
            grad = torch.ones(shape, dtype=dtype, device=device)
            return lambda: torch.autograd.grad(draw(), list(parameters.values()), grad)
        if self.work == "construct":
            return lambda: getattr(self.distribution_of(library, parameters), self.method)()
        if self.work == "log_prob":
            if library == "rsample":
                return getattr(distribution, f"{self.method}_with_log_prob")
            return lambda: distribution.log_prob(draw())
        return draw


def _ranges(family: str) -> dict[str, tuple[float, float]]:
    given = [item for example in LIBRARIES["rsample"](family)._examples for item in example.parameters.items()]
    return {name: value[:2] for name, value in given if isinstance(value, tuple)}


def _parameter(
    name: str, ranges: dict[str, tuple[float, float]], shape: Shape, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    generator = torch.Generator(device).manual_seed(0)
    if name == "temperature":
        return torch.tensor(TEMPERATURE, dtype=dtype, device=device)
    if name == "scale_tril":
        factor = torch.rand(shape[-1], shape[-1], generator=generator, device=device) / shape[-1]
        return (torch.tril(factor) + torch.eye(shape[-1], device=device)).to(dtype)
    if name in SHARED:
        shape = (shape[-1], RANK) if name == "cov_factor" else shape[-1:]
    low, high = ranges[name]
    return torch.rand(shape, generator=generator, device=device).mul_(high - low).add_(low).to(dtype)


# Where there is more to measure than a plain draw of the usual sizes.
_CHOSEN = (
    Draw("Normal", "loc scale", sweep=FULL),
    Draw("Normal", "loc scale", work="backward", sweep=FULL),
    Draw("Normal", "loc scale", "sample", sweep=FULL),
    Draw("Uniform", "low high", sweep=FULL),
    Draw("Uniform", "low high", work="backward", sweep=FULL),
    Draw("Bernoulli", "probs", "sample", sweep=FULL),
    Draw("Bernoulli", "logits", "sample", sweep=FULL),
    # What building a graph costs where nothing else does; the backward pass is not in it.
    Draw("Normal", "loc scale", work="graph", sweep=OVERHEAD),
    Draw("Uniform", "low high", work="graph", sweep=OVERHEAD),
    *(
        Draw(family, parameters, method, work="construct", sweep=OVERHEAD)
        for family, parameters, method in (
            ("Normal", "loc scale", "rsample"),
            ("Bernoulli", "logits", "sample"),
            ("Gamma", "concentration rate", "rsample"),
            ("Categorical", "logits", "sample"),
        )
    ),
    Draw("Gamma", "concentration rate", work="backward", sweep=_sweep(torch.float32, 20)),
    Draw("Beta", "concentration1 concentration0", work="backward", sweep=_sweep(torch.float32, 20)),
    Draw("Poisson", "rate", "sample", variant="large rate"),
    # Against rsample() and then log_prob(), or sample() where there is nothing to differentiate.
    Draw("Normal", "loc scale", work="log_prob"),
    Draw("TanhNormal", "loc scale", work="log_prob"),
    Draw("Gumbel", "loc scale", work="log_prob"),
    Draw("Bernoulli", "logits", "sample", work="log_prob"),
    Draw("Categorical", "logits", "sample", sweep=ROWS),
    Draw("Categorical", "logits", "sample", work="log_prob", sweep=SHORT_ROWS),
    Draw("OneHotCategorical", "logits", "sample", sweep=SHORT_ROWS),
    Draw("OneHotCategoricalStraightThrough", "logits", sweep=SHORT_ROWS),
    Draw("RelaxedOneHotCategorical", "temperature logits", sweep=SHORT_ROWS),
    Draw("ExpRelaxedCategorical", "temperature logits", sweep=SHORT_ROWS),
    Draw("Dirichlet", "concentration", sweep=SHORT_ROWS),
    Draw("Multinomial", "logits", "sample", sweep=SHORT_ROWS),
    Draw("MultivariateNormal", "loc scale_tril", sweep=PRODUCTS),
    Draw("MultivariateNormal", "loc scale_tril", work="backward", sweep=PRODUCTS),
    Draw("MultivariateNormal", "loc scale_tril", sweep=FACTORS, variant=A_FACTOR_PER_ROW),
    Draw("MultivariateNormal", "loc scale_tril", work="backward", sweep=FACTORS, variant=A_FACTOR_PER_ROW),
    Draw("LowRankMultivariateNormal", "loc cov_factor cov_diag", sweep=SHORT_ROWS),
    Draw("LogisticNormal", "loc scale", sweep=SHORT_ROWS),
)


def plain_draws(family: str) -> list[Draw]:
    """The draws of a class with each choice of parameters; none of one that is made of others, or of matrices."""
    cls = LIBRARIES["rsample"](family)
    torchs = counterparts.constructor(family)
    reparameterised = cls.has_rsample is not False and not counterparts.only_samples(torchs)
    draws = []
    method = "rsample" if reparameterised else "sample"
    for example in cls._examples:
        values = example.parameters.items()
        known = (isinstance(value, tuple) or name in RANGES or name in SHARED for name, value in values)
        if all(known) and not any(callable(value) for _, value in values):
            sweep = SHORT_ROWS if example.has_rows else SHORT
            draws.append(Draw(family, " ".join(example.parameters), method, sweep=sweep))
    return draws


_COVERED = {draw.distribution for draw in _CHOSEN if not (draw.work or draw.variant)}
DRAWS = (
    *_CHOSEN,
    *(
        draw
        for family in FAMILIES
        if family not in _COVERED and counterparts.constructor(family) is not None
        for draw in plain_draws(family)
    ),
)


@dataclass(frozen=True)
class Case:
    """One draw of one shape and dtype, which both libraries run."""

    draw: Draw
    dtype: torch.dtype
    shape: Shape

    @property
    def n(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def bytes_moved(self) -> int:
        return self.draw.moved * self.dtype.itemsize * self.n

    def setup(self, library: str, device: torch.device) -> Callable[[], object]:
        return self.draw.setup(library, self.shape, self.dtype, device)

    def __str__(self) -> str:
        return f"{self.draw.name} {self.dtype_name} {size_label(str(self.shape))}"


def cases(exponents: set[int] | None = None) -> list[Case]:
    """All cases, or those of 2**e samples for e in `exponents`, in float32 also where the sweep has none of them."""
    return [Case(draw, *swept) for draw in DRAWS for swept in _chosen(draw, exponents)]


def _chosen(draw: Draw, exponents: set[int] | None) -> Sweep:
    if exponents is None:
        return draw.sweep
    if draw.sweep in ROW_SWEEPS:
        # Rows as short as those of the sweep.
        log_width = 4 if draw.sweep == FACTORS else 7
        return tuple((torch.float32, (2 ** max(e - log_width, 0), 2**log_width)) for e in sorted(exponents))
    numbers = {2**e for e in exponents}
    swept = tuple((dtype, shape) for dtype, shape in draw.sweep if math.prod(shape) in numbers)
    if draw.sweep == OVERHEAD:
        return swept
    others = tuple((dtype, shape) for dtype, shape in swept if dtype != torch.float32)
    return _sweep(torch.float32, *sorted(exponents)) + others
