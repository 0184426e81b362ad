"""One way to make each distribution of the package, from whatever tensors a test gives it.

The classes and their valid parameters are those that the package itself names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

import rsample.distributions as dist
from rsample.distributions._examples import Example, Param
from rsample.distributions._sampling import KeyedSampling

CLASSES = [
    cls
    for cls in (getattr(dist, name) for name in dist.__all__)
    if isinstance(cls, type) and issubclass(cls, KeyedSampling)
]


def examples() -> Iterator[tuple[str, type[KeyedSampling], Example]]:
    """A name, a class and an example of it; each of a class but the first is named by its last parameter, too."""
    for cls in CLASSES:
        for i, example in enumerate(cls._examples):
            yield f"{cls.__name__} of {[*example.parameters][-1]}" if i else cls.__name__, cls, example


def make(cls: type[KeyedSampling], example: Example, param: Param) -> Distribution:
    return cls(**example.arguments(param))


EVERY_CLASS: dict[str, Callable[[Param], Distribution]] = {
    name: functools.partial(make, cls, example) for name, cls, example in examples()
}


def params(
    batch: Sequence[int],
    dtype: torch.dtype = torch.float32,
    layout: Callable[[Tensor], Tensor] = lambda x: x,
    requires_grad: bool = False,
    device: str = "cpu",
) -> Param:
    """Makes parameters of batch shape `batch`; `layout` gives the same tensor, laid out otherwise."""
    generator = torch.Generator().manual_seed(0)

    def param(low: float, high: float, *event: int) -> Tensor:
        uniform = torch.rand(*batch, *event, generator=generator, dtype=torch.float64, device="cpu")
        made = layout((low + (high - low) * uniform).to(device, dtype))
        return made.requires_grad_() if requires_grad else made

    return param
