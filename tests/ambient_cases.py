"""Every class drawn inside and outside of states of the process, for test_ambient_defaults.py.

A process of its own, as what goes wrong may be a crash. Prints what drew other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from every_class import EVERY_CLASS, params
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

FACTORIES = _device_constructors()


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


class Redirecting(TorchFunctionMode):
    """Factories give meta tensors whatever device they are told."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **({**(kwargs or {}), "device": "meta"} if func in FACTORIES else kwargs or {}))


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def patched_empty() -> Iterator[None]:
    """As accelerate's init_empty_weights(include_buffers=True) does."""
    empty = torch.empty
    with mock.patch.object(torch, "empty", lambda *args, **kwargs: empty(*args, **{**kwargs, "device": "meta"})):
        yield


STATES: dict[str, Any] = {
    "set_default_device": default_device,
    "device context": lambda: torch.device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "dispatch mode": Passing,
    "redirecting mode": Redirecting,
    "patched empty": patched_empty,
}
# Factories that do not do as they are told. torch's own constructors, densities and operators cannot bear them.
DISOBEDIENT = {"redirecting mode", "patched empty"}
# Modes that see operations. What these classes make of several draws, or their gradients, is then put together from
# torch operations, which round in another order than the loops that take their place where they are not seen.
SEES_OPERATIONS = "dispatch mode"
PUT_TOGETHER = {"LKJCholesky", "LogisticNormal", "Wishart"}
PUT_TOGETHER |= {"ExpRelaxedCategorical", "RelaxedOneHotCategorical", "OneHotCategoricalStraightThrough"}
# Of the numbers of a sample, as the sum of a point of the simplex has no gradient.
WEIGHTS = torch.arange(2.0**16).cos()
ONE_KERNEL = {"Normal", "Uniform", "Gamma", "Categorical", "OneHotCategorical", "MultivariateNormal"}


def outcomes(make: Any, n: int, state: Any, around: Any) -> list[Tensor]:
    """Samples and gradients of draws inside of `state`, with the constructor and the densities inside of `around`."""
    given: list[Tensor] = []

    def remembered(x: Tensor) -> Tensor:
        given.append(x.requires_grad_())
        return x

    key = torch.tensor((3, 4), dtype=torch.uint64, device="cpu")
    with around():
        distribution = make(params((n,), layout=remembered))
    with state():
        torch.manual_seed(0)
        results = [distribution.sample(key=key), distribution.sample((2,), key=key), distribution.sample()]
        if distribution.has_rsample:
            x = distribution.rsample(key=key)
            total = (x * WEIGHTS[: x.numel()].view(x.shape)).sum()
            results += torch.autograd.grad(total, given, allow_unused=True, retain_graph=True)
    with around():
        results += distribution.sample_with_log_prob(key=key)
        results += torch.autograd.grad(results[-1].sum(), given, allow_unused=True)
    return [x.detach() for x in results if x is not None]


def are_equal(inside: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether draws are the same bit for bit."""
    as_bytes = [[(x.dtype, x.numpy().tobytes()) for x in results] for results in (inside, expected)]
    return as_bytes[0] == as_bytes[1]


def are_close(inside: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether samples and their gradients are the same to rounding.

    What is left of 1 on the diagonal of an LKJCholesky sample is a root of a difference: half of the digits count. Its
    density, the logarithm of that, is left out with all others.
    """
    return all(
        bool(((x - y).abs() <= torch.finfo(x.dtype).eps ** 0.5 * y.abs().max()).all())
        for x, y in zip(inside[:4], expected[:4], strict=True)
    )


def main() -> None:
    expected: dict[tuple[str, int], list[Tensor]] = {}
    for name, state in STATES.items():
        around = nullcontext if name in DISOBEDIENT else state
        # First inside of a state: what a draw keeps for the life of the process is made there.
        for family, make in EVERY_CLASS.items():
            if name in DISOBEDIENT and family not in ONE_KERNEL:
                continue
            for n in (3, 3000) if name in ("set_default_device", "float64") else (3000,):
                inside = outcomes(make, n, state, around)
                if (family, n) not in expected:
                    expected[family, n] = outcomes(make, n, nullcontext, nullcontext)
                same = are_close if name == SEES_OPERATIONS and family in PUT_TOGETHER else are_equal
                if not same(inside, expected[family, n]):
                    print(f"{name}: {family}, {n} elements", flush=True)


if __name__ == "__main__":
    main()
