"""Checks of a distribution's parameters: torch.distributions' own, in less time on the CPU, without waiting on a GPU.

torch.distributions' constructors wait for a GPU once per parameter. Here, unless validation is asked for explicitly
(`validate_args=True`), the check of a GPU tensor is only started: its outcome travels to the host behind the work that
is queued already, and the first construction or draw that finds it there raises what torch would have raised.
"""

from __future__ import annotations

import atexit
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from inspect import getattr_static
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property
from torch.nn import Parameter

from rsample.kernels.draws import native_core
from rsample.kernels.draws.keys import watched
from rsample.kernels.engines.triton import checks
from rsample.kernels.runtime.backend import TRITON_DEVICES
from rsample.kernels.runtime.dtensor import any_dtensor, local_part


class CheckedArguments(Distribution):
    """Mixin: checks the parameters of an instance that torch's constructor has initialised unchecked."""

    _lazy: ClassVar[frozenset[str]]  # attributes that follow from another parameter until they are given

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Looking at one on the class makes an object each time.
        cls._lazy = frozenset(name for name in dir(cls) if isinstance(getattr_static(cls, name), lazy_property))

    def _check_arguments(self, validate_args: bool | None, but: Sequence[str] = ()) -> None:
        """Adopt `validate_args`, and check the parameters `but` for some if validation is on.

        Raises:
            ValueError: a parameter does not satisfy its constraint, or did not in a distribution made before.
        """
        self._adopt(validate_args)
        if not self._validate_args:
            return
        own, plain = self.__dict__, not watched()
        for name, constraint in self.arg_constraints.items():
            if name in but:
                continue
            value = own.get(name)
            if value is None:
                if name in self._lazy or constraints.is_dependent(constraint):
                    continue
                value = getattr(self, name)
            if plain and (_satisfied(value, constraint) or self._is_checked_behind(name, value, constraint)):
                continue
            if not (constraints.is_dependent(constraint) or is_out_of_reach(value)):
                self._require_all(constraint.check(value), name, value, constraint)

    def _validate_sample(self, value: Tensor) -> None:
        if not (isinstance(value, Tensor) and value.is_meta):
            super()._validate_sample(value)

    def _adopt(self, validate_args: bool | None) -> None:
        """An instance without a `validate_args` of its own follows `Distribution.set_default_validate_args`."""
        if validate_args is not None:
            self._validate_args = validate_args
        elif torch.compiler.is_compiling():
            # torch.compile before 2.12 does not find the attribute of a class where the instance's was deleted.
            self._validate_args = Distribution._validate_args
        else:
            self.__dict__.pop("_validate_args", None)

    def _is_checked_behind(self, name: str, value: Tensor, constraint: Any) -> bool:
        """Whether one kernel on a GPU now checks a parameter."""
        kind = _kind(constraint, value)
        if kind is None or "_validate_args" in self.__dict__ or type(value) not in (Tensor, Parameter):
            return False
        if not value.is_cuda or is_out_of_reach(value) or not checks.can_check(value):
            return False
        outcome = PENDING.outcome(value.device)
        native_core.check(value, kind, outcome)
        PENDING.add(outcome, outcome, _later(type(self), name, value, constraint))
        return True

    def _require_all(self, valid: Tensor, name: str, value: Tensor, constraint: Any) -> None:
        """Raise, now or later, unless `valid` is true everywhere; the others are for the message."""
        if is_out_of_reach(valid):
            return
        if any_dtensor((valid,)):
            # Each rank checks its own shard, which needs no communication. torch.distributions cannot check DTensors.
            valid, self._validate_args = local_part(valid), False
        if "_validate_args" not in self.__dict__ and runs_behind(valid):
            PENDING.add_tensor(torch._is_all_true(valid), _later(type(self), name, value, constraint))
            return
        given = f"parameter {name} ({type(value).__name__} of shape {tuple(value.shape)})"
        if torch.compiler.is_exporting():
            # What is exported checks what it is run with, as of torch 2.15.
            shown = f"Expected {given} of distribution {type(self).__name__} to satisfy {_described(constraint)}"
            torch._assert_async(torch._is_all_true(valid).cpu(), shown)
            return
        # In this form torch.compile traces it.
        if not torch._is_all_true(valid):
            raise ValueError(
                f"Expected {given} of distribution {self!r} to satisfy the constraint {constraint!r}, "
                f"but found invalid values:\n{value}"
            )


def _later(cls: type, name: str, value: Tensor, constraint: Any) -> Callable[[], str]:
    """The message of a check whose outcome is seen later.

    The values are not kept: they may be large, and have changed when the outcome is there.
    """
    kind, shape = type(value).__name__, value.shape
    return lambda: (
        f"Expected parameter {name} ({kind} of shape {tuple(shape)}) of a distribution {cls.__name__} made before this "
        f"one to satisfy the constraint {_described(constraint)}. "
        "validate_args=True raises where that distribution is made"
    )


def _described(constraint: Any) -> str:
    """A constraint with its bounds, except for the values of tensors: to show these would wait for a GPU."""
    parts = vars(constraint)
    if not any(isinstance(part, (Tensor, constraints.Constraint)) for part in parts.values()):
        return repr(constraint)
    shown = []
    for name, part in parts.items():
        if isinstance(part, Tensor):
            part = f"a tensor of shape {tuple(part.shape)}"
        elif isinstance(part, constraints.Constraint):
            part = _described(part)
        shown.append(f"{name}={part}")
    return f"{type(constraint).__name__.lstrip('_')}({', '.join(shown)})"


def refuse_dtensors(distribution: Distribution, *params: object) -> None:
    """Raise a NotImplementedError if a parameter is a DTensor."""
    if any_dtensor(params):
        raise NotImplementedError(
            f"{type(distribution).__name__} does not take DTensor parameters; give it their full_tensor()"
        )


def runs_behind(value: Tensor) -> bool:
    """Whether a tensor is computed on a device that the host would have to wait for."""
    return (
        value.device.type in TRITON_DEVICES
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def is_out_of_reach(value: object) -> bool:
    """Whether a parameter cannot be checked: on the meta device, or on a GPU while a graph is captured.

    The graph would hold the check and replay it forever, and nothing can be read before it is replayed.
    """
    return isinstance(value, Tensor) and (value.is_meta or (value.is_cuda and _capturing()))


def _satisfied(value: Tensor, constraint: Any) -> bool:
    """Whether a glance shows that a plain tensor on the CPU satisfies a constraint: at its least and greatest number.

    They are NaN if any number is.
    """
    if (type(value) is not Tensor and type(value) is not Parameter) or not value.is_cpu:
        return False
    kind, core = _kind(constraint, value), native_core.CORE
    if core is not None:
        answer: bool | None = None
        if kind is not None:
            answer = core.satisfies(value, kind)
        elif constraint in _OF_MATRICES:
            answer = core.are_matrices(value, constraint is constraints.positive_definite)
        elif isinstance(constraint, _LESS_THAN):
            answer = core.below(value, constraint.upper_bound)
        elif isinstance(constraint, _GREATER_THAN):
            answer = core.below(constraint.lower_bound, value)
        if answer is not None:
            return answer
    if kind is None or kind == checks.WHOLE or value.numel() == 0:
        return False
    if value.requires_grad:
        value = value.detach()
    least = value.min().item()
    if kind == checks.REAL:
        return least == least
    if kind == checks.POSITIVE:
        return least > 0
    return least >= 0 and (kind == checks.NONNEGATIVE or value.max().item() <= 1)


def _kind(constraint: Any, value: object) -> int | None:
    """What each number of a value must be by a constraint, as checks.py names it; None for anything else."""
    while type(constraint) is _INDEPENDENT:
        if not isinstance(value, Tensor) or value.dim() < constraint.reinterpreted_batch_ndims:
            return None  # an error
        constraint = constraint.base_constraint
    return _KINDS.get(constraint)


_LESS_THAN, _GREATER_THAN = type(constraints.less_than(0.0)), type(constraints.greater_than(0.0))
_INDEPENDENT = type(constraints.real_vector)
_OF_MATRICES = (constraints.lower_cholesky, constraints.positive_definite)

_KINDS: dict[Any, int] = {
    constraints.real: checks.REAL,
    constraints.positive: checks.POSITIVE,
    constraints.unit_interval: checks.UNIT_INTERVAL,
    constraints.nonnegative: checks.NONNEGATIVE,
    constraints.nonnegative_integer: checks.WHOLE,
}


class _Check(NamedTuple):
    """An outcome on its way to the host: there once `arrived` says so."""

    valid: Any
    arrived: Any
    message: Callable[[], str]


class PendingChecks:
    """Checks whose outcome has not been looked at, oldest first in `checks`."""

    # So many outcomes on their way mean that the device is far behind; the next one waits.
    MOST = 4096

    def __init__(self) -> None:
        self.checks: deque[_Check] = deque()
        self._lock = threading.Lock()
        self._outcomes: checks.Outcomes | None = None
        self._of_parents: list[Any] = []

    def leave_to_parent(self) -> None:
        """Start again in a forked process, which cannot free its parent's pinned memory."""
        self._of_parents.append((self.checks, self._outcomes))
        self.checks, self._outcomes = deque(), None
        self._lock = threading.Lock()

    def outcome(self, device: torch.device) -> checks.Outcome:
        """One that a device has to write."""
        with self._lock:
            if self._outcomes is None:
                # More than can be on their way, so that none of these is taken again.
                self._outcomes = checks.Outcomes(2 * self.MOST)
            return self._outcomes.take(device)

    def add_tensor(self, valid: Tensor, message: Callable[[], str]) -> None:
        """Watch a 0-dim bool tensor on a device. Fake tensors have no values to watch."""
        if not isinstance(valid, FakeTensor):
            self.add(*_to_host(valid), message)

    def add(self, valid: Any, arrived: Any, message: Callable[[], str]) -> None:
        """Watch what is true or false once it has `arrived`."""
        with self._lock:
            self.checks.append(_Check(valid, arrived, message))
        self.raise_arrived()
        if len(self.checks) > self.MOST:
            self.checks[0].arrived.synchronize()

    def raise_arrived(self) -> None:
        """Look at the outcomes that are there.

        Raises:
            ValueError: a check has failed.
        """
        while self.checks:
            with self._lock:
                if not self.checks or not self.checks[0].arrived.query():
                    return
                check = self.checks.popleft()
            if not check.valid:
                raise ValueError(check.message())

    def warn_of_failures(self) -> None:
        """Wait for all that is left, and warn of what would go unnoticed otherwise."""
        while self.checks:
            check = self.checks.popleft()
            check.arrived.synchronize()
            if not check.valid:
                warnings.warn(check.message(), stacklevel=2)


def _capturing() -> bool:
    return (
        not torch.compiler.is_compiling() and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
    )


def _to_host(valid: Tensor) -> tuple[Any, Any]:
    """What a device's truth value becomes on the host, and what tells that it is there."""
    outcome = PENDING.outcome(valid.device)
    outcome.target.copy_(valid.view(torch.uint8), non_blocking=True)
    return outcome, outcome


PENDING = PendingChecks()


def raise_pending() -> None:
    """Raise ValueError where a check of parameters on a device is known to have failed.

    Not in compiled code, which must not depend on what happens to be on its way: the next draw outside of it raises.
    """
    if PENDING.checks and TracingContext.try_get() is None:
        PENDING.raise_arrived()


# As torch.compiler.assume_constant_result has it, which imports all of torch.compile.
raise_pending._dynamo_marked_constant = True  # type: ignore[attr-defined]


atexit.register(PENDING.warn_of_failures)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PENDING.leave_to_parent)
