"""The noise itself as a draw, for derivatives that are put together from torch operations."""

from __future__ import annotations

from torch import Tensor

from ..language import tl, triton
from ..noise import CENTERED, EXPONENTIAL, NATIVE_UNIFORM, NORMAL, UNIFORM
from .map import Map


def standard_reference(noise: Tensor, like: Tensor) -> Tensor:
    return noise


@triton.jit
def standard_transform(noise, like, HARDWARE: tl.constexpr):
    return noise


# `like`, of any shape that broadcasts to the sample's, gives the device.
STANDARD_MAPS = {
    noise.name: Map(
        name=f"standard_{noise.name}",
        parameters=("like",),
        noise=noise,
        reference=standard_reference,
        transform=standard_transform,
    )
    for noise in (UNIFORM, NATIVE_UNIFORM, CENTERED, EXPONENTIAL, NORMAL)
}
