"""The description of one elementwise draw: which noise, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..noise import Noise


@dataclass(frozen=True)
class Map:
    """A distribution's map from noise to sample, as plain torch (the specification) and as device functions.

    Attributes:
        name: names the operators, `rsample::<name>` and `rsample::<name>_backward`.
        parameters: the names of the parameters, in the order every function below takes them.
        noise: the noise of one element.
        reference: `(noise, *parameters) -> sample`, differentiable torch code on broadcastable tensors.
        reference_grad: `(noise, grad, *parameters) -> tuple`, the gradient of each parameter before reduction over
            broadcast dimensions, or None where there is no pathwise gradient.
        affine: the sample is affine in the parameters, jointly. The gradient then does not depend on them, and its own
            derivative is again a draw of this map.
        location: the parameter, if any, that is added to the sample: its gradient is the sample's gradient.
        transform: Triton twin of `reference`: `(noise, *parameters, HARDWARE)`, where the compile-time HARDWARE allows
            the special-function unit of NVIDIA GPUs.
        transform_grad: Triton twin of `reference_grad`: `(noise, grad, *parameters, HARDWARE)`, without the parameters
            if the map is affine.
    """

    name: str
    parameters: tuple[str, ...]
    noise: Noise
    reference: Callable[..., Tensor]
    reference_grad: Callable[..., tuple[Tensor, ...]] | None = None
    affine: bool = False
    location: str | None = None
    transform: Any = None
    transform_grad: Any = None
