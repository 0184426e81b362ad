"""Formulas that differ from element to element: compiled loops compute what torch picks."""

import pytest
import torch

from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import elementwise as reference
from rsample.kernels.formula.cases import Case, by_case
from rsample.kernels.formula.trace import traced
from rsample.kernels.laws.law import Law
from rsample.kernels.stream.noise import UNIFORM

KEY = torch.tensor([3, 4], dtype=torch.uint64)


def chosen(u, grad, x, y):
    """Of three formulas and two results each; the last one reads what others do not."""
    scale = torch.exp(-y)
    root, other = by_case(
        Case(x < 0.3, lambda a, b: (a + b, a - b), (x, scale)),
        Case(x < 0.6, lambda a: (torch.sqrt(a), a * 2.0), (torch.clamp(x, 0.0, 1.0),)),
        Case(None, lambda a, b, c: (torch.log(a) + c, b), (x, grad, u)),
    )
    return root * scale, other + grad


LAW = Law("chosen", ("x", "y"), UNIFORM, lambda u, x, y: u + x * y, chosen)


def first_alone(u, grad, x, y):
    (only,) = by_case(
        Case(x < y, lambda a, b: (a * 2.0, b)[:1], (x, y)), Case(None, lambda a, b: (a, b)[1:], (grad, u))
    )
    return only, torch.zeros_like(x)


FIRST = Law("first_alone", ("x", "y"), UNIFORM, lambda u, x, y: u + x * y, first_alone)


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.2), (0.4, 0.5), (0.7, 0.9)])
@pytest.mark.parametrize("n", [1, 5, 128, 300, 4099])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("law", [LAW, FIRST], ids=lambda law: law.name)
def test_each_element_takes_its_own(law, dtype, n, values):
    generator = torch.Generator().manual_seed(n)
    grad, x, y = torch.rand(3, n, generator=generator, dtype=dtype).unbind()
    x = values[0] + (values[1] - values[0]) * x
    ours = compiled.backward(law, KEY, (grad,), (x, y), (True, True))
    assert compiled.available(law, dtype)
    expected = reference.backward(law, KEY, (grad,), (x, y), (True, True))
    torch.testing.assert_close(ours, expected, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_a_law_chooses_once():
    def twice(u, x):
        (first,) = by_case(Case(x < 0.5, lambda a: (a,), (x,)), Case(None, lambda a: (-a,), (x,)))
        return by_case(Case(first < 0.5, lambda a: (a,), (x,)), Case(None, lambda a: (-a,), (x,)))

    with pytest.raises(NotImplementedError, match="once"):
        traced(twice, 1, torch.float32)
