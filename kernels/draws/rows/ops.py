"""The torch.library operators of draws over rows, over three backends.

    rsample::categorical(Tensor[] key, Tensor weights, SymInt[] shape, bool from_probs, bool one_hot, bool log_prob,
        bool straight_through) -> Tensor[]
    rsample::relaxed_categorical(Tensor[] key, Tensor logits, Tensor temperature, SymInt[] shape, bool exponentiated,
        bool log_prob, bool pathwise) -> Tensor[]

Both return the sample and, where `log_prob` asks for it, its log-probability;
:mod:`engines.eager.rows` says which.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...engines.cpu import rows as compiled
from ...engines.eager import rows as reference
from ...engines.inversion import draws_by_inversion
from ...engines.outputs import Outputs, as_tuple, returned
from ...runtime.backend import backend_for
from ...runtime.language import HAS_TRITON
from ...stream.philox_key import Key
from ...stream.window import split_key
from ..operators import Operators, define

if HAS_TRITON:
    from ...engines.triton import inversion as inversion_kernels
    from ...engines.triton import race as race_kernels
    from ...engines.triton import relaxed as relaxed_kernels


@dataclass(frozen=True)
class Race(Operators):
    """A category for each row: what the operator `rsample::categorical` takes besides key, weights and shape.

    `straight_through` gives a one-hot sample the gradient of the probabilities.
    """

    from_probs: bool
    one_hot: bool
    log_prob: bool
    straight_through: bool = False

    name, events, whole_rows = "categorical", (1,), True

    @property
    def parameters(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("probs",) if self.from_probs else ("logits",)

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return 1 + self.log_prob

    @property
    def forward_op(self) -> Any:
        return torch.ops.rsample.categorical.default

    def options(self, dtype: torch.dtype) -> tuple[bool, ...]:
        return self.from_probs, self.one_hot, self.log_prob, self.straight_through

    def parts(self, params: Sequence[Tensor], shape: Sequence[int]) -> str:
        return "numbered draws" if draws_by_inversion(params[0].shape, shape) else "rows"

    def run_forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        (weights,) = params
        numel = math.prod(shape)
        # A box's key says how the whole sample is drawn: of the draws that share a row it may have only one.
        of_box = Key(key).box is not None
        key, numel, window = split_key(key, numel)
        inversion = window is not None if of_box else draws_by_inversion(weights.shape, shape)
        options: dict[str, Any] = {"from_probs": self.from_probs, "one_hot": self.one_hot, "log_prob": self.log_prob}
        if inversion:
            options["window"] = window
        name = "inversion" if inversion else "race"
        backend = backend_for(weights.device, numel, params)
        if backend == "triton":
            kernels = inversion_kernels if inversion else race_kernels
            return returned(getattr(kernels, name)(key, weights, shape, **options))
        module = compiled if backend == "compiled" else reference
        return returned(getattr(module, name)(key.packed(), weights, shape, **options))


_RACES = {options: Race(*options) for options in itertools.product((False, True), repeat=4)}


def race(from_probs: bool, one_hot: bool, log_prob: bool, straight_through: bool) -> Race:
    """A `Race`, of which there are only so many: making one takes longer."""
    return _RACES[from_probs, one_hot, log_prob, straight_through]


@dataclass(frozen=True)
class Relaxed(Operators):
    """A point of the simplex for each row: what `rsample::relaxed_categorical` takes besides key, parameters and shape.

    `pathwise` lets gradients reach the parameters through the sample; else only through its log-probability.
    """

    exponentiated: bool
    log_prob: bool
    pathwise: bool

    name, parameters, events, whole_rows = "relaxed_categorical", ("logits", "temperature"), (1, 1), True

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return 1 + self.log_prob

    @property
    def forward_op(self) -> Any:
        return torch.ops.rsample.relaxed_categorical.default

    def options(self, dtype: torch.dtype) -> tuple[bool, ...]:
        return self.exponentiated, self.log_prob, self.pathwise

    def parts(self, params: Sequence[Tensor], shape: Sequence[int]) -> str:
        return "rows"

    def run_forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        logits, temperature = params
        options: dict[str, Any] = {"exponentiated": self.exponentiated, "log_prob": self.log_prob}
        key, numel, _ = split_key(key, math.prod(shape))
        backend = backend_for(logits.device, numel, params)
        if backend == "triton":
            return returned(relaxed_kernels.relaxed(key, logits, temperature, shape, **options))
        module = compiled if backend == "compiled" else reference
        return returned(module.relaxed(key.packed(), logits, temperature, shape, **options))


RowDraw = Race | Relaxed


def _categorical(key: list[Tensor], weights: Tensor, shape: list[int], *options: bool) -> list[Tensor]:
    return list(as_tuple(race(*options).run_forward(key, (weights,), shape, weights.dtype)))


def _categorical_recorded(key: list[Tensor], weights: Tensor, shape: list[int], *options: bool) -> list[Tensor]:
    return list(as_tuple(race(*options).recorded(key, (weights,), shape, weights.dtype)))


def _categorical_fake(
    key: list[Tensor], weights: Tensor, shape: list[int], from_probs: bool, one_hot: bool, log_prob: bool, _: bool
) -> list[Tensor]:
    batch = shape[:-1]
    sample = weights.new_empty(shape) if one_hot else weights.new_empty(batch, dtype=torch.int64)
    return [sample, weights.new_empty(batch)] if log_prob else [sample]


def _relaxed_categorical(
    key: list[Tensor], logits: Tensor, temperature: Tensor, shape: list[int], *options: bool
) -> list[Tensor]:
    return list(as_tuple(Relaxed(*options).run_forward(key, (logits, temperature), shape, logits.dtype)))


def _relaxed_categorical_recorded(
    key: list[Tensor], logits: Tensor, temperature: Tensor, shape: list[int], *options: bool
) -> list[Tensor]:
    return list(as_tuple(Relaxed(*options).recorded(key, (logits, temperature), shape, logits.dtype)))


def _relaxed_categorical_fake(
    key: list[Tensor], logits: Tensor, temperature: Tensor, shape: list[int], _: bool, log_prob: bool, pathwise: bool
) -> list[Tensor]:
    sample = logits.new_empty(shape)
    return [sample, logits.new_empty(shape[:-1])] if log_prob else [sample]


define(
    "categorical(Tensor[] key, Tensor weights, SymInt[] shape, bool from_probs, bool one_hot, "
    "bool log_prob, bool straight_through) -> Tensor[]",
    _categorical,
    _categorical_fake,
    _categorical_recorded,
)
define(
    "relaxed_categorical(Tensor[] key, Tensor logits, Tensor temperature, SymInt[] shape, bool exponentiated, "
    "bool log_prob, bool pathwise) -> Tensor[]",
    _relaxed_categorical,
    _relaxed_categorical_fake,
    _relaxed_categorical_recorded,
)
