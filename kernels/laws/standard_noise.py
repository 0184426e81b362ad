"""The noise itself as a draw, for derivatives that are put together from torch operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ..stream.noise import CENTERED, EXPONENTIAL, NATIVE_UNIFORM, NORMAL, UNIFORM, NoisePair
from .law import Law
from .rejection.noise import LoopNoise


def standard_reference(noise: Tensor, like: Tensor) -> Tensor:
    return noise


# `like`, of any shape that broadcasts to the sample's, gives the device.
STANDARD_LAWS = {
    noise.name: Law(
        name=f"standard_{noise.name}",
        parameters=("like",),
        noise=noise,
        reference=standard_reference,
        reference_grad=None,
    )
    for noise in (UNIFORM, NATIVE_UNIFORM, CENTERED, EXPONENTIAL, NORMAL)
}


def standard_pair_law(noise: NoisePair, number: int) -> Law:
    """The draw of one of two noises."""

    def reference(noises: Any, like: Tensor) -> Tensor:
        noise: Tensor = noises[number]
        return noise

    name = f"standard_{noise.name}_{number}"
    noise = replace(noise, slopes=None)
    return Law(name=name, parameters=("like",), noise=noise, reference=reference, reference_grad=None)


def standard_loop_law(noise: LoopNoise, parameters: tuple[str, ...], number: int) -> Law:
    """The draw of one of the values of a noise that loops."""

    def reference(values: Any, *params: Tensor) -> Tensor:
        value: Tensor = values[number] if noise.values > 1 else values
        return value

    name = f"standard_{noise.name}_of_{len(parameters)}_{number}"
    return Law(name=name, parameters=parameters, noise=noise, reference=reference)
