"""Gauss and Legendre's rule, for the integrals that implicit gradients are made of."""

from __future__ import annotations

import math


def gauss_legendre(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights on [0, 1], by Newton's method on the Legendre polynomial of degree n."""
    nodes, weights = [], []
    for i in range(n):
        x, slope = math.cos(math.pi * (i + 0.75) / (n + 0.5)), 1.0
        for _ in range(10):
            before, p = 1.0, x
            for k in range(2, n + 1):
                before, p = p, ((2 * k - 1) * x * p - (k - 1) * before) / k
            slope = n * (x * p - before) / (x * x - 1)
            x -= p / slope
        nodes.append((1 - x) / 2)
        weights.append(1 / ((1 - x * x) * slope * slope))
    return tuple(nodes), tuple(weights)


# For float32 and for float64: the rule, and minus the exponent beyond which an integrand exp(-...) is left out. On an
# exponential that decays by that much over the interval the rule is exact to 1e-7, and to 1e-14.
RULE, RULE64 = gauss_legendre(12), gauss_legendre(28)
CUTOFF, CUTOFF64 = 17.0, 38.0
