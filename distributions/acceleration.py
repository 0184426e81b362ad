"""torch.distributions' own classes, drawn through this package for as long as it is asked for."""

from __future__ import annotations

import functools
import math
import operator
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributions as td
from torch import Tensor
from torch._C import _get_tracing_state
from torch.compiler import is_compiling
from torch.distributions import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    StickBreakingTransform,
    Transform,
)
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical as TorchExpRelaxedCategorical
from torch.distributions.transforms import _InverseTransform
from torch.distributions.utils import logits_to_probs

from rsample.kernels.draws import native_core
from rsample.kernels.draws.keys import watched
from rsample.kernels.draws.rows.draw import draw_rows
from rsample.kernels.draws.rows.ops import Relaxed, race
from rsample.kernels.draws.rows.simplex import stick_breaking
from rsample.kernels.engines.triton.checks import NONNEGATIVE, REAL, UNIT_INTERVAL
from rsample.kernels.laws.law import Law
from rsample.kernels.stream.noise import SIGNIFICAND_BITS

from ._delegation import DelegatedSampling
from ._draw_counts import Counts, DrawCounters, Report, report
from ._sampling import FusedSampling, KeyedSampling, checked_sample_shape, is_overridden
from ._validation import PENDING, raise_pending, runs_behind
from ._weights import in_force, valid_rows
from .multinomial import draw_counts

if TYPE_CHECKING:
    from typing_extensions import Self

# A draw of torch's distribution: `(distribution, sample_shape, differentiable)`; or why it is left to torch.
Draw = Callable[[Any, Sequence[int], bool], Tensor | str]


_ONE = torch.Size()  # the sample shape where none is given: one sample, whose shape of elementwise draws is the batch's


def accelerate() -> Acceleration:
    """Draw torch.distributions' own classes through this package, until the result is restored.

    While it lasts, `sample` and `rsample` of every torch.distributions class that has a counterpart of the same name
    here are the counterpart's draw: one kernel, pathwise gradients, `torch.manual_seed`. Subclasses, such as Pyro's or
    TorchRL's, inherit it, and so do the `Independent`, `TransformedDistribution` and `MixtureSameFamily` made of them:
    no code of a model changes. All else stays torch's: constructors, validation, `log_prob`, `has_rsample` (so that a
    distribution which torch cannot reparameterise is still not reparameterised), shapes and dtypes. The numbers that
    a seed gives are this package's, and `LKJCholesky` follows the law of its `log_prob`.

    Left to torch are a subclass that overrides `sample` or `rsample`, whose calls of `super()` are accelerated; one
    that overrides what torch's draw is made of, such as `probs` or the list of transforms; parameters that are not
    plain tensors of one dtype among float16, bfloat16, float32 and float64; meta tensors; calls with an argument that
    torch's method has besides `sample_shape`, such as Gamma's `generator`; and what `torch.jit.trace` records.

    Where validation is off, what stops torch's draw on the CPU stops this one too, with torch's own error: weights that
    are NaN, negative or without a sum (Categorical and what is made of it), a negative scale (`sample` of Normal,
    LogNormal, HalfNormal), a negative rate (Poisson), a chance outside of [0, 1] (Bernoulli), NaN in any of these. On a
    GPU, where torch's error ends the use of the device, a later draw raises a ValueError. Compiled code does not look.

    It changes attributes of classes, in the whole process: every thread draws by it, and not only the one that asked.
    It may be asked for again while it lasts; torch's attributes are back, as they were, when the last one has been
    restored. Asking and restoring are safe from any thread. `torch.compile` traces the draws while it lasts, and again
    after it has been restored; but code that was compiled before does not see it, until `torch.compiler.reset()`.

    What it did for a program is counted: :meth:`Acceleration.report` says how many draws of which class were made here,
    and how many were left to torch, and why.

    Example::

        >>> with accelerate():
        ...     torch.distributions.Normal(torch.zeros(3), 1.0).rsample((16,)).shape
        torch.Size([16, 3])
        >>> acceleration = accelerate()  # stays on
        >>> acceleration.restore()
        >>> print(acceleration.report())
        Draws of torch.distributions' classes under accelerate():
        ...

    Returns:
        A context manager that restores at the end of its block, also after an exception.
    """
    return Acceleration()


class Acceleration:
    """One caller's request that torch.distributions be accelerated, made by :func:`accelerate`."""

    def __init__(self) -> None:
        self._lasts = True
        self._entered = False
        with _lock:
            _wishes.append(self)
            if len(_wishes) == 1:
                _replace()
            self._before = _counters.read()
            self._after: Counts | None = None

    def restore(self) -> None:
        """End this request. A second call does nothing."""
        with _lock:
            if self._lasts:
                self._after = _counters.read()
                self._lasts = False
                _wishes.remove(self)
                if not _wishes:
                    _put_back()

    def report(self) -> Report:
        """What this request has done so far, or did until it was restored: `print` it.

        Draws of all threads are counted, those of code while `torch.compile` compiles it and after that are not. A
        subclass counts as the class of torch whose method it inherits or calls. Draws that nothing here replaces, such
        as those by `torch.randn`, cannot be counted; loaded subclasses that draw by methods of their own are named.

        Returns:
            A :class:`Report`, whose attributes are the numbers and whose `str` is a text of some lines.
        """
        with _lock:
            after = _counters.read() if self._after is None else self._after
            return report(self._before, after, _draws)

    def __enter__(self) -> Self:
        if self._entered or not self._lasts:
            raise RuntimeError("this acceleration has been entered or restored before; call accelerate() for another")
        self._entered = True
        return self

    def __exit__(self, *exception: object) -> None:
        self.restore()


_lock = threading.Lock()
_counters = DrawCounters()
_taken: dict[type[td.Distribution], Callable[[], int]] = {}  # by torch's classes: counts one draw that was made here
_wishes: list[Acceleration] = []
_lasting = False
_ABSENT = object()
_replaced: list[tuple[type, str, object]] = []  # class, attribute, and what the class itself had there


def _replace() -> None:
    global _lasting
    # Made before any is set, so that each is made of what torch has.
    for theirs, name, method in list(_methods()):
        _replaced.append((theirs, name, vars(theirs).get(name, _ABSENT)))
        setattr(theirs, name, method)
    _lasting = True


def _put_back() -> None:
    global _lasting
    _lasting = False
    while _replaced:
        theirs, name, before = _replaced.pop()
        if before is _ABSENT:
            delattr(theirs, name)
        else:
            setattr(theirs, name, before)


def _methods() -> Iterator[tuple[type[td.Distribution], str, Callable[..., Tensor]]]:
    """What replaces the draws of torch's classes that have a counterpart of the same name here."""
    package = sys.modules[__package__]
    for exported in package.__all__:
        ours = getattr(package, exported)
        if not (isinstance(ours, type) and issubclass(ours, KeyedSampling)):
            continue
        theirs: Any = next(base for base in ours.__mro__ if base.__module__.startswith("torch."))
        if ours._draw is DelegatedSampling._draw and theirs not in _draws:
            continue  # drawn through what it is made of
        if theirs.__name__ == exported and (names := _drawing_methods(theirs)):
            if theirs not in _draws:
                _draws[theirs] = _fused(ours, theirs) if issubclass(ours, FusedSampling) else _composed(ours, theirs)
            for name in names:
                yield theirs, name, _method(theirs, name)


def _drawing_methods(theirs: type[td.Distribution]) -> list[str]:
    """Those among `sample` and `rsample` that make a draw of their own, and do not call the other one.

    What calls another method of the instance is accelerated by it, and right in a subclass that overrides that one.
    """
    calls_the_other = {td.Gamma: "sample", td.OneHotCategoricalStraightThrough: "rsample"}.get(theirs)
    # A transformed distribution's methods call those of its base, which is drawn in a kernel of its own.
    own = ("sample", "rsample") if issubclass(theirs, td.TransformedDistribution) else vars(theirs)
    return [name for name in ("sample", "rsample") if name in own and name != calls_the_other]


def _method(theirs: type[td.Distribution], name: str) -> Callable[..., Tensor]:
    torchs: Callable[..., Tensor] = getattr(theirs, name)
    differentiable = name == "rsample"
    _taken[theirs] = _counters.counter(theirs.__name__).add

    @functools.wraps(torchs)
    def method(self: Any, sample_shape: Sequence[int] = _ONE, *args: Any, **options: Any) -> Tensor:
        # Compiled code asks whether it lasts too, and is compiled again where the answer is another one.
        if _lasting:
            if (args or options) and any(option is not None for option in (*args, *options.values())):
                sample: Tensor | str = "called with an argument besides sample_shape"
            elif _get_tracing_state():
                sample = "recorded by torch.jit.trace"
            else:
                raise_pending()
                sample = _draws[theirs](self, sample_shape, differentiable)
            if not isinstance(sample, str):
                if not is_compiling():
                    _taken[theirs]()
                return sample
            if not is_compiling():
                _counters.counter(theirs.__name__, sample).add()
        return torchs(self, sample_shape, *args, **options)

    return method


# Why draws are left to torch; others are said where they are found.
_MADE_OTHERWISE = "made of another base or other transforms than torch's constructor makes it of"
_NO_LAW = "parameters that torch refuses to draw from"
_TEMPERATURES = "a temperature of more than one number"

# What torch's constructors make these classes of: the base, which a subclass may have replaced, and the transforms.
_MADE_OF: dict[type[td.Distribution], tuple[type[td.Distribution], tuple[type[Transform], ...]]] = {
    td.Gumbel: (td.Uniform, (_InverseTransform, AffineTransform, _InverseTransform, AffineTransform)),
    td.HalfCauchy: (td.Cauchy, (AbsTransform,)),
    td.HalfNormal: (td.Normal, (AbsTransform,)),
    td.InverseGamma: (td.Gamma, (PowerTransform,)),
    td.Kumaraswamy: (td.Uniform, (PowerTransform, AffineTransform, PowerTransform)),
    td.LogNormal: (td.Normal, (ExpTransform,)),
    td.LogisticNormal: (td.Independent, (StickBreakingTransform,)),
    td.Pareto: (td.Exponential, (ExpTransform, AffineTransform)),
    td.RelaxedBernoulli: (LogitRelaxedBernoulli, (SigmoidTransform,)),
    td.RelaxedOneHotCategorical: (TorchExpRelaxedCategorical, (ExpTransform,)),
    td.Weibull: (td.Exponential, (PowerTransform, AffineTransform)),
}

# Methods of the instance, other than that of the base, which torch's draw calls.
_CALLS = {td.ContinuousBernoulli: "icdf", td.GeneralizedPareto: "icdf"}

# What the draws that are composed of others read.
_PARAMETERS = {
    td.Dirichlet: ("concentration",),
    td.LKJCholesky: ("concentration",),
    td.LowRankMultivariateNormal: ("loc", "_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag"),
    td.MultivariateNormal: ("loc", "_unbroadcasted_scale_tril"),
    td.Wishart: ("df", "_unbroadcasted_scale_tril"),
}


def _fused(ours: type[FusedSampling], theirs: type[td.Distribution]) -> Draw:
    """The draw of one law, by the names of its parameters; of probs and logits those that torch was given."""
    of_logits = {"logits" in sampler.law.parameters: sampler for sampler in ours._samplers}
    called, is_transformed, is_limited = _CALLS.get(theirs), theirs in _MADE_OF, theirs in _LIMITS

    def draw(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
        if is_transformed and not _is_made_as(theirs, d):
            return _MADE_OTHERWISE
        if called is not None and is_overridden(type(d), called):
            return f"a subclass overrides {called}"
        if len(of_logits) == 2:
            name, chance = in_force(d.base_dist if theirs is td.RelaxedBernoulli else d, is_binary=True)
            sampler = of_logits[name == "logits"]
            params = [getattr(d, n) if n != name else chance for n in sampler.law.parameters]
        else:
            (sampler,) = of_logits.values()
            params = [getattr(d, name) for name in sampler.law.parameters]
        if sampler.law.parameters[0] == "temperature":
            temperature = _temperature(d, params[1])
            if temperature is None:
                return _TEMPERATURES
            params[0] = temperature
        shape = d._batch_shape if sample_shape is _ONE else d._extended_shape(sample_shape)
        is_checked = not is_limited or differentiable or d._validate_args
        if is_checked:
            sample: Tensor | None = sampler.by_core(params, shape, differentiable)  # of what is accepted here
            if sample is not None:
                return sample
        if refused := _refused(params):
            return refused
        if not (is_checked or _is_within_limits(d, sampler.law, params)):
            return _NO_LAW
        sample = sampler(params, shape, differentiable=differentiable)
        return sample

    return draw


# What torch's draws themselves raise of, and not only its validation: the least and greatest number of a parameter.
_LIMITS: dict[type[td.Distribution], dict[str, tuple[float, float]]] = {
    td.Bernoulli: {"probs": (0.0, 1.0), "logits": (-math.inf, math.inf)},
    td.HalfNormal: {"scale": (0.0, math.inf)},
    td.LogNormal: {"scale": (0.0, math.inf)},
    td.NegativeBinomial: {"probs": (-math.inf, math.inf), "logits": (-math.inf, math.inf)},
    td.Normal: {"scale": (0.0, math.inf)},
    td.Poisson: {"rate": (0.0, math.inf)},
}


# The kinds of checks.py that numbers between these are of; none of them has NaN.
_SEEN = {(0.0, 1.0): UNIT_INTERVAL, (0.0, math.inf): NONNEGATIVE, (-math.inf, math.inf): REAL}


def _is_within_limits(d: Any, law: Law, params: list[Tensor]) -> bool:
    """Whether torch's draw would take parameters that have not been validated."""
    theirs = next(cls for cls in type(d).__mro__ if cls in _LIMITS)
    for name, (lowest, highest) in _LIMITS[theirs].items():
        if name in law.parameters:
            value = params[law.parameters.index(name)]
            core = native_core.CORE
            if core is not None and not is_compiling() and core.satisfies(value, _SEEN[lowest, highest]):
                continue
            if value.numel() > 0 and not watched():
                least, most = value.detach().aminmax()
                return not _is_outside((least >= lowest) & (most <= highest), d, name, value)
    return True


def _is_outside(valid: Tensor, d: td.Distribution, name: str, value: Tensor) -> bool:
    """Whether `valid`, one truth value, is false. That of a GPU is raised later: torch's own error ends its use."""
    if not runs_behind(valid):
        return not valid
    kind, shape, drawn = type(value).__name__, tuple(value.shape), type(d).__name__
    PENDING.add_tensor(
        valid,
        lambda: (
            f"parameter {name} ({kind} of shape {shape}) that a {drawn} was drawn from has numbers that "
            "torch.distributions refuses to draw from"
        ),
    )
    return False


def _composed(ours: type[KeyedSampling], theirs: type[td.Distribution]) -> Draw:
    """The draw of a class whose `_draw` reads only what torch's class has too."""
    names = _PARAMETERS[theirs]
    own_draw: Any = ours._draw

    def draw(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
        if refused := _refused([getattr(d, name) for name in names]):
            return refused
        sample: Tensor = own_draw(d, sample_shape, None, None, differentiable=differentiable, log_prob=False)[0]
        return sample

    return draw


def _categorical(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    given = _accepted_weights(d)
    if isinstance(given, str):
        return given
    name, weights = given
    shape = d._batch_shape + (d._num_events,)  # noqa: RUF005, as a torch.Size
    if sample_shape is not _ONE:
        shape = checked_sample_shape(sample_shape) + shape
    return draw_rows(race(name == "probs", False, False, False), {name: weights}, shape)[0]


def _one_hot(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    given = _accepted_weights_below(d)
    if isinstance(given, str):
        return given
    name, weights = given
    shape = checked_sample_shape(sample_shape) + d._batch_shape + d._event_shape
    return draw_rows(race(name == "probs", True, False, False), {name: weights}, shape)[0]


def _multinomial(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    given = _accepted_weights_below(d)
    if isinstance(given, str):
        return given
    name, weights = given
    probs = weights if name == "probs" else logits_to_probs(weights)
    return draw_counts(probs.detach(), d.total_count, sample_shape)


def _logistic_normal(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    if not _is_made_as(td.LogisticNormal, d):
        return _MADE_OTHERWISE
    if differentiable:
        return stick_breaking(d.base_dist.rsample(sample_shape))
    with torch.set_grad_enabled(False):
        return stick_breaking(d.base_dist.sample(sample_shape))


def _accepted_weights(categorical: Any) -> tuple[str, Tensor] | str:
    name, weights = in_force(categorical)
    if refused := _refused([weights]):
        return refused
    own = categorical.__dict__
    given = own.get("_param")
    is_as_made = given is own.get("logits") or given is own.get("probs")
    if (categorical._validate_args and is_as_made) or weights.numel() == 0 or watched():
        return name, weights
    w = weights.detach()
    if weights is not given:
        valid = valid_rows(w, name).all()
    elif name == "probs":  # normalised by torch, which makes NaN of what has no law but negative numbers
        valid = w.min() >= 0
    else:
        valid = w.max() < math.inf
    return _NO_LAW if _is_outside(valid, categorical, name, weights) else (name, weights)


def _accepted_weights_below(d: Any) -> tuple[str, Tensor] | str:
    """Those of the categorical distribution that one is made of, unless that has a draw of its own."""
    return _accepted_weights(d._categorical) if _draws_as(td.Categorical, d._categorical) else _MADE_OTHERWISE


def _relaxed_one_hot(d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    if not _is_made_as(td.RelaxedOneHotCategorical, d):
        return _MADE_OTHERWISE
    return _relaxed(True, d, sample_shape, differentiable)


def _relaxed(exponentiated: bool, d: Any, sample_shape: Sequence[int], differentiable: bool) -> Tensor | str:
    logits = d.logits
    temperature = _temperature(d, logits)
    if temperature is None:
        return _TEMPERATURES
    if refused := _refused([logits, temperature]):
        return refused
    kind = Relaxed(exponentiated, log_prob=False, pathwise=differentiable)
    params = {"logits": logits, "temperature": temperature}
    return draw_rows(kind, params, checked_sample_shape(sample_shape) + logits.shape, differentiable=differentiable)[0]


# By torch's classes; the draws of laws and of what is composed of others are added at first use. The methods look their
# draw up here, where torch.compile finds it: it cannot trace samplers that a class's method closes over.
_draws: dict[type[td.Distribution], Draw] = {
    td.Categorical: _categorical,
    td.LogisticNormal: _logistic_normal,
    td.Multinomial: _multinomial,
    td.OneHotCategorical: _one_hot,
    td.RelaxedOneHotCategorical: _relaxed_one_hot,
    TorchExpRelaxedCategorical: functools.partial(_relaxed, False),
}


def _refused(params: list[Any]) -> str:
    """Why these are not parameters that a kernel takes, and of the dtype of torch's sample; "" where they are."""
    last = params[-1]
    dtype = last.dtype
    if dtype not in SIGNIFICAND_BITS:
        return f"parameters of {dtype}"
    if last.is_meta:
        return "parameters on the meta device"
    for p in params:
        # Other types of tensor have a way of their own through torch's operations.
        if type(p) not in (Tensor, torch.nn.Parameter):
            return f"parameters of type {type(p).__name__}"
        if p is not last:
            if p.dtype != dtype:
                return "parameters of two dtypes"
            if p.device != last.device:
                return "parameters on two devices"
    return ""


def _temperature(d: Any, like: Tensor) -> Tensor | None:
    """The temperature as one number of the other parameter's dtype, which the sample has; None where it is many."""
    given = d.temperature
    if not isinstance(given, Tensor):
        return torch.tensor(given, dtype=like.dtype, device=like.device)
    if given.dim() == 0:
        return given.to(like)
    return given if given.numel() == 1 and given.dim() <= like.dim() else None


def _is_made_as(theirs: type[td.Distribution], d: Any) -> bool:
    """Whether a transformed distribution still has the base and the transforms that torch's constructor gave it."""
    if theirs not in _MADE_OF:
        return True
    base, transforms = _MADE_OF[theirs]
    given = [type(t) for t in d.transforms]
    # torch.compile cannot compare lists of types before torch 2.14.
    return _draws_as(base, d.base_dist) and len(given) == len(transforms) and all(map(operator.is_, given, transforms))


def _draws_as(theirs: type[td.Distribution], d: td.Distribution) -> bool:
    """Whether a distribution is of torch's class, or of a subclass that inherits its draw."""
    return type(d).sample is theirs.sample and type(d).rsample is theirs.rsample
