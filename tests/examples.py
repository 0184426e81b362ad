"""One row per distribution: valid parameters, its law, its map's formula in float64, and its twin in torch.

The tests of all families run over this table. The formulas are numpy's and scipy's, on noise in float64, and import
nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributions as td
from scipy import special, stats
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

import rsample.distributions as dist
from rsample.kernels.maps.map import Map


@dataclass(frozen=True)
class Example:
    """One distribution with one choice of parameters.

    Attributes:
        family: the class's name in rsample.distributions.
        ranges: for each parameter, in the map's order, the range that tests take its values from.
        formula: `(noise, *params) -> sample` in float64.
        law: `(**params) -> ` the law as scipy has it, of numbers.
        twin: `(**params) -> ` torch's distribution, of tensors.
        rounding: how many float32 roundings of max(|x|, 1) the float32 sample may be from the formula.
        coarse: what GPU code may be off in addition, absolute: the coarse exponential is within 3e-4 relative, of which
            a logarithm makes as much absolute, times a scale of up to 2.5.
        lower, upper: open bounds of the sample.
    """

    family: str
    ranges: Mapping[str, tuple[float, float]]
    formula: Callable[..., np.ndarray]
    law: Callable[..., Any]
    twin: Callable[..., td.Distribution] | None
    rounding: float = 16
    coarse: float = 0.0
    lower: float = -math.inf
    upper: float = math.inf

    def __str__(self) -> str:
        return f"{self.family}({', '.join(self.ranges)})"

    def values(self, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64, seed: int = 0) -> list:
        """A tensor of valid values of each parameter, evenly spread over its range in an order of its own."""
        generator = torch.Generator().manual_seed(seed)
        tensors = []
        for low, high in self.ranges.values():
            n = math.prod(shape)
            spread = (torch.randperm(n, generator=generator) + 0.5).double() / max(n, 1)
            tensors.append((low + (high - low) * spread).reshape(shape).to(dtype))
        return tensors

    def make(self, *params: Any, **options: Any) -> Any:
        return getattr(dist, self.family)(**dict(zip(self.ranges, params, strict=True)), **options)

    def make_twin(self, *params: Any) -> td.Distribution:
        assert self.twin is not None
        return self.twin(**dict(zip(self.ranges, params, strict=True)))

    @property
    def map(self) -> Map:
        return self.make(*self.values())._draw_with()[0].map


def _expit(y):
    return special.expit(y)


def _logit(p):
    return special.logit(p)


def _logistic(t):
    p = np.abs(t)
    # copysign of the magnitude: log-odds of p are negative.
    return np.sign(t) * (np.log1p(-p) - np.log(p))


class _Kumaraswamy:
    def __init__(self, a, b):
        self.a, self.b = a, b

    def cdf(self, x):
        return -np.expm1(self.b * np.log1p(-(x**self.a)))


class _Tanh:
    """The law of tanh(z), z normal."""

    def __init__(self, loc, scale):
        self.z = stats.norm(loc, scale)

    def cdf(self, x):
        return self.z.cdf(np.arctanh(x))


class _Sigmoid:
    """The law of sigmoid(y), y logistic."""

    def __init__(self, loc, scale):
        self.y = stats.logistic(loc, scale)

    def cdf(self, x):
        return self.y.cdf(special.logit(x))


def _continuous_bernoulli(t, logits):
    u = np.where(t > 0, t, 1 + t)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(logits) < 1e-8, u + logits * u * (1 - u) / 2, np.log1p(u * np.expm1(logits)) / logits)


class _ContinuousBernoulli:
    def __init__(self, logits):
        self.logits = logits

    def cdf(self, x):
        return np.expm1(self.logits * x) / np.expm1(self.logits)


def _truncated_normal(t, loc, scale, low, high):
    u, v = np.where(t > 0, t, 1 + t), np.where(t > 0, 1 - t, -t)
    a, b = (low - loc) / scale, (high - loc) / scale
    below, above = v * special.ndtr(a) + u * special.ndtr(b), v * special.ndtr(-a) + u * special.ndtr(-b)
    return loc + scale * np.where(below < 0.5, special.ndtri(below), -special.ndtri(above))


# The stream contract bounds normal noise by 2e-5; measured are 5e-6 or 80 roundings, times a scale of up to 2.5.
NORMAL_ROUNDING = 256
REAL, POSITIVE_RANGE = (-1.5, 1.5), (0.4, 2.5)
LOC_SCALE = {"loc": REAL, "scale": POSITIVE_RANGE}
PROBS, LOGITS = {"probs": (0.05, 0.95)}, {"logits": (-3.0, 3.0)}
TEMPERATURE = {"temperature": (0.4, 1.5)}

EXAMPLES = [
    Example(
        "Normal", LOC_SCALE, lambda e, loc, scale: loc + scale * e, stats.norm, td.Normal, rounding=NORMAL_ROUNDING
    ),
    Example(
        "Uniform",
        {"low": (-2.0, 0.0), "high": (0.5, 3.0)},
        lambda u, low, high: low + (high - low) * u,
        lambda low, high: stats.uniform(low, high - low),
        td.Uniform,
        rounding=4,
    ),
    Example(
        "Laplace", LOC_SCALE, lambda t, m, b: m - b * np.sign(t) * np.log(2 * np.abs(t)), stats.laplace, td.Laplace
    ),
    Example("Cauchy", LOC_SCALE, lambda t, m, b: m + b / np.tan(np.pi * t), stats.cauchy, td.Cauchy),
    Example("Gumbel", LOC_SCALE, lambda x, m, b: m - b * np.log(x), stats.gumbel_r, td.Gumbel, coarse=8e-4),
    Example("Logistic", LOC_SCALE, lambda t, m, s: m + s * _logistic(t), stats.logistic, None),
    Example(
        "HalfNormal",
        {"scale": POSITIVE_RANGE},
        lambda e, s: s * np.abs(e),
        lambda scale: stats.halfnorm(0, scale),
        td.HalfNormal,
        rounding=NORMAL_ROUNDING,
    ),
    Example(
        "HalfCauchy",
        {"scale": POSITIVE_RANGE},
        lambda t, s: s * np.abs(1 / np.tan(np.pi * t)),
        lambda scale: stats.halfcauchy(0, scale),
        td.HalfCauchy,
    ),
    Example(
        "LogNormal",
        LOC_SCALE,
        lambda e, m, s: np.exp(m + s * e),
        lambda loc, scale: stats.lognorm(scale, 0, math.exp(loc)),
        td.LogNormal,
        rounding=NORMAL_ROUNDING,
        lower=0.0,
    ),
    Example(
        "TanhNormal",
        LOC_SCALE,
        lambda e, m, s: np.tanh(m + s * e),
        _Tanh,
        lambda loc, scale: td.TransformedDistribution(td.Normal(loc, scale), td.TanhTransform()),
        rounding=NORMAL_ROUNDING,
        lower=-1.0,
        upper=1.0,
    ),
    Example(
        "Exponential",
        {"rate": POSITIVE_RANGE},
        lambda x, rate: x / rate,
        lambda rate: stats.expon(0, 1 / rate),
        td.Exponential,
        lower=0.0,
    ),
    Example(
        "Weibull",
        {"scale": POSITIVE_RANGE, "concentration": (0.7, 2.5)},
        lambda x, s, k: s * x ** (1 / k),
        lambda scale, concentration: stats.weibull_min(concentration, 0, scale),
        td.Weibull,
        rounding=64,
        lower=0.0,
    ),
    Example(
        "Pareto",
        {"scale": POSITIVE_RANGE, "alpha": (0.8, 3.0)},
        lambda x, m, a: m * np.exp(x / a),
        lambda scale, alpha: stats.pareto(alpha, 0, scale),
        td.Pareto,
        rounding=128,
    ),
    Example(
        "GeneralizedPareto",
        {"loc": REAL, "scale": POSITIVE_RANGE, "concentration": (-0.8, 0.8)},
        lambda x, m, s, c: m + s * np.expm1(c * x) / c,
        lambda loc, scale, concentration: stats.genpareto(concentration, loc, scale),
        None,  # torch's does not take float64
        rounding=64,
    ),
    Example(
        "Kumaraswamy",
        {"concentration1": (0.6, 2.5), "concentration0": (0.6, 2.5)},
        lambda x, a, b: (-np.expm1(-x / b)) ** (1 / a),
        lambda concentration1, concentration0: _Kumaraswamy(concentration1, concentration0),
        td.Kumaraswamy,
        lower=0.0,
        upper=1.0,
    ),
    Example(
        "ContinuousBernoulli",
        PROBS,
        lambda t, p: _continuous_bernoulli(t, _logit(p)),
        lambda probs: _ContinuousBernoulli(_logit(probs)),
        lambda probs: td.ContinuousBernoulli(probs),
    ),
    Example(
        "ContinuousBernoulli",
        LOGITS,
        _continuous_bernoulli,
        _ContinuousBernoulli,
        lambda logits: td.ContinuousBernoulli(logits=logits),
    ),
    Example(
        "TruncatedNormal",
        {"loc": REAL, "scale": POSITIVE_RANGE, "low": (-3.0, -1.0), "high": (0.0, 2.0)},
        _truncated_normal,
        lambda loc, scale, low, high: stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale),
        None,
        rounding=64,
    ),
    Example(
        "RelaxedBernoulli",
        {**TEMPERATURE, **PROBS},
        lambda t, temperature, p: _expit((_logit(p) + _logistic(t)) / temperature),
        lambda temperature, probs: _Sigmoid(_logit(probs) / temperature, 1 / temperature),
        lambda temperature, probs: td.RelaxedBernoulli(temperature, probs),
        lower=0.0,
        upper=1.0,
    ),
    Example(
        "RelaxedBernoulli",
        {**TEMPERATURE, **LOGITS},
        lambda t, temperature, logits: _expit((logits + _logistic(t)) / temperature),
        lambda temperature, logits: _Sigmoid(logits / temperature, 1 / temperature),
        lambda temperature, logits: td.RelaxedBernoulli(temperature, logits=logits),
        lower=0.0,
        upper=1.0,
    ),
    Example(
        "LogitRelaxedBernoulli",
        {**TEMPERATURE, **PROBS},
        lambda t, temperature, p: (_logit(p) + _logistic(t)) / temperature,
        lambda temperature, probs: stats.logistic(_logit(probs) / temperature, 1 / temperature),
        lambda temperature, probs: LogitRelaxedBernoulli(temperature, probs),
        rounding=32,
    ),
    Example(
        "LogitRelaxedBernoulli",
        {**TEMPERATURE, **LOGITS},
        lambda t, temperature, logits: (logits + _logistic(t)) / temperature,
        lambda temperature, logits: stats.logistic(logits / temperature, 1 / temperature),
        lambda temperature, logits: LogitRelaxedBernoulli(temperature, logits=logits),
        rounding=32,
    ),
    Example("Bernoulli", PROBS, lambda u, p: (u < p) * 1.0, lambda probs: stats.bernoulli(probs), td.Bernoulli),
    Example(
        "Bernoulli",
        LOGITS,
        lambda u, x: (u < _expit(x)) * 1.0,
        lambda logits: stats.bernoulli(_expit(logits)),
        lambda logits: td.Bernoulli(logits=logits),
    ),
    Example("BernoulliStraightThrough", PROBS, lambda u, p: (u < p) * 1.0, lambda probs: stats.bernoulli(probs), None),
    Example(
        "BernoulliStraightThrough",
        LOGITS,
        lambda u, x: (u < _expit(x)) * 1.0,
        lambda logits: stats.bernoulli(_expit(logits)),
        None,
    ),
    Example(
        "Geometric", PROBS, lambda x, p: np.floor(x / -np.log1p(-p)), lambda probs: stats.geom(probs, -1), td.Geometric
    ),
    Example(
        "Geometric",
        LOGITS,
        lambda x, logits: np.floor(x / np.logaddexp(0, logits)),
        lambda logits: stats.geom(_expit(logits), -1),
        lambda logits: td.Geometric(logits=logits),
    ),
]
DISCRETE = {"Bernoulli", "BernoulliStraightThrough", "Geometric"}
