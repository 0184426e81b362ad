"""What every kind of draw has in common: the operators of torch.library, and how a draw goes through them.

    rsample::<name>(Tensor[] key, Tensor <parameter>..., SymInt[] shape, <options>...) -> Tensor, or several

`key` is a packed key (one tensor) or a generator's reservation (three); see :mod:`draws.keys`; and, for part
of a sample, one tensor more; see :mod:`stream.window`. Operators are opaque to torch.compile: a compiled model
runs the same kernels as an eager one and draws the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..engines.outputs import Outputs, returned
from ..engines.triton.launch import group_size
from ..stream.noise import elements_per_block
from .keys import calls_are_seen
from .lean_function import wants_derivative

if TYPE_CHECKING:
    from .lean_function import LeanFunction

LIBRARY = torch.library.Library("rsample", "FRAGMENT")


class Operators:
    """A kind of draw: what it takes, what runs it, and its gradient.

    Attributes:
        name: of the forward operator.
        parameters: their names in messages and in the operator.
        events: for each parameter, how many of its last dimensions stand in the place of the sample's last one.
        outputs: how many tensors a draw gives.
        location: the position of the parameter whose gradient is that of the sample where they have one shape, or None.
        whole_rows: whether elements depend on those of their row, along the last dimension.
        tangent: the kind of draw that a tangent of a linear draw is.
        function: the torch.autograd.Function of a draw that gradients reach the parameters of.
        forward_op: `rsample::<name>`.
        backward_op: `rsample::<name>_backward`; None where there is no gradient or torch operations make it.
    """

    name: str
    parameters: tuple[str, ...]
    events: tuple[int, ...]
    outputs: int = 1
    location: int | None = None
    whole_rows: bool = False
    tangent: Operators
    function: type[LeanFunction]
    forward_op: Any
    backward_op: Any = None

    def options(self, dtype: torch.dtype) -> tuple[Any, ...]:
        """The forward operator's arguments behind the shape."""
        return (dtype,)

    @property
    def marks(self) -> dict[str, Any]:
        """What a recorded call of the operators says besides, by name."""
        return {}

    def blocks(self, params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype) -> int:
        """The Philox blocks that a draw takes."""
        return -(-math.prod(shape) // self.per_block(dtype))

    def parts(self, params: Sequence[Tensor], shape: Sequence[int]) -> str:
        """What the part of a sample that a rank draws is made of, see :mod:`draws.sharded`.

        "elements"; "rows", whole ones; "numbered draws" from rows, each of which knows its number.

        Raises:
            NotImplementedError: there are only whole samples.
        """
        raise NotImplementedError

    def per_block(self, dtype: torch.dtype) -> int:
        """How many elements a Philox block feeds."""
        return elements_per_block(dtype)

    def group(self, dtype: torch.dtype) -> int:
        """Of how many elements the runs of a window are made."""
        return group_size(dtype)

    def run_forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        """The draw itself, below the dispatcher."""
        raise NotImplementedError

    def run_backward(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        """The gradients of the parameters that `needs` marks, from those of outputs, below the dispatcher."""
        raise NotImplementedError

    def forward(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        """The forward operator below autograd; nothing in it builds a graph as long as no parameter requires grad."""
        if is_plain(params):
            return self.run_forward(key, params, shape, dtype)
        with torch._C._AutoDispatchBelowAutograd():
            return returned(self.forward_op(list(key), *params, shape, *self.options(dtype), **self.marks))

    def backward(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        """The backward operator below autograd."""
        if is_plain((*given, *params)):
            return self.run_backward(key, given, params, needs)
        with torch._C._AutoDispatchBelowAutograd():
            grads: list[Tensor] = self.backward_op(list(key), *given, *params, needs, **self.marks)
        return grads

    def from_key(
        self,
        key: Sequence[Tensor],
        params: Sequence[Tensor],
        shape: Sequence[int],
        dtype: torch.dtype,
        differentiable: bool,
    ) -> Outputs:
        """The draw of a key as operators take it, in eager mode, from checked arguments."""
        if not wants_derivative(params):
            return self.forward(key, params, shape, dtype)
        if differentiable:
            drawn: Outputs = self.function.apply(self, tuple(key), None, tuple(shape), dtype, *params)
            return drawn
        with torch._C._AutoDispatchBelowAutograd():
            return self.forward(key, params, shape, dtype)

    def recorded(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Outputs:
        """What the forward operator does where a gradient may be asked for."""
        return self.from_key(key, params, shape, dtype, True)


def define(
    schema: str, kernel: Callable[..., Any], fake: Callable[..., Any], autograd: Callable[..., Any] | None = None
) -> Any:
    """The operator of a schema; `autograd` is what it does where a gradient may be asked for."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema)
    LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
    if autograd is not None:
        LIBRARY.impl(name, autograd, "Autograd")
    torch.library.register_fake(f"rsample::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.rsample, name).default


def fake_backward(*args: Any) -> list[Tensor]:
    """Of a backward operator, which is given parameters and what of them needs a gradient."""
    *params, needs = args
    return [p.new_empty(p.shape) for p, needed in zip(params, needs, strict=True) if needed]


def is_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether only the kernel would see the operator's call: calling it directly then skips the dispatcher's 6 us."""
    return are_plain(tensors) and not calls_are_seen()


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether a kernel can read these, as far as they themselves say: :func:`is_plain` where nothing is watching."""
    for t in tensors:
        if (type(t) is not Tensor and type(t) is not Parameter) or t.is_neg():  # negation is lazy, of .conj().imag
            return False
    return not tensors[0].is_meta


def fresh(results: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Results as an operator's schema and fake kernel have them: contiguous, in memory that no argument has."""
    return [
        r.clone(memory_format=torch.contiguous_format)
        if not r.is_contiguous() or any(torch._C._is_alias_of(r, t) for t in given)  # type: ignore[attr-defined]
        else r
        for r in results
    ]
