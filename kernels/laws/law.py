"""The description of one elementwise draw: which noise, what becomes of it, and how likely that was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..formula.derivatives import gradient_of, score_of
from ..formula.device_functions import Definition, device_function
from ..stream.noise import Noise, NoisePair, singles
from .rejection.noise import LoopNoise
from .support import Support


class Derived(Enum):
    """Stands for a gradient that is derived of the formula."""

    DERIVED = "derived"


DERIVED = Derived.DERIVED


@dataclass(frozen=True)
class Density:
    """The logarithm of a distribution's density (or mass) at its sample, as a function of noise and parameters.

    Attributes:
        at: `(sample, *parameters) -> log_prob`, as a function of the sample: differentiable torch code.
        reference: `(noise, *parameters) -> log_prob`.
        reference_grad: `(noise, grad, *parameters) -> tuple`, the gradient of each parameter where the sample moves
            with the parameters (pathwise); derived of `reference` if it is not given, None where the sample does not.
        reference_score: the same where the sample is a constant (the score function); derived of both references if
            it is not given and the sample is a function of one noise. That takes a third to twice more instructions
            than one in which by hand the noise's part has been cancelled.
        transform, score: what is better on a GPU than `reference` and `reference_score`, see `Law.transform`.
    """

    at: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    reference_score: Callable[..., tuple[Tensor, ...]] | Derived = DERIVED
    reference_grad: Callable[..., tuple[Tensor, ...]] | Derived | None = DERIVED
    transform: Callable[..., Tensor] | None = None
    score: Callable[..., tuple[Tensor, ...]] | None = None


class Formula(NamedTuple):
    """A function of a law.

    Attributes:
        function: torch code.
        arguments: the names of its arguments.
        override: torch code that is better on a GPU, or None.
        read: how many arguments the Triton function takes, if not all.
    """

    function: Callable[..., Any]
    arguments: tuple[str, ...]
    override: Callable[..., Any] | None = None
    read: int | None = None


# What a draw of the sample with its log-density is called beside the draw of the sample, by `Law.joint`.
_SUFFIXES = {None: "", "pathwise": "_with_log_prob", "score": "_with_score"}


@dataclass(frozen=True)
class Law:
    """How a distribution's sample is made of noise, as plain torch, of which its device functions are made.

    Attributes:
        name: names the operators, `rsample::<name>` and `rsample::<name>_backward`.
        parameters: the names of the parameters, in the order every function below takes them.
        noise: the noise of one element; the functions take a tuple where it is several numbers.
        reference: `(noise, *parameters) -> sample`, differentiable torch code on broadcastable tensors.
        reference_grad: `(noise, grad, *parameters) -> tuple`, the gradient of each parameter before reduction over
            broadcast dimensions, or None where there is no pathwise gradient. If it is not given, it is derived of
            `reference`; for noise that depends on parameters, None.
        affine: the sample is affine in the parameters, jointly. The gradient then does not depend on them, and its own
            derivative is again a draw of this law.
        location: the parameter, if any, that is added to the sample: its gradient is the sample's gradient.
        tangent: `(noise, *parameters, *tangents) -> tangent of the sample` of a law whose elements depend on those of
            their row; other laws' follow from `reference_grad`. `reference` and `reference_grad` then take whole rows.
        support: the sample's bounds, as far as rounding could reach them.
        transform: torch code of which better code for a GPU is made than of `reference`; of noise as `noise.device`
            makes it.
        transform_grad: the same of `reference_grad`.
        density: of the sample.
        joint: whether a draw gives (sample, log_prob) rather than the sample. Gradients then reach the parameters
            through both ("pathwise") or through log_prob at a constant sample ("score").
    """

    name: str
    parameters: tuple[str, ...]
    noise: Noise | NoisePair | LoopNoise
    reference: Callable[..., Tensor]
    reference_grad: Callable[..., tuple[Tensor, ...]] | Derived | None = DERIVED
    affine: bool = False
    location: str | None = None
    tangent: Callable[..., Tensor] | None = None
    support: Support | None = None
    transform: Callable[..., Tensor] | None = None
    transform_grad: Callable[..., tuple[Tensor, ...]] | None = None
    density: Density | None = None
    joint: str | None = None

    def __post_init__(self) -> None:
        if self.reference_grad is DERIVED:
            loops = isinstance(self.noise, LoopNoise)
            object.__setattr__(self, "reference_grad", None if loops else gradient_of(self.reference))
        if self.density is not None:
            object.__setattr__(self, "density", self._derived(self.density))

    def _derived(self, density: Density) -> Density:
        """A density with what it does not give itself."""
        grad, score = density.reference_grad, density.reference_score
        if grad is DERIVED:
            grad = None if self.reference_grad is None else gradient_of(density.reference)
        if score is DERIVED:
            score = score_of(self.reference, density.reference)
        return replace(density, reference_grad=grad, reference_score=score)

    def with_log_prob(self) -> Law:
        """The draw of (sample, log_prob), both with pathwise gradients."""
        return replace(self, name=self.name + _SUFFIXES["pathwise"], joint="pathwise")

    def with_score(self) -> Law:
        """The draw of (sample, log_prob) whose sample is a constant."""
        return replace(self, name=self.name + _SUFFIXES["score"], joint="score")

    def joint_draw(self) -> Law | None:
        """The draw of the sample with its log-density: pathwise where that exists, else at a constant sample."""
        if self.density is None:
            return None
        return self.with_score() if self.density.reference_grad is None else self.with_log_prob()

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
            assert callable(self.reference_grad)
            return self.reference_grad(noise, *given)
        assert self.density is not None
        if self.joint == "score":
            assert callable(self.density.reference_score)
            return self.density.reference_score(noise, *given)
        assert callable(self.reference_grad)
        assert callable(self.density.reference_grad)
        grad, grad_log_prob, *params = given
        of_sample = self.reference_grad(noise, grad, *params)
        of_log_prob = self.density.reference_grad(noise, grad_log_prob, *params)
        return tuple(a + b for a, b in zip(of_sample, of_log_prob, strict=True))

    def device_constants(self) -> dict[str, Any]:
        """The compile-time arguments of the forward kernel that are this law's."""
        return {
            **self._device_noise(),
            "TRANSFORM": self.device_function("transform"),
            "LOG_PROB": self.device_function("log_prob") if self.joint else None,
        }

    def device_grad_constants(self) -> dict[str, Any]:
        """The compile-time arguments of the backward kernels that are this law's."""
        of_sample, of_log_prob = self.gradient_formulas
        return {
            **self._device_noise(),
            "TRANSFORM_GRAD": of_sample and self.device_function(of_sample),
            "LOG_PROB_GRAD": of_log_prob and self.device_function(of_log_prob),
            "AFFINE": self.affine,
        }

    def _device_noise(self) -> dict[str, Any]:
        first, *second = singles(self.noise)
        return {"NOISE": first.device, "SECOND": second[0].device if second else None}

    @functools.cached_property
    def formulas(self) -> dict[str, Formula]:
        """The law's functions by the names of the Triton functions that are made of them."""
        of_noise, of_grad = ("noise", *self.parameters), ("noise", "grad", *self.parameters)
        density = self.density
        formulas = {"transform": Formula(self.reference, of_noise, self.transform)}
        if callable(self.reference_grad):
            read = 2 if self.affine else None
            formulas["transform_grad"] = Formula(self.reference_grad, of_grad, self.transform_grad, read)
        if density is not None:
            formulas["log_prob"] = Formula(density.reference, of_noise, density.transform)
            if callable(density.reference_score):
                formulas["score"] = Formula(density.reference_score, of_grad, density.score)
            if callable(density.reference_grad):
                formulas["log_prob_grad"] = Formula(density.reference_grad, of_grad)
        return formulas

    @property
    def gradient_formulas(self) -> tuple[str | None, str | None]:
        """Which of `formulas` gradients are the sum of: that of the sample, and that of its log-density."""
        of_log_prob = {None: None, "pathwise": "log_prob_grad", "score": "score"}[self.joint]
        return None if self.joint == "score" else "transform_grad", of_log_prob

    def device_function(self, what: str) -> Any:
        """The Triton function of one of `formulas`."""
        return device_function(*self.definition(what))

    def definition(self, what: str) -> Definition:
        """What the Triton function of one of `formulas` is made of."""
        formula = self.formulas[what]
        code = formula.override or formula.function
        return Definition(self._device_name(what), code, formula.arguments, formula.read, self.noise.values)

    def definition_of_end(self, dtype: torch.dtype) -> Definition | None:
        """The same of the support's `end`, `(sample, *parameters, HARDWARE) -> greatest`, if samples come near it."""
        greatest = None if self.support is None else self.support.greatest(dtype)
        if greatest is None:
            return None
        name = self._device_name(f"end_of_{str(dtype).removeprefix('torch.')}")
        return Definition(name, greatest, ("sample", *self.parameters))

    def _device_name(self, what: str) -> str:
        return f"{self.name.removesuffix(_SUFFIXES[self.joint])}_{what}"
