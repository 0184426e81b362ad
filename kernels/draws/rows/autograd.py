"""Gradients, forward-mode derivatives and vmap of draws over rows.

Backward passes are torch operations on the parameters and on the sample, so that they can be differentiated again;
where they are not, those of samples are loops on the CPU. The noise drops out: a relaxed draw's derivatives follow from
the sample. Along a reparameterised draw log E is fixed, so that the log-density, a function of log E and the
temperature, moves only with the temperature.

The sample that was returned is not kept: its owner may overwrite it unseen (`sample.data`). It is drawn again from its
key, or copied where it is so small that this takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...engines.cpu import rows as compiled
from ...engines.eager.rows import of_categories
from ...engines.outputs import Outputs, as_tuple
from ...runtime.backend import backend_for
from ...stream.noise import SIGNIFICAND_BITS, compute_dtype
from ..autograd import Draw
from ..lean_function import LeanFunction, wants_derivative
from ..operators import Operators, is_plain
from ..vmapping import aligned, is_a_draw_an_example, vmapped_draw
from .ops import Race, Relaxed

# The one-hot or relaxed sample of so many elements is copied in less time than it is drawn again.
COPIED = 2**10


class RaceDraw(LeanFunction):
    """A category for each row, and its log-probability: apply(kind, key, marker, shape, dtype, weights).

    The category has no gradient except for the straight-through one, that of the probabilities.
    """

    forward = Draw.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        ctx.kind, key, marker, ctx.shape, _, weights = inputs
        sample = as_tuple(output)[0]
        if not ctx.kind.straight_through:
            ctx.mark_non_differentiable(sample)
        ctx.set_materialize_grads(False)
        saved = (*key, marker, weights)
        ctx.save_for_backward(*saved, _copied(sample) if ctx.kind.log_prob else None)
        ctx.save_for_forward(*saved, None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        *key, marker, weights, sample = ctx.saved_tensors
        terms = []
        if ctx.kind.straight_through and grads[0] is not None:
            terms.append(_probs_backward(ctx.kind, grads[0], weights))
        if ctx.kind.log_prob and grads[1] is not None:
            index = _winners(ctx, key, marker, weights, sample)
            terms.append(_race_log_prob_backward(ctx.kind, grads[1], index, weights))
        return None, None, None, None, None, sum(terms) if terms else None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        *key, marker, weights, sample = ctx.saved_tensors
        w, tangent = weights.to(compute_dtype(weights.dtype)), tangents[5].to(compute_dtype(weights.dtype))
        of_sample = None
        if ctx.kind.straight_through:
            probs, total = _probs(ctx.kind, w)
            weighted = tangent if ctx.kind.from_probs else probs * tangent
            of_sample = (weighted - probs * weighted.sum(-1, keepdim=True)) / total
            of_sample = of_sample.to(weights.dtype).expand(ctx.shape)
        if not ctx.kind.log_prob:
            return of_sample
        index = _winners(ctx, key, marker, weights, sample)
        own = of_categories(tangent, index)
        if ctx.kind.from_probs:
            prob, total, inside = _own_probs(w, index, weights.dtype)
            result = torch.where(inside, own / prob - tangent.sum(-1) / total, 0.0)
        else:
            result = own - (w.softmax(-1) * tangent).sum(-1)
        return of_sample, result.to(weights.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        return vmapped_draw(RaceDraw, info, in_dims, *args)


def _copied(sample: Tensor) -> Tensor | None:
    """The sample in memory that is not shared, or None where it is rather drawn again.

    Of categories there is one number per row, and a race has many. A compiler sees that the second draw is the first.
    """
    small = is_plain((sample,)) and (not sample.is_floating_point() or sample.numel() <= COPIED)
    return sample.detach().clone() if small else None


def _drawn_again(
    kind: Operators, key: Sequence[Tensor], marker: Tensor | None, shape: Sequence[int], *params: Tensor
) -> Tensor:
    """The sample of a key, as a function of its parameters where that is asked for."""
    dtype = params[0].dtype
    if torch._C._are_functorch_transforms_active() or wants_derivative(params):
        again: Outputs = kind.function.apply(kind, tuple(key), marker, shape, dtype, *params)
        return as_tuple(again)[0]
    return as_tuple(kind.forward(key, params, shape, dtype))[0]


def _is_looped(grad: Tensor | None, *params: Tensor) -> bool:
    """Whether loops on the CPU compute the parameters' gradients, which are not differentiated again."""
    if grad is None or torch._C._are_functorch_transforms_active() or wants_derivative((grad, *params)):
        return False
    if not is_plain((grad, *params)) or backend_for(grad.device, grad.numel(), (grad, *params)) != "compiled":
        return False
    return compiled.gradients_available(compute_dtype(params[0].dtype))


def _winners(ctx: Any, key: Sequence[Tensor], marker: Tensor | None, weights: Tensor, sample: Tensor | None) -> Tensor:
    """The category of each row of a race."""
    if sample is None:
        kind = Race(ctx.kind.from_probs, one_hot=False, log_prob=False)
        return _drawn_again(kind, key, marker, ctx.shape, weights.detach())
    return sample.argmax(-1) if ctx.kind.one_hot else sample


def _probs(kind: Race, w: Tensor) -> tuple[Tensor, Tensor | float]:
    """The probabilities, and what unnormalised ones are divided by: their Jacobian's denominator."""
    if not kind.from_probs:
        return w.softmax(-1), 1.0
    total = w.sum(-1, keepdim=True)
    return w / total, total


def _probs_backward(kind: Race, grad: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the weights for that of the probabilities, which all rows of some weights share."""
    compute = compute_dtype(weights.dtype)
    g = _sum_to(grad.to(compute), weights.shape)
    if _is_looped(g, weights):
        looped = compiled.probs_gradient(weights.to(compute), g, from_probs=kind.from_probs)
        return looped.to(weights.dtype)
    probs, total = _probs(kind, weights.to(compute))
    centred = g - (g * probs).sum(-1, keepdim=True)
    return (centred / total if kind.from_probs else centred * probs).to(weights.dtype)


def _race_log_prob_backward(kind: Race, grad: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """The weights' gradient from that of the log-probability; summed over rows before it has K elements per row."""
    compute = compute_dtype(weights.dtype)
    w, g = weights.to(compute), grad.to(compute)
    if kind.from_probs:
        prob, total, inside = _own_probs(w, index, weights.dtype)
        g = torch.where(inside, g, 0.0)
        own, all_ = g / prob, -_sum_to(g / total, w.shape[:-1]).unsqueeze(-1).expand(w.shape)
    else:
        own, all_ = g, -_sum_to(g, w.shape[:-1]).unsqueeze(-1) * w.softmax(-1)
    if index.shape == w.shape[:-1]:
        return all_.scatter_add(-1, index.unsqueeze(-1), own.unsqueeze(-1)).to(weights.dtype)
    # Several draws of one row may hit the same category; index_put adds these in a fixed order on every device.
    k = w.shape[-1]
    rows = torch.arange(w.shape[:-1].numel(), device=w.device).reshape(w.shape[:-1])
    flat = (rows * k + index).reshape(-1)
    return all_.reshape(-1).index_put((flat,), own.reshape(-1), accumulate=True).reshape(w.shape).to(weights.dtype)


def _own_probs(w: Tensor, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Unnormalised probabilities of drawn categories, their row's total, and whether torch's clamp leaves the quotient.

    Where it does not, the first is 1.
    """
    eps = 2.0 ** (1 - SIGNIFICAND_BITS[dtype])
    own, total = of_categories(w, index), w.sum(-1)
    prob = own / total
    inside = (prob >= eps) & (prob <= 1 - eps)
    return torch.where(inside, own, 1.0), total, inside


def _sum_to(x: Tensor, shape: torch.Size) -> Tensor:
    return x if x.shape == shape else x.sum_to_size(shape)


class RelaxedDraw(LeanFunction):
    """A point of the simplex for each row: apply(kind, key, marker, shape, dtype, logits, temperature).

    `temperature` is one number. Gradients of a row's scores s = (logits - log E) / temperature add up to 0, so that s
    may be replaced there by x = log_softmax(s), which the sample gives.
    """

    forward = Draw.forward

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
        ctx.kind, key, marker, ctx.shape, _, logits, temperature = inputs
        sample = as_tuple(output)[0]
        if not ctx.kind.pathwise:
            ctx.mark_non_differentiable(sample)
        ctx.set_materialize_grads(False)
        saved = (*key, marker, logits, temperature)
        ctx.save_for_forward(*saved, None)
        ctx.save_for_backward(*saved, _copied(sample))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        kind = ctx.kind
        sample, logits, temperature = _relaxed(ctx)
        compute = compute_dtype(logits.dtype)
        t = temperature.to(compute).reshape(())
        sample = sample.to(compute)
        grad, *others = grads
        alone = kind.pathwise and grad is not None and all(g is None for g in others)
        if alone and _is_looped(grad, logits, temperature):
            assert grad is not None
            needed = ctx.needs_input_grad[-1]
            of_scores, moved = compiled.relaxed_gradient(
                sample, grad.to(compute), t, exponentiated=kind.exponentiated, of_temperature=needed
            )
            of_logits = _sum_to(of_scores, logits.shape).to(logits.dtype)
            of_t = None if moved is None else moved.reshape(temperature.shape).to(temperature.dtype)
            return None, None, None, None, None, of_logits, of_t
        k = sample.shape[-1]
        y = sample if kind.exponentiated else sample.exp()
        of_temperature = ctx.needs_input_grad[-1]
        # The logarithm is a pass over the sample that the logits' gradient along a sample does without.
        x = _logarithm(kind, sample) if of_temperature or not kind.pathwise else None
        terms, terms_of_temperature = [], []
        of_sample = grads[0].to(compute) if kind.pathwise and grads[0] is not None else None
        of_x = of_sample if of_sample is None or not kind.exponentiated else y * of_sample
        if len(grads) == 2 and grads[1] is not None:
            g = grads[1].to(compute)
            terms_of_temperature.append(g.sum() * (k - 1) / t)
            g = g.unsqueeze(-1)
            if kind.pathwise:
                if kind.exponentiated:
                    of_x = -g.expand(y.shape) if of_x is None else of_x - g
            else:
                assert x is not None
                score = g * _score(logits.to(compute), t, x)
                terms.append(score)
                terms_of_temperature.append(-(score * x).sum())
        if of_x is not None:
            of_scores = (of_x - y * of_x.sum(-1, keepdim=True)) / t
            terms.append(of_scores)
            if x is not None:
                terms_of_temperature.append(-(of_scores * x).sum())
        summed = _sum_to(sum(terms[1:], start=terms[0]), logits.shape).to(logits.dtype) if terms else None
        if not of_temperature or not terms_of_temperature:
            return None, None, None, None, None, summed, None
        total = sum(terms_of_temperature[1:], start=terms_of_temperature[0])
        return None, None, None, None, None, summed, total.reshape(temperature.shape).to(temperature.dtype)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        kind = ctx.kind
        sample, logits, temperature = _relaxed(ctx)
        compute = compute_dtype(logits.dtype)
        t = temperature.to(compute).reshape(())
        x = _logarithm(kind, sample.to(compute))
        y = x.exp() if not kind.exponentiated else sample.to(compute)
        k = sample.shape[-1]
        logits_tangent, temperature_tangent = (
            torch.zeros_like(p, dtype=compute) if d is None else d.to(compute)
            for p, d in zip((logits, temperature), tangents[5:], strict=True)
        )
        temperature_tangent = temperature_tangent.reshape(())
        if kind.pathwise:
            scores_tangent = (logits_tangent - x * temperature_tangent) / t
            x_tangent = scores_tangent - (y * scores_tangent).sum(-1, keepdim=True)
            sample_tangent = (y * x_tangent if kind.exponentiated else x_tangent).to(sample.dtype)
            log_prob_tangent = (temperature_tangent * (k - 1) / t).expand(sample.shape[:-1])
            if kind.exponentiated:
                log_prob_tangent = log_prob_tangent - x_tangent.sum(-1)
        else:
            sample_tangent = None
            score = _score(logits.to(compute), t, x)
            log_prob_tangent = (score * (logits_tangent - x * temperature_tangent)).sum(-1)
            log_prob_tangent = log_prob_tangent + temperature_tangent * (k - 1) / t
        return (sample_tangent, log_prob_tangent.to(sample.dtype)) if kind.log_prob else sample_tangent

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        kind, key, marker, shape, dtype, logits, temperature = args
        _, key_dims, marker_dim, _, _, logits_dim, temperature_dim = in_dims
        if temperature_dim is None or is_a_draw_an_example(key_dims, marker_dim):
            return vmapped_draw(RelaxedDraw, info, in_dims, *args)
        # A temperature for each example: draw at temperature 1.
        unit = replace(kind, exponentiated=False, log_prob=False)
        one = torch.ones((), dtype=logits.dtype, device=logits.device)
        x, _ = vmapped_draw(RelaxedDraw, info, (*in_dims[:6], None), unit, key, marker, shape, dtype, logits, one)
        if logits_dim is not None:
            logits = aligned(logits.movedim(logits_dim, 0), len(shape) + 1)
        temperature = temperature.movedim(temperature_dim, 0).reshape(-1, *(1,) * len(shape))
        outputs = with_temperature(kind, x, logits, temperature)
        return (outputs, (0, 0)) if len(outputs) == 2 else (outputs[0], 0)


def _relaxed(ctx: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The sample of a relaxed draw and its parameters."""
    *key, marker, logits, temperature, copy = ctx.saved_tensors
    if copy is None or torch._C._are_functorch_transforms_active() or wants_derivative((logits, temperature)):
        kind = replace(ctx.kind, log_prob=False)
        copy = _drawn_again(kind, key, marker, ctx.shape, logits, temperature)
    return copy, logits, temperature


def _logarithm(kind: Relaxed, sample: Tensor) -> Tensor:
    """That of the point of the simplex: of the smallest normal number for a coordinate that underflowed."""
    return sample.clamp_min(torch.finfo(sample.dtype).tiny).log() if kind.exponentiated else sample


def _score(logits: Tensor, temperature: Tensor, x: Tensor) -> Tensor:
    """The derivative of the log-density in the logits, at a fixed sample."""
    return 1 - x.shape[-1] * (logits - temperature * x).softmax(-1)


def with_temperature(kind: Relaxed, x: Tensor, logits: Tensor, temperature: Tensor) -> tuple[Tensor, ...]:
    """What a relaxed draw gives at temperatures that differ from row to row, from its draw at temperature 1.

    Args:
        x: log_softmax(logits - log E), of shape (..., K).
        temperature: of shape (..., 1), broadcastable with `x`.
    """
    x = (x / temperature).log_softmax(-1)
    # Both operations keep their result for backward, which the caller must not have.
    sample = x.exp().clone() if kind.exponentiated else x.clone()
    if not kind.log_prob:
        return (sample,)
    k = x.shape[-1]
    fixed = x if kind.pathwise else x.detach()
    log_prob = (logits - fixed * temperature).log_softmax(-1).sum(-1)
    t = temperature.squeeze(-1)
    log_prob = log_prob + torch.full_like(t, k).lgamma() + (k - 1) * t.log()
    return sample, log_prob - fixed.sum(-1) if kind.exponentiated else log_prob


Race.function, Relaxed.function = RaceDraw, RelaxedDraw
