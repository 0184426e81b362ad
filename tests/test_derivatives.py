"""Derived gradients against autograd's, of every operation; tensors and compiled code run the same operations."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.formula.derivatives import gradient_of, score_of
from rsample.kernels.formula.elementary import OPERATIONS, VECTOR, operands_of
from rsample.kernels.formula.special import sin_of_quarter
from rsample.kernels.formula.trace import traced
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.log_normal import LOG_NORMAL_LAW
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.stream.noise import CENTERED

N = 64
U, X, Y = (torch.linspace(low, high, N, dtype=torch.float64) for low, high in ((-0.45, 0.45), (0.3, 2.0), (1.5, 0.2)))
FORMULAS = {
    "sums and products": lambda u, x, y: (x + y) * (u - x) - 0.3 * y + 1.5 - x / y + 2 / x + torch.addcmul(u, x, y),
    "roots": lambda u, x, y: torch.sqrt(x) * torch.rsqrt(y) + torch.reciprocal(x * y),
    "exponentials": lambda u, x, y: (
        torch.exp(u * x) * torch.expm1(y) + torch.log(x) * torch.log1p(y) + torch.tanh(x * y) + torch.log2(x + y)
    ),
    "circles": lambda u, x, y: (
        torch.sin(x * y)
        + torch.cos(x + u)
        + torch.tan(0.3 * x)
        + torch.atan(y * u)
        + torch.erf(x - y)
        + sin_of_quarter(x)
    ),
    "powers": lambda u, x, y: x**y + x**2 + 2**y,
    "signs": lambda u, x, y: torch.abs(u - x * y) + torch.copysign(x * y, u) - (-x),
    "choices": lambda u, x, y: torch.where(x > y, x * u, y) + torch.maximum(x, y * y) + torch.minimum(x, 1 / y),
    "bounds": lambda u, x, y: torch.clamp(x * y, 0.41, 0.7) + torch.floor(x) * y,
    "one parameter": lambda u, x, y: u + x,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_are_autograds(name):
    formula, grad = FORMULAS[name], torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    leaves = [p.clone().requires_grad_() for p in (X, Y)]
    expected = torch.autograd.grad(formula(U, *leaves), leaves, grad, materialize_grads=True)
    torch.testing.assert_close(gradient_of(formula)(U, grad, X, Y), expected)


@pytest.mark.parametrize("name", FORMULAS)
def test_compiled_code_runs_the_same_operations(name):
    formula = FORMULAS[name]
    law = Law(f"derived_{name.replace(' ', '_')}", ("x", "y"), CENTERED, formula, gradient_of(formula))
    key, grad = torch.tensor([1, 2], dtype=torch.uint64), torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    ours = compiled.backward(law, key, (grad,), (X, Y), (True, True))
    torch.testing.assert_close(ours, reference.backward(law, key, (grad,), (X, Y), (True, True)))


def test_derived_gradients_can_be_differentiated():
    gradient = gradient_of(FORMULAS["exponentials"])
    leaves = [p[::16].clone().requires_grad_() for p in (X, Y)]
    assert gradcheck(lambda x, y: gradient(U[::16], torch.ones_like(x), x, y), leaves)


def test_the_score_of_a_normal_law():
    density = NORMAL_LAW.density
    noise, grad = torch.linspace(-3, 3, N, dtype=torch.float64), torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    derived = score_of(NORMAL_LAW.reference, density.reference)(noise, grad, X, Y)
    torch.testing.assert_close(derived, density.reference_score(noise, grad, X, Y))


def test_every_operation_has_a_derivative():
    for name in VECTOR:
        operation = OPERATIONS[name]
        assert operation.mask or operation.picks or len(operation.tangents) == operands_of(name), name


def test_parameters_that_broadcast_get_a_number_for_each_element():
    noise = torch.linspace(-1, 1, 12).reshape(3, 4)
    params = torch.zeros(4), torch.ones(3, 1)
    of_loc, of_scale = gradient_of(NORMAL_LAW.reference)(noise, torch.ones(3, 4), *params)
    assert of_loc.shape == of_scale.shape == (3, 4)
    assert torch.equal(of_scale, noise)


def test_what_a_formula_does_not_read_has_the_gradient_zero():
    assert torch.equal(gradient_of(lambda u, x, y: x * u)(U, Y, X, Y)[1], torch.zeros_like(U))


def test_what_parameters_share_is_computed_once():
    steps = traced(gradient_of(LOG_NORMAL_LAW.reference), 3, torch.float32)
    assert [steps.steps[i].name for i in steps.used()].count("mul") == 2


def test_what_is_not_chosen_drops_out():
    def formula(u, x, y):
        far = x > 1
        return torch.where(far, u * y, torch.sqrt(1 - x) * y)

    x, y = torch.tensor([0.75, 1.0, 2.0]), torch.ones(3)
    of_x, of_y = gradient_of(formula)(torch.full((3,), 0.5), torch.ones(3), x, y)
    assert torch.equal(of_x, torch.tensor([-1.0, -math.inf, 0.0]))
    assert torch.equal(of_y, torch.tensor([0.5, 0.0, 0.5]))
