"""The elementary operations of formulas: one table of what each is in torch, in C++, in Triton, and its derivative.

An operation has the name of the torch function that it is, except "or", which is `|`, and what is put in place of
others: the cotangent by :mod:`formula.trace`, and by :mod:`formula.device_functions` what Triton alone has.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Bound(NamedTuple):
    """How far a float32 result may be from the exact one: the sum of a relative and an absolute bound."""

    relative: float
    absolute: float = 0.0


class Elementary(NamedTuple):
    """One operation. Texts have a field for each operand; None stands where there is none.

    Attributes:
        torch: what it is in torch, where that is not the function of its name.
        vector: C++ on vectors `V` of numbers `T`: the functions are those of vectors.h and elementary.h. A comparison
            gives a vector of all-ones or all-zeros lanes.
        number: C++ on numbers `T`, for the loops of laws that are drawn by rejection: the functions are those of
            elementary.h and loops.h.
        device: Triton; the functions are those of devicemath.py, and `dtype` is the noise's.
        tangents: for each operand what its tangent t makes of the result y, `(t, y, *operands)`; None where that is
            nothing.
        picks: of an operation that picks one of its last two operands, which is the first one, `(*operands)`.
        mask: whether the result is one.
        cost: in additions of vectors.
        vector_error: of functions of one number, over the whole range of float32.
        device_error: of the same with the special-function unit of NVIDIA GPUs, to which subnormal numbers are 0.
    """

    vector: str | None = None
    number: str | None = None
    device: str | None = None
    tangents: tuple[Callable[..., Any] | None, ...] = ()
    picks: Callable[..., Any] | None = None
    mask: bool = False
    cost: int = 1
    vector_error: Bound | None = None
    device_error: Bound | None = None
    torch: Callable[..., Any] | None = None


def times(tangent: Any, x: Any) -> Any:
    """Their product; a tangent may be a number."""
    if isinstance(tangent, float) and abs(tangent) == 1:
        return x if tangent > 0 else -x
    return tangent * x


def _log(x: Any) -> Any:
    return math.log(x) if isinstance(x, float) else torch.log(x)


def _tanh_slope(a: Any) -> Any:
    """1 - tanh(a)^2 = 4 w / (1 + w)^2, w = exp(-2 |a|), exact where tanh(a) rounds to 1."""
    w = torch.exp(-2 * torch.abs(a))
    return 4 * w / ((1 + w) * (1 + w))


def _comparison(sign: str) -> Elementary:
    text = f"{{}} {sign} {{}}"
    return Elementary(text, text, text, mask=True)


OPERATIONS: dict[str, Elementary] = {
    # Arithmetic.
    "add": Elementary(
        "{} + {}", "{} + {}", "{} + {}", (lambda t, y, a, b: t, lambda t, y, a, b: t), torch=operator.add
    ),
    "sub": Elementary(
        "{} - {}", "{} - {}", "{} - {}", (lambda t, y, a, b: t, lambda t, y, a, b: -t), torch=operator.sub
    ),
    "mul": Elementary(
        "{} * {}",
        "{} * {}",
        "{} * {}",
        (lambda t, y, a, b: times(t, b), lambda t, y, a, b: times(t, a)),
        torch=operator.mul,
    ),
    "div": Elementary(
        "{} / {}",
        "{} / {}",
        "divide({}, {}, HARDWARE)",
        (lambda t, y, a, b: t / b, lambda t, y, a, b: -times(t, y) / b),
        cost=5,
        torch=operator.truediv,
    ),
    "addcmul": Elementary(
        "rsample::fmadd({1}, {2}, {0})",
        "multiply_add({1}, {2}, {0})",
        None,
        (lambda t, y, a, b, c: t, lambda t, y, a, b, c: times(t, c), lambda t, y, a, b, c: times(t, b)),
    ),
    "neg": Elementary("({}).neg()", "-{}", "negative({})", (lambda t, y, a: -t,)),
    "abs": Elementary("({}).abs()", "libm::fabs({})", "tl.abs({})", (lambda t, y, a: torch.where(a < 0, -t, t),)),
    "copysign": Elementary(
        "rsample::vectors::copysign({}, {})",
        None,
        "copysign({}, {})",
        (lambda t, y, a, b: torch.where(y == a, t, -t), None),
    ),
    "reciprocal": Elementary(
        "({}).reciprocal()",
        "T(1) / {}",
        None,
        (lambda t, y, a: -times(t, y) * y,),
        cost=5,
        vector_error=Bound(6e-8),
    ),
    "sqrt": Elementary(
        "({}).sqrt()",
        "libm::sqrt({})",
        "tl.sqrt({})",
        (lambda t, y, a: 0.5 * t / y,),
        cost=5,
        vector_error=Bound(6e-8),
        device_error=Bound(1.2e-7),
    ),
    "rsqrt": Elementary(
        "({}).rsqrt()",
        "T(1) / libm::sqrt({})",
        "tl.rsqrt({})",
        (lambda t, y, a: -0.5 * times(t, y) / a,),
        cost=8,
        vector_error=Bound(1.2e-7),
        device_error=Bound(2.4e-7),
    ),
    # Functions. That of sines is of the first quarter alone.
    "exp": Elementary(
        "rsample::vectors::exp({})",
        "exp({})",
        "exp({}, HARDWARE)",
        (lambda t, y, a: times(t, y),),
        cost=15,
        vector_error=Bound(1.3e-7),
        device_error=Bound(6e-6, 1.2e-38),
    ),
    "expm1": Elementary(
        "rsample::vectors::expm1({})",
        None,
        "expm1({}, HARDWARE)",
        (lambda t, y, a: times(t, y + 1),),
        cost=15,
        vector_error=Bound(2e-7),
        device_error=Bound(6e-6),
    ),
    "log": Elementary(
        "rsample::vectors::log({})",
        "log({})",
        "log({}, HARDWARE)",
        (lambda t, y, a: t / a,),
        cost=15,
        vector_error=Bound(1e-7),
        device_error=Bound(3.6e-7, 1.7e-7),
    ),
    "log2": Elementary(
        "rsample::vectors::log({}) * V(T(1.4426950408889634))",
        None,
        "log2({}, HARDWARE)",
        (lambda t, y, a: t / (a * math.log(2)),),
        cost=16,
        vector_error=Bound(1.8e-7),
        device_error=Bound(3.6e-7, 2.4e-7),
    ),
    "log1p": Elementary(
        "rsample::vectors::log1p({})",
        "log1p({})",
        "log1p({}, HARDWARE)",
        (lambda t, y, a: t / (1 + a),),
        cost=15,
        vector_error=Bound(1.5e-7),
        device_error=Bound(1.5e-6),
    ),
    "tanh": Elementary(
        "rsample::vectors::tanh({})",
        None,
        "tanh({}, HARDWARE)",
        (lambda t, y, a: times(t, _tanh_slope(a)),),
        cost=15,
        vector_error=Bound(3.5e-7),
        device_error=Bound(1.2e-6, 1.2e-38),
    ),
    "sin": Elementary(
        "({}).sin()", tangents=(lambda t, y, a: times(t, torch.cos(a)),), cost=15, vector_error=Bound(4.2e-7)
    ),
    "cos": Elementary(
        "({}).cos()", tangents=(lambda t, y, a: -times(t, torch.sin(a)),), cost=15, vector_error=Bound(4.2e-7)
    ),
    "tan": Elementary(
        "({}).tan()", tangents=(lambda t, y, a: times(t, 1 + y * y),), cost=15, vector_error=Bound(1.2e-7)
    ),
    "sin_of_quarter": Elementary(
        "({}).sin()", None, "sin_of_quarter({})", (lambda t, y, a: times(t, torch.cos(a)),), cost=15, torch=torch.sin
    ),
    "atan": Elementary(
        "({}).atan()",
        None,
        "atan({})",
        (lambda t, y, a: t / (1 + a * a),),
        cost=15,
        vector_error=Bound(1.2e-7),
        device_error=Bound(2.4e-7),
    ),
    "erf": Elementary(
        "({}).erf()",
        tangents=(lambda t, y, a: (2 / math.sqrt(math.pi)) * times(t, torch.exp(-a * a)),),
        cost=20,
        vector_error=Bound(1e-7, 6e-7),
    ),
    "pow": Elementary(
        "({}).pow({})",
        tangents=(lambda t, y, a, b: times(t, b * a ** (b - 1)), lambda t, y, a, b: times(t, y * _log(a))),
        cost=40,
    ),
    # Cotangents of pi t, in place of the tangent's reciprocal.
    "cotangent": Elementary(None, "cotangent({})", "cotangent({}, HARDWARE)"),
    # Choices.
    "floor": Elementary("({}).floor()", "floor({})", "tl.floor({})", (None,)),
    "where": Elementary(
        "V::blendv({2}, {1}, {0})", "select({}, {}, {})", "tl.where({}, {}, {})", picks=lambda mask, a, b: mask
    ),
    "maximum": Elementary("rsample::maximum({}, {})", None, "maximum({}, {})", picks=lambda a, b: a > b),
    "minimum": Elementary("rsample::minimum({}, {})", None, "minimum({}, {})", picks=lambda a, b: a < b),
    "clamp": Elementary(
        "rsample::clamp({}, {}, {})",
        "clamped({}, {}, {})",
        "minimum(maximum({}, {}), {})",
        (lambda t, y, a, low, high: torch.where(y == a, t, 0.0), None, None),
    ),
    "lt": _comparison("<"),
    "le": _comparison("<="),
    "gt": _comparison(">"),
    "ge": _comparison(">="),
    "eq": _comparison("=="),
    "ne": _comparison("!="),
    "or": Elementary("{} | {}", "{} | {}", "{} | {}", mask=True, torch=operator.or_),
    # Of Triton alone.
    "fma": Elementary(device="tl.fma({}, {}, {})"),
    "fms": Elementary(device="tl.fma({}, {}, negative({}))"),
    "fnma": Elementary(device="tl.fma(negative({}), {}, {})"),
    "indicator": Elementary(device="{}.to({dtype})"),
}

# What formulas may hold: what the C++ loops have.
VECTOR = {name: operation.vector for name, operation in OPERATIONS.items() if operation.vector is not None}
MASKS = {name for name, operation in OPERATIONS.items() if operation.mask}


def operands_of(name: str) -> int:
    """How many operands an operation of `VECTOR` has."""
    return VECTOR[name].count("{")
