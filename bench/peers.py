"""What users of other libraries write for the ten draws: numpy, and JAX where it is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Any

from cases import Draw
from torch import Tensor

# One call of a draw; and what makes it of a draw and its parameters on the CPU, or None where a library has none.
Call = Callable[[], object]
Peer = Callable[[Draw, Mapping[str, Tensor]], Call | None]


def installed() -> dict[str, Peer]:
    """The libraries that can be imported here."""
    return {name: peer for name, peer in {"numpy": of_numpy, "jax": of_jax}.items() if importlib.util.find_spec(name)}


def of_numpy(draw: Draw, parameters: Mapping[str, Tensor]) -> Call | None:
    """A draw by a PCG64 generator, in the parameters' dtype where numpy has it; it has no gradients."""
    import numpy as np

    rng = np.random.default_rng(0)

    def probabilities(logits: Any) -> Any:
        return 1 / (1 + np.exp(-logits))

    def dirichlet(concentration: Any) -> Any:
        gammas = rng.standard_gamma(concentration, dtype=concentration.dtype)
        return gammas / gammas.sum(-1, keepdims=True)

    def bernoulli(logits: Any) -> Call:
        probs = probabilities(logits)  # once, as torch keeps it too
        return lambda: (rng.random(probs.shape, dtype=probs.dtype) < probs).astype(probs.dtype)

    draws: dict[str, Callable[..., Call]] = {
        "Normal.rsample": lambda loc, scale: lambda: loc + scale * rng.standard_normal(loc.shape, dtype=loc.dtype),
        "Bernoulli(logits).sample": bernoulli,
        "Gamma.rsample": lambda concentration, rate: (
            lambda: rng.standard_gamma(concentration, dtype=concentration.dtype) / rate
        ),
        "Beta.rsample": lambda concentration1, concentration0: lambda: rng.beta(concentration1, concentration0),
        "Poisson.sample": lambda rate: lambda: rng.poisson(rate),
        "Categorical(logits).sample": lambda logits: lambda: (logits + rng.gumbel(size=logits.shape)).argmax(-1),
        "Dirichlet.rsample": lambda concentration: lambda: dirichlet(concentration),
        "MultivariateNormal.rsample": lambda loc, scale_tril: (
            lambda: loc + rng.standard_normal(loc.shape, dtype=loc.dtype) @ scale_tril.T
        ),
    }
    found = draws.get(draw.name)
    return found and found(**{name: value.detach().numpy() for name, value in parameters.items()})


def of_jax(draw: Draw, parameters: Mapping[str, Tensor]) -> Call | None:
    """A compiled draw on one thread of the CPU, from one key; with the parameters' gradients where these are timed."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    random = jax.random
    draws: dict[str, Callable[..., Any]] = {
        "Normal.rsample": lambda key, loc, scale: loc + scale * random.normal(key, loc.shape, loc.dtype),
        "Bernoulli(logits).sample": lambda key, logits: random.bernoulli(key, jax.nn.sigmoid(logits)).astype(
            logits.dtype
        ),
        "Gamma.rsample": lambda key, concentration, rate: (
            random.gamma(key, concentration, dtype=concentration.dtype) / rate
        ),
        "Beta.rsample": lambda key, concentration1, concentration0: random.beta(key, concentration1, concentration0),
        "Poisson.sample": lambda key, rate: random.poisson(key, rate),
        "Categorical(logits).sample": lambda key, logits: random.categorical(key, logits),
        "Dirichlet.rsample": lambda key, concentration: random.dirichlet(key, concentration),
        "MultivariateNormal.rsample": lambda key, loc, scale_tril: (
            loc + random.normal(key, loc.shape, loc.dtype) @ scale_tril.T
        ),
    }
    name, _, work = draw.name.partition(", ")
    drawn = draws.get(name)
    if drawn is None:
        return None
    key = random.key(0)
    values = [jax.numpy.asarray(value.detach().numpy()) for value in parameters.values()]
    if work == "backward":
        ones = jax.numpy.ones_like(values[0])
        gradients = jax.jit(lambda key, ones, *values: jax.vjp(lambda *v: drawn(key, *v), *values)[1](ones))
        return lambda: jax.block_until_ready(gradients(key, ones, *values))
    compiled = jax.jit(drawn)
    return lambda: jax.block_until_ready(compiled(key, *values))
