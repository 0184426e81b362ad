"""The ratios that the CPU backends have to reach on two threads, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from results import Pair

# torch's time over ours, at least; float32 samples, as many as these.
LARGE = {
    20: {
        "Normal.rsample": 2.5,
        "Normal.rsample, backward": 1.5,
        "Uniform.rsample": 3.5,
        "Uniform.rsample, backward": 2.0,
        "Bernoulli(probs).sample": 10.0,
        "Bernoulli(logits).sample": 10.0,
        "LogNormal.rsample": 2.7,
        "HalfNormal.rsample": 2.7,
        "Laplace.rsample": 2.8,
        "Logistic.rsample": 3.2,
        "Gumbel.rsample": 3.3,
        "Cauchy.rsample": 12.0,
        "Exponential.rsample": 13.0,
        "Weibull.rsample": 11.0,
        "Pareto.rsample": 11.0,
        "Kumaraswamy.rsample": 2.3,
        "ContinuousBernoulli(probs).rsample": 4.0,
        "ContinuousBernoulli(logits).rsample": 4.0,
        "Geometric(probs).sample": 3.3,
        "Geometric(logits).sample": 3.3,
        "RelaxedBernoulli(probs).rsample": 3.5,
        "RelaxedBernoulli(logits).rsample": 3.5,
        "Gamma.rsample": 4.0,
        "Beta.rsample": 4.0,
        "VonMises.sample": 9.0,
        "Poisson.sample": 4.0,
        "Poisson.sample, large rate": 2.3,
        "Binomial(probs).sample": 2.2,
        "Binomial(logits).sample": 2.2,
    },
    22: {
        "Normal.rsample": 2.5,
        "Normal.rsample, backward": 1.5,
        "Uniform.rsample": 3.5,
        "Bernoulli(probs).sample": 10.0,
        "Bernoulli(logits).sample": 10.0,
    },
}

# The same for rows x categories.
ROWS = {
    (64, 50257): {"Categorical(logits).sample": 8.0},
    (1, 262144): {"Categorical(logits).sample": 9.0},
    (4096, 128): {"Categorical(logits).sample": 9.0, "Dirichlet.rsample": 4.0},
    (4096, 3): {"MultivariateNormal.rsample": 1.0, "MultivariateNormal.rsample, backward": 1.0},
    (4096, 16): {
        "MultivariateNormal.rsample, a factor per row": 1.0,
        "MultivariateNormal.rsample, backward, a factor per row": 1.0,
    },
    (4096, 64): {"MultivariateNormal.rsample": 1.0, "MultivariateNormal.rsample, backward": 1.0},
    (1, 1024): {"MultivariateNormal.rsample": 1.0, "MultivariateNormal.rsample, backward": 1.0},
}

# Where one call is all overhead: our time is at most this many times torch's.
SMALL = {
    10: {
        "Normal.rsample": 2.5,
        "Normal.sample": 2.5,
        "Uniform.rsample": 2.5,
        "Bernoulli(probs).sample": 2.5,
        "Bernoulli(logits).sample": 2.5,
        "Normal.rsample, construct": 1.0,
        "Normal.rsample, graph": 4.0,
        "Uniform.rsample, graph": 4.0,
    },
}


def _required() -> dict[tuple[str, str], float]:
    """The ratio required of each draw and shape, as a row of the results names them."""
    large = {(draw, str((2**e,))): ratio for e, draws in LARGE.items() for draw, ratio in draws.items()}
    rows = {(draw, str(shape)): ratio for shape, draws in ROWS.items() for draw, ratio in draws.items()}
    small = {(draw, str((2**e,))): 1 / times for e, draws in SMALL.items() for draw, times in draws.items()}
    return {**large, **rows, **small}


REQUIRED = _required()


@dataclass(frozen=True)
class Verdict:
    """One requirement and the pair that it is about. `required` is a ratio, torch's time over ours."""

    pair: Pair
    required: float

    @property
    def met(self) -> bool:
        return self.pair.rsample.ratio >= self.required


def required_of(pair: Pair) -> float | None:
    """The ratio that a pair has to reach, if any."""
    row = pair.rsample
    return REQUIRED.get((row.draw, row.shape)) if row.dtype == "float32" else None


def verdicts(pairs: list[Pair]) -> list[Verdict]:
    """A verdict for every requirement whose case was measured."""
    return [Verdict(pair, required) for pair in pairs if (required := required_of(pair)) is not None]
