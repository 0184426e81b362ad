"""The torch.library operators of draws over rows, over three backends.

    rsample::categorical(Tensor[] key, Tensor weights, SymInt[] shape, bool from_probs, bool one_hot, bool log_prob,
        bool straight_through) -> Tensor[]
    rsample::relaxed_categorical(Tensor[] key, Tensor logits, Tensor temperature, SymInt[] shape, bool exponentiated,
        bool log_prob, bool pathwise) -> Tensor[]

`key` is a packed key (one tensor) or a generator's reservation (three); see :mod:`rsample.kernels.keys`; and, for some
rows of a larger sample, one tensor more; see :mod:`rsample.kernels.window`. Both return
the sample and, where `log_prob` asks for it, its log-probability; :mod:`rsample.kernels.rows.reference` says which.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..backend import backend_for
from ..keys import packed_key
from ..language import HAS_TRITON
from ..ops import is_plain
from ..window import split_key
from . import compiled, reference
from .inversion import draws_by_inversion

if HAS_TRITON:
    from . import inversion_kernels
    from . import race as race_kernels
    from . import relaxed as relaxed_kernels

_LIBRARY = torch.library.Library("rsample", "FRAGMENT")


@dataclass(frozen=True)
class Race:
    """A category for each row: what the operator `rsample::categorical` takes beside key, weights and shape.

    `straight_through` gives a one-hot sample the gradient of the probabilities.
    """

    from_probs: bool
    one_hot: bool
    log_prob: bool
    straight_through: bool = False

    @property
    def op(self) -> Any:
        return torch.ops.rsample.categorical.default

    @property
    def options(self) -> tuple[bool, ...]:
        """The operator's last arguments."""
        return self.from_probs, self.one_hot, self.log_prob, self.straight_through

    def run(self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int]) -> list[Tensor]:
        """The draw itself, below the dispatcher."""
        (weights,) = params
        numel, window = math.prod(shape), None
        if len(key) % 2 == 1:
            inversion = draws_by_inversion(weights.shape, shape)
        else:
            # A box's key says how the whole sample is drawn: of the draws that share a row it may have but one.
            key, numel, window = split_key(key, numel)
            inversion = window is not None
        options: dict[str, Any] = {"from_probs": self.from_probs, "one_hot": self.one_hot, "log_prob": self.log_prob}
        if inversion:
            backend = backend_for(weights.device, numel, params)
            if backend == "triton":
                return inversion_kernels.inversion(key, weights, shape, **options, window=window)
            module = compiled if backend == "compiled" else reference
            return module.inversion(packed_key(key), weights, shape, **options, window=window)
        backend = backend_for(weights.device, numel, params)
        if backend == "triton":
            return race_kernels.race(key, weights, shape, **options)
        module = compiled if backend == "compiled" else reference
        return module.race(packed_key(key), weights, shape, **options)


_RACES = {options: Race(*options) for options in itertools.product((False, True), repeat=4)}


def race(from_probs: bool, one_hot: bool, log_prob: bool, straight_through: bool) -> Race:
    """A `Race`, of which there are only so many: making one takes longer."""
    return _RACES[from_probs, one_hot, log_prob, straight_through]


@dataclass(frozen=True)
class Relaxed:
    """A point of the simplex for each row: what `rsample::relaxed_categorical` takes beside key, parameters and shape.

    `pathwise` lets gradients reach the parameters through the sample; else only through its log-probability.
    """

    exponentiated: bool
    log_prob: bool
    pathwise: bool

    @property
    def op(self) -> Any:
        return torch.ops.rsample.relaxed_categorical.default

    @property
    def options(self) -> tuple[bool, ...]:
        """The operator's last arguments."""
        return self.exponentiated, self.log_prob, self.pathwise

    def run(self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int]) -> list[Tensor]:
        """The draw itself, below the dispatcher."""
        logits, temperature = params
        options: dict[str, Any] = {"exponentiated": self.exponentiated, "log_prob": self.log_prob}
        key, numel, _ = split_key(key, math.prod(shape))
        backend = backend_for(logits.device, numel, params)
        if backend == "triton":
            return relaxed_kernels.relaxed(key, logits, temperature, shape, **options)
        module = compiled if backend == "compiled" else reference
        return module.relaxed(packed_key(key), logits, temperature, shape, **options)


Kind = Race | Relaxed


def run_below_autograd(
    kind: Kind, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int]
) -> tuple[Tensor, ...]:
    """The operator of a draw below autograd: no graph is built."""
    if is_plain(params):
        return tuple(kind.run(key, params, shape))
    with torch._C._AutoDispatchBelowAutograd():
        return tuple(kind.op(list(key), *params, shape, *kind.options))


def register_autograd(kind: type[Kind], kernel: Callable[..., list[Tensor]]) -> None:
    """Make `kernel` what the operator does where a gradient may be asked for."""
    _LIBRARY.impl("categorical" if kind is Race else "relaxed_categorical", kernel, "Autograd")


def _categorical(
    key: list[Tensor],
    weights: Tensor,
    shape: list[int],
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    straight_through: bool,
) -> list[Tensor]:
    return race(from_probs, one_hot, log_prob, straight_through).run(key, (weights,), shape)


def _categorical_fake(
    key: list[Tensor],
    weights: Tensor,
    shape: list[int],
    from_probs: bool,
    one_hot: bool,
    log_prob: bool,
    straight_through: bool,
) -> list[Tensor]:
    batch = shape[:-1]
    sample = weights.new_empty(shape) if one_hot else weights.new_empty(batch, dtype=torch.int64)
    return [sample, weights.new_empty(batch)] if log_prob else [sample]


def _relaxed_categorical(
    key: list[Tensor],
    logits: Tensor,
    temperature: Tensor,
    shape: list[int],
    exponentiated: bool,
    log_prob: bool,
    pathwise: bool,
) -> list[Tensor]:
    return Relaxed(exponentiated, log_prob, pathwise).run(key, (logits, temperature), shape)


def _relaxed_categorical_fake(
    key: list[Tensor],
    logits: Tensor,
    temperature: Tensor,
    shape: list[int],
    exponentiated: bool,
    log_prob: bool,
    pathwise: bool,
) -> list[Tensor]:
    sample = logits.new_empty(shape)
    return [sample, logits.new_empty(shape[:-1])] if log_prob else [sample]


_LIBRARY.define(
    "categorical(Tensor[] key, Tensor weights, SymInt[] shape, bool from_probs, bool one_hot, "
    "bool log_prob, bool straight_through) -> Tensor[]"
)
_LIBRARY.impl("categorical", _categorical, "CompositeExplicitAutograd")
torch.library.register_fake("rsample::categorical", _categorical_fake, lib=_LIBRARY)
_LIBRARY.define(
    "relaxed_categorical(Tensor[] key, Tensor logits, Tensor temperature, SymInt[] shape, bool exponentiated, "
    "bool log_prob, bool pathwise) -> Tensor[]"
)
_LIBRARY.impl("relaxed_categorical", _relaxed_categorical, "CompositeExplicitAutograd")
torch.library.register_fake("rsample::relaxed_categorical", _relaxed_categorical_fake, lib=_LIBRARY)
