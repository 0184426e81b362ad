"""Which tensor a categorical distribution is drawn from: what it was given, or what it has been changed to since.

torch.distributions has two attributes, `logits` and `probs`. The given one is normalised at once, the other one follows
from it when asked for; draws read `probs`, densities `logits`. Both can be assigned and edited in place, which does
not reach the other one. Here draws follow whatever has been changed last, as far as it can be told.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import logits_to_probs, probs_to_logits
from torch.nn import Parameter

from rsample.kernels.draws import native_core

from ._arguments import unexpanded
from ._sampling import is_overridden

NAMES = ("logits", "probs")


def copied(weights: Tensor, name: str) -> Tensor:
    """Weights that no later change of the given tensor reaches, in a floating dtype: integers are promoted.

    Nothing else would do. A version counter tells that a tensor was changed, and not what it was; torch's lazy clones
    move the given tensor to other memory when it is written to, away from CUDA graphs and arrays that share it.
    """
    if not (weights.is_floating_point() or weights.is_complex()):
        return normalised(weights, name)
    if weights.is_contiguous() or not _repeats_memory(weights):
        return weights.clone()
    return unexpanded(weights).clone().expand(weights.shape)


def _repeats_memory(weights: Tensor) -> bool:
    """Whether rows are one row in memory, and no gradient has to find them."""
    if torch.compiler.is_compiling() or type(weights) not in (Tensor, Parameter) or weights.requires_grad:
        return False
    return not torch._C._are_functorch_transforms_active() and 0 in weights.stride()[:-1]


def normalised(weights: Tensor, name: str) -> Tensor:
    """`logits` or `probs` as torch.distributions normalises them."""
    if name == "probs":
        return weights / weights.sum(-1, keepdim=True)
    return weights - weights.logsumexp(-1, keepdim=True)


def converted(weights: Tensor, name: str) -> Tensor:
    """The attribute of this name from the other one, as torch.distributions computes it."""
    return probs_to_logits(weights) if name == "logits" else logits_to_probs(weights)


def exactly(weights: Tensor, name: str) -> Tensor:
    """The attribute of this name from the other one; of probability 0 stays 0."""
    return weights.log() if name == "logits" else logits_to_probs(weights)


def valid_rows(weights: Tensor, name: str) -> Tensor:
    """Which rows have a distribution: one pass each, and no normalised copy. What would become NaN is refused."""
    if name == "probs":
        total = weights.sum(-1, dtype=torch.float64)
        return (weights >= 0).all(-1) & (total > 0) & total.isfinite()
    if weights.shape[-1] == 0:
        return torch.ones(weights.shape[:-1], dtype=torch.bool, device=weights.device)
    return weights.detach().amax(-1).isfinite()


def version(tensor: Tensor) -> int | None:
    """How often a tensor has been edited in place; None where edits are not counted."""
    if torch.compiler.is_compiling():
        return 0
    return None if tensor.is_inference() else tensor._version


def _edited_later(tensor: Tensor, other: Tensor) -> bool:
    """Whether its version tells that a tensor was edited, and the other one's version that it was not."""
    return (version(tensor) or 0) > (version(other) or 0)


def rows_alike(a: Tensor, b: Tensor) -> Tensor:
    """Which rows are equal, of shape (..., 1): on the device, without waiting for it."""
    return (a == b).all(-1, keepdim=True)


def in_force(distribution: Any, is_binary: bool = False) -> tuple[str, Tensor]:
    """What a distribution made by torch's own constructor is drawn from: its name, `logits` or `probs`, and the tensor.

    Where it has both, it is unknown which of them was made of the other, or edited: their numbers tell it, row by row
    and without a gradient, or one by one where `is_binary`, of probabilities of 1.
    """
    own = distribution.__dict__
    logits, probs, given = own.get("logits"), own.get("probs"), own.get("_param")
    if probs is None and (logits is None or is_overridden(type(distribution), "probs")):
        return "probs", distribution.probs
    if logits is None or (probs is not None and given is None):
        return "probs", distribution.probs
    if probs is None:
        return "logits", logits
    if torch.compiler.is_compiling() or (is_binary and (logits.requires_grad or probs.requires_grad)):
        return _of_both(logits, probs, given, is_binary)
    counts = version(logits), version(probs)
    seen = _seen.get(distribution)
    if seen is not None and seen[0] is logits and seen[1] is probs and seen[2] is given and seen[3] == counts:
        return seen[4]
    core = None if is_binary else native_core.CORE
    if core is not None and (given is logits or given is probs) and core.follow(logits, probs):
        found = ("logits" if given is logits else "probs", given.detach())
    else:
        with torch.no_grad():
            found = _of_both(logits, probs, given, is_binary)
    if None not in counts and not found[1].is_inference():
        _seen[distribution] = (logits, probs, given, counts, found)
    return found


# What was found for distributions that have both, which are drawn from several times.
_seen: weakref.WeakKeyDictionary[Any, tuple[Tensor, Tensor, Any, Any, tuple[str, Tensor]]] = weakref.WeakKeyDictionary()


def _of_both(logits: Tensor, probs: Tensor, given: Tensor, is_binary: bool) -> tuple[str, Tensor]:
    same = torch.eq if is_binary else rows_alike
    if given is logits:
        if _edited_later(logits, probs):
            return "logits", logits
        followed = same(probs, logits_to_probs(logits, is_binary))
        return "logits", torch.where(followed, logits, probs.logit() if is_binary else probs.log())
    if given is probs:
        if _edited_later(probs, logits):
            return "probs", probs
        followed = same(logits, probs_to_logits(probs, is_binary))
        return "probs", torch.where(followed, probs, logits_to_probs(logits, is_binary))
    # One of them was assigned, and is what counts: the logits where the probabilities are still those of before.
    before = same(probs, logits_to_probs(given, is_binary))
    return "probs", torch.where(before, logits_to_probs(logits, is_binary), probs)
