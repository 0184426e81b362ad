"""The gradients that are derived from formulas: the rule of each operation against autograd."""

from __future__ import annotations

import math

import pytest
import torch

from rsample.kernels.derivatives import _RULES, gradient
from rsample.kernels.device_functions import source
from rsample.kernels.translate import OPERATIONS, traced

POINTS = torch.tensor([-2.5, -1.0, -0.25, 0.5, 1.5, 3.0], dtype=torch.float64)
OTHERS = torch.tensor([0.75, -1.5, 0.5, 2.0, -0.125, 1.25], dtype=torch.float64)

# One formula for each rule, of a parameter p and another one q.
FORMULAS = {
    "add": lambda x, p, q: p + q + 1,
    "sub": lambda x, p, q: 1 - (p - q),
    "mul": lambda x, p, q: p * q * 3,
    "div": lambda x, p, q: p / q + 2 / p,
    "addcmul": lambda x, p, q: torch.addcmul(p, q, x) + torch.addcmul(x, p, q),
    "pow": lambda x, p, q: torch.abs(p) ** q + torch.abs(q) ** 2,
    "neg": lambda x, p, q: -p,
    "reciprocal": lambda x, p, q: torch.reciprocal(p),
    "abs": lambda x, p, q: torch.abs(p),
    "sqrt": lambda x, p, q: torch.sqrt(p * p + 1),
    "rsqrt": lambda x, p, q: torch.rsqrt(p * p + 1),
    "exp": lambda x, p, q: torch.exp(p),
    "expm1": lambda x, p, q: torch.expm1(p * q),
    "log": lambda x, p, q: torch.log(torch.abs(p)),
    "log1p": lambda x, p, q: torch.log1p(p * p),
    "tanh": lambda x, p, q: torch.tanh(p),
    "sin": lambda x, p, q: torch.sin(p),
    "cos": lambda x, p, q: torch.cos(p),
    "tan": lambda x, p, q: torch.tan(p),
    "atan": lambda x, p, q: torch.atan(p),
    "erf": lambda x, p, q: torch.erf(p),
    "floor": lambda x, p, q: torch.floor(p) + q,
    "copysign": lambda x, p, q: torch.copysign(p, x * q),
    "where": lambda x, p, q: torch.where(p < q, p * q, q) + torch.where(p < 1, 1.0, 0.0),
    "maximum": lambda x, p, q: torch.maximum(p, q),
    "minimum": lambda x, p, q: torch.minimum(p, x * q),
    "clamp": lambda x, p, q: (
        torch.clamp(p, -1.5, 2.0) + torch.clamp(q, -math.inf, 1.0) + torch.clamp(p, 0.25, math.inf)
    ),
}


def test_every_operation_of_numbers_has_a_rule():
    comparisons = {"lt", "le", "gt", "ge", "eq", "ne", "or"}
    assert set(_RULES) == set(OPERATIONS) - comparisons == set(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_rules_against_autograd(name):
    formula = FORMULAS[name]
    assert name in {step.name for step in traced(formula, 2, torch.float64).steps}
    x, grad = OTHERS.flip(0), torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    derived = gradient(formula)

    def autograds(p, q):
        return torch.func.vjp(lambda p, q: formula(x, p, q), p, q)[1](grad)

    # A few roundings of numbers below 1e3, of which the second derivatives take more.
    torch.testing.assert_close(derived(x, grad, POINTS, OTHERS), autograds(POINTS, OTHERS), rtol=1e-13, atol=1e-13)
    second, expected = (
        torch.func.grad(lambda p, q, of=of: sum(g.sum() for g in of(p, q)), (0, 1))(POINTS, OTHERS)
        for of in (lambda p, q: derived(x, grad, p, q), autograds)
    )
    torch.testing.assert_close(second, expected, rtol=1e-12, atol=1e-12)


def test_parameters_that_broadcast_get_a_number_for_each_element():
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    of_loc, of_scale = gradient(lambda x, loc, scale: loc + scale * x)(
        x, torch.ones(3, 4), torch.zeros(4), torch.ones(3, 1)
    )
    assert of_loc.shape == of_scale.shape == (3, 4)
    assert torch.equal(of_scale, x)


def test_what_a_formula_does_not_read_has_the_gradient_zero():
    derived = gradient(lambda x, p, q: p * x)
    assert torch.equal(derived(POINTS, OTHERS, POINTS, OTHERS)[1], torch.zeros(6, dtype=torch.float64))


def test_a_derived_gradient_is_printed_for_a_gpu():
    formula = lambda x, loc, scale: torch.exp(loc + scale * x)  # noqa: E731
    text = source("a_grad", gradient(formula), ("noise", "grad", "loc", "scale"))
    assert text.count("exp(") == 1
    assert text.rstrip().split("return ")[1].count(",") == 1
