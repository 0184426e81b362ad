"""The description of one elementwise draw: which noise, what becomes of it, and how likely that was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..loops.noise import LoopNoise
from ..noise import Noise
from .support import Support


@dataclass(frozen=True)
class Density:
    """The logarithm of a distribution's density (or mass) at its sample, as a function of noise and parameters.

    Attributes:
        at: `(sample, *parameters) -> log_prob`, as a function of the sample: differentiable torch code.
        reference: `(noise, *parameters) -> log_prob`.
        reference_grad: `(noise, grad, *parameters) -> tuple`, the gradient of each parameter where the sample moves
            with the parameters (pathwise); None where it does not.
        reference_score: the same where the sample is a constant (the score function).
        transform, transform_grad, score: their Triton twins, which take a compile-time HARDWARE at the end.
    """

    at: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    reference_score: Callable[..., tuple[Tensor, ...]]
    reference_grad: Callable[..., tuple[Tensor, ...]] | None = None
    transform: Any = None
    score: Any = None
    transform_grad: Any = None


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
        tangent: `(noise, *parameters, *tangents) -> tangent of the sample` of a map whose elements depend on those of
            their row; other maps' follow from `reference_grad`. `reference` and `reference_grad` then take whole rows.
        support: the sample's bounds, as far as rounding could reach them.
        transform: Triton twin of `reference`: `(noise, *parameters, HARDWARE)`, where the compile-time HARDWARE allows
            the special-function unit of NVIDIA GPUs.
        transform_grad: Triton twin of `reference_grad`: `(noise, grad, *parameters, HARDWARE)`, without the parameters
            if the map is affine.
        density: of the sample.
        joint: whether a draw gives (sample, log_prob) rather than the sample. Gradients then reach the parameters
            through both ("pathwise") or through log_prob at a constant sample ("score").
    """

    name: str
    parameters: tuple[str, ...]
    noise: Noise | LoopNoise
    reference: Callable[..., Tensor]
    reference_grad: Callable[..., tuple[Tensor, ...]] | None = None
    affine: bool = False
    location: str | None = None
    tangent: Callable[..., Tensor] | None = None
    support: Support | None = None
    transform: Any = None
    transform_grad: Any = None
    density: Density | None = None
    joint: str | None = None

    def with_log_prob(self) -> Map:
        """The draw of (sample, log_prob), both with pathwise gradients."""
        return replace(self, name=f"{self.name}_with_log_prob", joint="pathwise")

    def with_score(self) -> Map:
        """The draw of (sample, log_prob) whose sample is a constant."""
        return replace(self, name=f"{self.name}_with_score", joint="score")

    @property
    def linear(self) -> bool:
        """Whether all that a draw gives is affine in the parameters."""
        return self.affine and self.joint is None

    @property
    def outputs(self) -> int:
        """How many tensors a draw gives."""
        return 2 if self.joint else 1

    @property
    def cotangents(self) -> tuple[int, ...]:
        """The outputs through which gradients reach the parameters."""
        if self.joint == "score":
            return (1,)
        return tuple(range(self.outputs)) if self.reference_grad is not None else ()

    def draw(self, noise: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        """What a draw gives, of the noise's dtype, not rounded to the sample's."""
        sample = self.reference(noise, *params)
        if self.joint is None:
            return (sample,)
        assert self.density is not None
        return sample, self.density.reference(noise, *params)

    def gradients(self, noise: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        """The gradient of each parameter before reduction, from the gradients of `cotangents` and the parameters."""
        if self.joint is None:
            assert self.reference_grad is not None
            return self.reference_grad(noise, *given)
        assert self.density is not None
        if self.joint == "score":
            return self.density.reference_score(noise, *given)
        assert self.reference_grad is not None
        assert self.density.reference_grad is not None
        grad, grad_log_prob, *params = given
        of_sample = self.reference_grad(noise, grad, *params)
        of_log_prob = self.density.reference_grad(noise, grad_log_prob, *params)
        return tuple(a + b for a, b in zip(of_sample, of_log_prob, strict=True))

    def device_constants(self) -> dict[str, Any]:
        """The compile-time arguments of the forward kernel that are this map's."""
        density = self.density.transform if self.joint and self.density is not None else None
        return {"NOISE": self.noise.device, "TRANSFORM": self.transform, "LOG_PROB": density}

    def device_grad_constants(self) -> dict[str, Any]:
        """The compile-time arguments of the backward kernels that are this map's."""
        of_log_prob = None
        if self.joint and self.density is not None:
            of_log_prob = self.density.score if self.joint == "score" else self.density.transform_grad
        return {
            "NOISE": self.noise.device,
            "TRANSFORM_GRAD": None if self.joint == "score" else self.transform_grad,
            "LOG_PROB_GRAD": of_log_prob,
            "AFFINE": self.affine,
        }
