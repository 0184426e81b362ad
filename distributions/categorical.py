"""Categorical distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.distributions import Distribution, constraints

from rsample.kernels.draws import native_core
from rsample.kernels.draws.rows.draw import draw_rows
from rsample.kernels.draws.rows.ops import race
from rsample.kernels.formula.special import log_probability

from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from ._validation import CheckedArguments, is_out_of_reach
from ._weights import NAMES, converted, copied, exactly, in_force, normalised, rows_alike, valid_rows, version


class _Param:
    """The normalised parameter, as torch.distributions' own classes name it; a plain attribute where it is set."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else getattr(instance, instance._given)


class Categorical(KeyedSampling, torch.distributions.Categorical):
    r"""Categorical distribution over :math:`\{0, \ldots, K - 1\}`, from unnormalised probabilities or logits.

    A draw is the winner of an exponential race (the Gumbel-max trick): :math:`\arg\max_k (\ell_k - \log E_k)`, or
    :math:`\arg\max_k p_k / E_k`, with standard exponential :math:`E_k` made in the kernel. Where one row of weights is
    drawn from more than once, by shapes alone, draws look up a random number of 64 bits in the row's running sum of
    whole numbers instead: each weight is off by less than K / 2**61 of the largest one, besides its rounding. Weights
    are never normalised; `logits` and `probs`, normalised as in torch.distributions, are computed when asked for
    for them. There is no limit on the number of categories, and none of probability 0 is ever drawn: where validation
    is off, a row without any other gives 0, and weights that are NaN are never drawn. Samples are int64. There is no
    reparameterisation: gradients need a score-function estimator or a relaxation.

    The distribution keeps a copy of the weights, where torch.distributions keeps normalised ones: neither moves when
    the given tensor is changed later, by an optimiser's step or in place. A draw reads that copy once. `logits` and
    `probs` can be assigned, and what they return can be edited in place, which the version counter of the tensor
    tells (not through `.data`): from then on draws, densities and the other attribute all follow from it.

    Example::

        >>> Categorical(logits=torch.zeros(4)).sample((3,)).shape
        torch.Size([3])

    Args:
        probs: probabilities, non-negative and with a positive sum, of shape (..., K). Integers are promoted.
        logits: log-probabilities up to a number for each row, of shape (..., K), -inf included; exactly one of `probs`
            and `logits` is given.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: both or neither of `probs` and `logits`, one without a dimension, or validation is on and a row
            has a NaN, a negative probability, an infinite sum or no category of positive probability.
    """

    _examples = (
        Example({"probs": (0.1, 1.0, 3)}),
        Example({"logits": (-1.0, 1.0, 3)}),
    )

    # What draws read, of shape (..., K) and unexpanded. Where `_is_assigned`, it is the attribute of its name, as
    # it has been set or edited; otherwise that attribute is computed from it.
    _weights: Tensor
    _from_probs: bool
    _is_assigned = False
    _counted: tuple[tuple[str, Tensor, int], ...] = ()  # the attributes that there are, and how often each was edited
    _reference: Tensor | None = None  # what the given one was then, where versions are not counted
    # A subclass that overrides what torch's methods are made of is initialised as torch does it, and has no `_weights`.
    _is_overridden = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        made_of = {"logits", "probs", "_param", "_num_events", "param_shape", "expand"}
        above = cls.__mro__[: cls.__mro__.index(Categorical)]
        cls._is_overridden = any(made_of & vars(base).keys() for base in above)

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name, weights = ("logits", logits) if probs is None else ("probs", probs)
        assert weights is not None
        if weights.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if self._is_overridden:
            torch.distributions.Categorical.__init__(self, probs, logits, validate_args=False)
            self._check_arguments(validate_args, but=tuple(n for n in NAMES if n != name))
            return
        self._set_weights(copied(weights, name), name == "probs", weights.shape[:-1], validate_args)
        if self._validate_args:
            self._check_weights(name)

    def _set_weights(
        self, weights: Tensor, from_probs: bool, batch_shape: torch.Size, validate_args: bool | None
    ) -> None:
        """Becomes the distribution of `weights` of shape (..., K), unexpanded, over a batch shape."""
        self._weights, self._from_probs, self._num_events = weights, from_probs, weights.shape[-1]
        initialise_checked(self, batch_shape, torch.Size(), validate_args)

    def _check_weights(self, name: str) -> None:
        weights, constraint = self._weights, self.arg_constraints.get(name)
        if constraint is None or is_out_of_reach(weights):  # of a subclass with parameters of its own
            return
        standard = constraint is (constraints.simplex if self._from_probs else constraints.real_vector)
        core = None if torch.compiler.is_compiling() else native_core.CORE
        if standard and core is not None and core.weighs(weights, self._from_probs):
            return
        valid = valid_rows(weights, name) if standard else constraint.check(getattr(self, name))
        self._require_all(valid, name, weights, constraint)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Categorical:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them.

        Raises:
            RuntimeError: the batch shape does not expand to it.
        """
        new: Categorical = self._get_checked_instance(Categorical, _instance)
        batch_shape = torch.Size(batch_shape)
        if self._is_overridden:
            super().expand(batch_shape, _instance=new)
            return new
        self._settle()
        shape = self._weights.expand(self.param_shape).expand(*batch_shape, self._num_events).shape
        new._set_weights(self._weights, self._from_probs, shape[:-1], self._validate_args)
        own = self.__dict__
        for name in NAMES:
            if name in own:
                new.__dict__[name] = own[name].expand(shape)
        if self._is_assigned:
            new._is_assigned, new._weights = True, new.__dict__[self._given]
        new._count_edits()
        return new

    @property
    def logits(self) -> Tensor:
        """Normalised log-probabilities."""
        self._settle()
        value = self.__dict__.get("logits")
        return self._made("logits") if value is None else value

    @logits.setter
    def logits(self, value: Tensor) -> None:
        self._assign("logits", value)

    @property
    def probs(self) -> Tensor:
        """Normalised probabilities."""
        self._settle()
        value = self.__dict__.get("probs")
        return self._made("probs") if value is None else value

    @probs.setter
    def probs(self, value: Tensor) -> None:
        self._assign("probs", value)

    _param = _Param()

    @property
    def _given(self) -> str:
        return "probs" if self._from_probs else "logits"

    @property
    def _other(self) -> str:
        return "logits" if self._from_probs else "probs"

    def _made(self, name: str) -> Tensor:
        """The attribute of this name, which has not been asked for before."""
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            with torch.inference_mode(False):  # inference tensors have no version counter to tell that they are edited
                return self._made(name)
        with torch.enable_grad():
            if self._is_overridden or name != self._given:
                value = converted(getattr(self, "probs" if name == "logits" else "logits"), name)
            else:
                value = normalised(self._weights, name)
                if value.shape != self.param_shape:
                    value = value.expand(self.param_shape)
        self.__dict__[name] = value
        if not self._is_overridden:
            self._count_edits()
        return value

    def _count_edits(self) -> None:
        """From now on; of the attribute first that follows from the other one."""
        own = self.__dict__
        self._counted = tuple(
            (name, own[name], count)
            for name in (self._other, self._given)
            if name in own and (count := version(own[name])) is not None
        )

    def _assign(self, name: str, value: Tensor) -> None:
        self.__dict__[name] = value
        if not self._is_overridden:
            self._weights, self._from_probs, self._is_assigned = value, name == "probs", True
            self.__dict__.pop(self._other, None)
            self._count_edits()
            self._reference = None

    def _settle(self) -> None:
        """Become the distribution of the attribute that was edited in place, if one was."""
        if (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()) and self._is_traced():
            self._settle_by_value()
            return
        for name, value, count in self._counted:
            if value._version != count:
                self._assign(name, value)
                return

    def _is_traced(self) -> bool:
        """Whether there are attributes that are edited without their version telling it."""
        if self._is_overridden:
            return False
        present = [self.__dict__[name] for name in NAMES if name in self.__dict__]
        if torch.compiler.is_compiling():
            return bool(present)
        return torch._C._are_functorch_transforms_active() and any(map(is_functorch_wrapped_tensor, present))

    def _settle_by_value(self) -> None:
        """The same where versions are not counted: each row is that of the attribute that does not follow."""
        own, given, other = self.__dict__, self._given, self._other
        first = self._reference
        if first is None:
            first = self._weights if self._is_assigned else normalised(self._weights, given)
        mine = own.get(given, first)
        if mine is not first:
            self._weights = torch.where(rows_alike(mine, first), self._weights, mine)
        if other in own:
            follows, stale = (rows_alike(own[other], converted(x, other)) for x in (mine, first))
            self._weights = torch.where(follows | stale, self._weights, exactly(own[other], given))
            own[given] = torch.where(follows | stale, mine, converted(own[other], given))
            if mine is not first:
                own[other] = torch.where(stale, converted(mine, other), own[other])
        self._reference = own.get(given, first).clone()

    def _in_force(self) -> tuple[str, Tensor]:
        """What draws read: its name, and weights of a shape that expands to `param_shape`."""
        if self._is_overridden:
            return in_force(self)
        self._settle()
        return self._given, self._weights

    @property
    def _is_as_given(self) -> bool:
        """Whether the attributes are the weights that draws read, normalised: they cannot have been set or edited."""
        if self._is_overridden or self._is_assigned:
            return False
        return not self._is_traced()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass: from probabilities their logarithm, -inf of 0, where torch bounds it by that of the dtype's eps."""
        if self._is_overridden or self._in_force()[0] == "logits":
            log_prob: Tensor = super().log_prob(value)
            return log_prob
        if self._validate_args:
            self._validate_sample(value)
        value, probs = torch.broadcast_tensors(value.long().unsqueeze(-1), self.probs)
        return log_probability(probs.gather(-1, value[..., :1]).squeeze(-1))

    def entropy(self) -> Tensor:
        if self._is_overridden:
            entropy: Tensor = super().entropy()
            return entropy
        from_probs, probs = self._in_force()[0] == "probs", self.probs
        # Of a category of probability 0 nothing is counted, and its derivative is finite.
        least = torch.finfo(probs.dtype).tiny
        logits = torch.log(probs.clamp(min=least)) if from_probs else self.logits.clamp(min=-1 / least)
        return -(probs * logits).sum(-1)

    def weights_as_logits(self) -> Tensor:
        """Logits, unexpanded and perhaps unnormalised; of probabilities the ones that torch.distributions has."""
        name, weights = self._in_force()
        if not self._is_as_given:
            return self.logits
        return weights if name == "logits" else converted(normalised(weights, name), "logits")

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._is_overridden:  # copies of tensors count from another number
            self._count_edits()

    @property
    def param_shape(self) -> torch.Size:
        """The shape of `probs` and `logits`: of the batch, and a dimension of categories."""
        return torch.Size((*self._batch_shape, self._num_events))

    def _new(self, *args: Any, **kwargs: Any) -> Tensor:
        new: Tensor = self._param.new(*args, **kwargs)
        return new

    def __repr__(self) -> str:
        if self._is_overridden or self.arg_constraints is not torch.distributions.Categorical.arg_constraints:
            return super().__repr__()
        return f"{type(self).__name__}({self._given}: {self.param_shape})"

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        return self._race(sample_shape, generator, key, one_hot=False, log_prob=log_prob)

    def _race(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        one_hot: bool,
        log_prob: bool,
        straight_through: bool = False,
    ) -> tuple[Tensor, ...]:
        name, weights = self._in_force()
        shape = checked_sample_shape(sample_shape) + self.param_shape
        log_prob = log_prob and self._is_as_given  # a density is that of the attribute, which need not be normalised
        return draw_rows(
            race(name == "probs", one_hot, log_prob, straight_through),
            {name: weights},
            shape,
            generator=generator,
            key=key,
            differentiable=log_prob or straight_through,
        )


def initialise_checked(
    distribution: CheckedArguments, batch_shape: torch.Size, event_shape: torch.Size, validate_args: bool | None
) -> None:
    """torch.distributions' base constructor, without its check of the weights, which are the normalised ones."""
    Distribution.__init__(distribution, batch_shape, event_shape, validate_args=False)
    if distribution.arg_constraints.keys() == set(NAMES):
        distribution._adopt(validate_args)
    else:  # a subclass with parameters of its own
        distribution._check_arguments(validate_args, but=NAMES)
