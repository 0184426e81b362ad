"""Draws as code of the kernels that Inductor generates for GPUs: fused with what makes their parameters and reads them.

An operator of :class:`draws.ops.LawOperators` becomes pointwise operations on the numbers of the sample's elements, of
two kinds that are added to Inductor's own: `rsample_noise`, the noise of an element from key and number, and
`rsample_apply`, a function of the law of noise and parameters. Both are calls of the device functions that our kernels
are made of, through :mod:`engines.triton.inlined`, so a fused draw has the numbers of an eager one. Sums over broadcast
dimensions are left to Inductor.

Where anything else is asked for, such as another device, part of a sample or a key on the CPU, the operator is called.
Only this module knows Inductor's interfaces, which are private: :mod:`draws.compiling` imports it where they are known.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sympy  # type: ignore[import-untyped]
import torch
from torch._inductor import config, ir, lowering
from torch._inductor.codegen.simd import IterationRangesRoot
from torch._inductor.codegen.triton import TritonKernel, TritonKernelOverrides
from torch._inductor.dtype_propagation import DtypePropagationOpsHandler
from torch._inductor.ops_handler import DefaultHandler
from torch._inductor.select_algorithm import TritonTemplateKernel
from torch._inductor.shape_propagation import ShapePropagationOpsHandler, get_broadcasted_shape
from torch._inductor.utils import upcast_compute_type
from torch._inductor.virtualized import V
from torch._inductor.virtualized import ops as operations

from ..engines.triton.elementwise import bound_constants
from ..formula.device_functions import imported, inlined
from ..laws.law import Law
from ..stream.noise import SIGNIFICAND_BITS, NoisePair, compute_dtype
from ..stream.philox_key import Key

LOGGER = logging.getLogger("rsample")
ops: Any = operations  # which knows ours too, once they are added

_CPU = torch.device("cpu")
_INLINED = "from rsample.kernels.engines.triton.inlined import noise_of_tile, sample, log_prob, gradient"

# ------------------------------------------------------------------------------------------------------- the operations


class Applied(NamedTuple):
    """A function of a law as generated code calls it.

    Attributes:
        texts: what has to stand before the kernel.
        call: with fields for the tuples of noises and of values, and the result's dtype.
        noises: how many of the operands are noises.
        dtype: of the result, where Inductor computes in it; else the dtype that it computes in instead.
    """

    texts: tuple[str, ...]
    call: str
    noises: int
    dtype: torch.dtype


# What the operations that are recorded in Inductor's loops mean, by name.
_NOISES: dict[str, tuple[str, str]] = {}
_APPLIED: dict[str, Applied] = {}


def _triton_type(dtype: torch.dtype) -> str:
    return f"tl.{str(dtype).removeprefix('torch.')}"


def _hardware() -> bool:
    return torch.version.hip is None


def _needed(text: str) -> None:
    """Has a text stand before the kernel that is being generated."""
    kernel = V.kernel
    kernel.helper_functions.add(text.replace("{", "{{").replace("}", "}}"), base_name="_rsample")
    if isinstance(kernel, TritonTemplateKernel) and "gen_common_triton_imports" not in vars(kernel):
        # Templates, of matrix products that a draw is fused with, have no place for such functions but this one.
        common = kernel.gen_common_triton_imports
        kernel.gen_common_triton_imports = lambda: "\n".join((common(), *kernel.helper_functions))


def _noise(seed: Any, offset: Any, index: Any, noise: str, dtype: torch.dtype, stream: int) -> str:
    name, text = _NOISES[noise]
    _needed(_INLINED)
    _needed(text)
    aligned = _is_aligned(index, 2 if dtype == torch.float64 else 4)
    given = f"{seed}, {offset}, {index}, {name}, {_triton_type(dtype)}, {stream}"
    return f"noise_of_tile({given}, {aligned}, {_hardware()})"


def _noise_dtype(seed: Any, offset: Any, index: Any, noise: str, dtype: torch.dtype, stream: int) -> torch.dtype:
    return compute_dtype(dtype)


def _noise_shape(seed: Any, offset: Any, index: Any, noise: str, dtype: torch.dtype, stream: int) -> Any:
    return index.shape


def _apply(function: str, *operands: Any) -> str:
    applied = _APPLIED[function]
    _needed(_INLINED)
    for text in applied.texts:
        _needed(text)
    names = [f"{x}," for x in operands]
    noises, values = " ".join(names[: applied.noises]), " ".join(names[applied.noises :])
    return applied.call.format(f"({noises})", f"({values})", _triton_type(_apply_dtype(function)))


def _apply_dtype(function: str, *operands: Any) -> torch.dtype:
    return upcast_compute_type(_APPLIED[function].dtype)


def _apply_shape(function: str, *operands: Any) -> Any:
    return functools.reduce(get_broadcasted_shape, [x.shape for x in operands])


def _is_aligned(index: Any, per_block: int) -> bool:
    """Whether the numbers of elements in a tile are consecutive along its last dimension, by whole Philox blocks."""
    kernel: Any = V.kernel
    number = getattr(index, "rsample_index", None)
    if number is None or type(kernel) is not TritonKernel or kernel.cooperative_reduction:
        return False
    if getattr(kernel, "mix_order_reduction", False):
        return False
    number = kernel.prepare_indexing(number)
    nodes = {x: kernel.range_tree_nodes[x] for x in number.free_symbols if x in kernel.range_tree_nodes}
    last = [(x, node) for x, node in nodes.items() if node.root.tensor_dim == kernel.triton_tensor_ndim() - 1]
    if len(last) != 1:
        return False
    symbol, node = last[0]
    known = V.graph.sizevars
    whole = node.divisor == 1 and known.statically_known_equals(node.length, node.root.numel)
    if not whole or type(node.root) is not IterationRangesRoot:
        return False
    rest = sympy.expand(number - symbol)
    return not rest.has(symbol) and known.statically_known_multiple_of(rest, per_block)


def _noting(method: Any) -> Any:
    """An operation on an index, whose result says which one."""
    original = method.__func__

    @functools.wraps(original)
    def noting(cls: Any, expr: sympy.Expr, dtype: torch.dtype) -> Any:
        result = original(cls, expr, dtype)
        result.rsample_index = expr
        return result

    return classmethod(noting)


@functools.cache
def install() -> None:
    """Adds the operations to Inductor's.

    Raises:
        AttributeError, KeyError: its interfaces are others.
    """
    # The second one is younger.
    names = ("index_expr", *({"value_expr"} & vars(TritonKernelOverrides).keys()))
    noting = {name: _noting(vars(TritonKernelOverrides)[name]) for name in names}
    for name, code, dtype, shape in (
        ("rsample_noise", _noise, _noise_dtype, _noise_shape),
        ("rsample_apply", _apply, _apply_dtype, _apply_shape),
    ):
        setattr(DefaultHandler, name, DefaultHandler._call_default(name))
        setattr(DtypePropagationOpsHandler, name, staticmethod(dtype))
        setattr(ShapePropagationOpsHandler, name, staticmethod(shape))
        setattr(TritonKernelOverrides, name, staticmethod(code))
    for name, method in noting.items():
        setattr(TritonKernelOverrides, name, method)


# -------------------------------------------------------------------------------------------------------- the lowerings


def register(law: Law, forward_op: Any, backward_op: Any, current: str) -> None:
    """Registers the lowerings of a law's operators; calls that were recorded with another version stay calls."""
    for operator, lower in ((forward_op, _draw), (backward_op, _gradients)):
        if operator is not None:
            lowered = functools.partial(_lowered, operator, functools.partial(lower, law), current)
            lowering.register_lowering(operator, type_promotion_kind=None)(lowered)


def _lowered(
    operator: Any, lower: Callable[..., Any], current: str, *args: Any, version: str | None = None, **options: Any
) -> Any:
    """What a call of an operator becomes: generated code where that can be, else the call."""
    result = None
    if version == current:
        try:
            result = lower(*args, **options)
        except Exception as error:  # of interfaces that are another version's: a program compiles all the same
            LOGGER.warning("a compiled call of %s is not fused: %r", operator.name(), error)
    if result is None:
        result = lowering.fallback_handler(operator, add_to_fallback_set=False)(*args, **options)
    return result


@functools.cache
def register_reservations(current: str) -> None:
    """Registers the lowering of `rsample::reserve_key`; calls recorded with another version stay calls."""
    operator = torch.ops.rsample.reserve_key.default
    lowered = functools.partial(_lowered, operator, _reservation, current)
    lowering.register_lowering(operator, type_promotion_kind=None)(lowered)


def _reservation(blocks: Any, *, device: torch.device, generator: Any = None) -> Any:
    """What `reserve_key` becomes."""
    if generator is not None or not _writes_python():
        return None
    layout = ir.FixedLayout(device, torch.uint64, [2])
    return ir.TensorBox.create(_Called("reserve_key", layout, (), blocks, device))


def _writes_python() -> bool:
    """Whether the program that calls the kernels is Python: not C++, nor another graph."""
    return not V.graph.cpp_wrapper and not getattr(V.graph, "fx_wrapper", False)


class _Called(ir.ExternKernelAlloc):
    """What generated code asks of :mod:`draws.native_core`, whose function it calls: no dispatcher is asked."""

    def __init__(self, function: str, layout: Any, inputs: Any, *constants: Any) -> None:
        self._function = function
        name = f"rsample_{function}"
        super().__init__(layout, [self.realize_input(x) for x in inputs], constants, python_kernel_name=name)

    def codegen(self, wrapper: Any) -> None:
        outermost = wrapper
        while getattr(outermost, "parent_wrapper", None) is not None:
            outermost = outermost.parent_wrapper
        function = self._function
        outermost.add_import_once(f"from rsample.kernels.draws.native_core import {function} as rsample_{function}")
        super().codegen(wrapper)

    def codegen_size_asserts(self, wrapper: Any) -> None:
        """None: it is no operator, whose fake kernel may say something else."""


class _Numbers(NamedTuple):
    """The noise of a draw's elements."""

    law: Law
    key: str
    shape: Sequence[Any]
    dtype: torch.dtype

    def at(self, index: Sequence[Any]) -> list[Any]:
        """That of the element with coordinates `index`."""
        number = sympy.Integer(0)
        for i, size in zip(index, self.shape, strict=True):
            number = number * size + i
        small = V.graph.sizevars.statically_known_lt(sympy_product(self.shape), 2**31)
        at = ops.index_expr(number, torch.int32 if small else torch.int64)
        kind = self.law.noise
        noises = (kind.first, kind.second) if isinstance(kind, NoisePair) else (kind,)
        seed, offset = ops.load_seed(self.key, 0), ops.load_seed(self.key, 1)
        found = []
        for stream, noise in enumerate(noises):
            name, text = imported(noise.device)
            _NOISES[name] = (name, text)
            found.append(ops.rsample_noise(seed, offset, at, name, self.dtype, stream))
        return found

    def apply(self, name: str, texts: Sequence[str], call: str, dtype: torch.dtype, values: Sequence[Any]) -> Any:
        """A pointwise loop of a function of noise and `values`."""
        number = self.law.noise.values
        name = f"{name} {dtype}"
        _APPLIED[name] = Applied(tuple(texts), call, number, dtype)
        loaders = [x.make_loader() for x in values]

        def inner(index: Sequence[Any]) -> Any:
            return ops.rsample_apply(name, *self.at(index), *(load(index) for load in loaders))

        return ir.Pointwise.create(
            device=values[0].get_device_or_error(), dtype=dtype, inner_fn=inner, ranges=list(self.shape)
        )


def sympy_product(sizes: Sequence[Any]) -> Any:
    return math.prod(sizes, start=sympy.Integer(1))


def _numbers(
    law: Law, key: Sequence[Any], tensors: Sequence[Any], shape: Sequence[Any], dtype: torch.dtype
) -> _Numbers | None:
    """The noise of a draw, or None where generated code cannot make it."""
    device = tensors[0].get_device_or_error()
    if device.type != "cuda" or config.cuda_backend != "triton" or not ir.is_triton(device):
        return None
    if any(x not in SIGNIFICAND_BITS for x in (dtype, *(t.get_dtype() for t in tensors))):
        return None
    if (
        Key(key).is_reservation
        or Key(key).box is not None
        or any(t.get_device_or_error() != device for t in (*key, *tensors))
    ):
        return None
    return _Numbers(law, _buffer(key[0]), [sympy.sympify(s) for s in shape], dtype)


def _buffer(key: Any) -> str:
    """The name of the buffer that holds a key, alone."""
    if not isinstance(key.data, ir.StorageBox):
        key = lowering.clone(key)
    key.realize()
    name: str = key.get_name()
    return name


def _draw(law: Law, key: Sequence[Any], *args: Any) -> Any:
    """What a forward operator becomes."""
    *params, shape, dtype = args
    numbers = _numbers(law, key, params, shape, dtype)
    if numbers is None:
        return _call(law, key, params, shape, dtype)
    params = [lowering.expand(p, list(shape)) for p in params]
    bounds = bound_constants(law, dtype)
    transform, end = law.definition("transform"), law.definition_of_end(dtype)
    texts = [inlined(*definition) for definition in (transform, end) if definition is not None]
    limits = f"{bounds['LOWER']!r}, {bounds['UPPER']!r}, {None if end is None else end.name}"
    rest = f"{_triton_type(dtype)}, {{}}, {_hardware()})"
    drawn = [numbers.apply(law.name, texts, f"sample({{}}, {{}}, {transform.name}, {limits}, {rest}", dtype, params)]
    if law.joint:
        density = law.definition("log_prob")
        drawn.append(
            numbers.apply(
                f"{law.name} log_prob",
                [inlined(*density)],
                f"log_prob({{}}, {{}}, {density.name}, {rest}",
                dtype,
                params,
            )
        )
    # Noise is dear: it is made once for all that reads a sample, in the kernel of those that can be fused with it.
    for x in drawn:
        x.realize()
    return tuple(drawn) if law.joint else drawn[0]


def _call(law: Law, key: Sequence[Any], params: Sequence[Any], shape: Sequence[Any], dtype: torch.dtype) -> Any:
    """A draw on the CPU: a call of its loop, which is faster than generated ones. None where the operator makes it."""
    if not _is_callable(key, params):
        return None
    operands, constants = (*key, *params), (law.name, list(shape), dtype)
    layout = ir.FixedLayout(_CPU, dtype, list(shape))
    if law.joint:
        return tuple(_called("draw_of_key", [layout, layout], operands, *constants))
    return ir.TensorBox.create(_Called("draw_of_key", layout, operands, *constants))


def _call_gradients(law: Law, key: Sequence[Any], tensors: Sequence[Any], needs: Sequence[bool]) -> Any:
    """The same of its gradients; `tensors` are the gradients of outputs and the parameters."""
    if not _is_callable(key, tensors):
        return None
    params = tensors[len(law.cotangents) :]
    layouts = [ir.FixedLayout(_CPU, p.get_dtype(), p.get_size()) for p, need in zip(params, needs, strict=True) if need]
    return _called("gradients_of_key", layouts, (*key, *tensors), law.name, list(needs))


def _called(function: str, layouts: Sequence[Any], inputs: Any, *constants: Any) -> list[Any]:
    """The tensors of a call on the CPU that gives several."""
    called = _Called(function, ir.MultiOutputLayout(device=_CPU), inputs, *constants)
    called.outputs = [ir.MultiOutput(layout, called, [(tuple, i)], True) for i, layout in enumerate(layouts)]
    return [ir.TensorBox.create(output) for output in called.outputs]


def _is_callable(key: Sequence[Any], tensors: Sequence[Any]) -> bool:
    """Whether the core may be asked: all that a draw takes is on the CPU, and it is a whole one."""
    on_cpu = all(x.get_device_or_error().type == "cpu" for x in (*key, *tensors))
    return on_cpu and len(key) == 1 and _writes_python()


def _gradients(law: Law, key: Sequence[Any], *args: Any) -> Any:
    """What a backward operator becomes."""
    number = len(law.cotangents)
    given, params, needs = args[:number], args[number:-1], args[-1]
    if (called := _call_gradients(law, key, args[:-1], needs)) is not None:
        return called
    shape, dtype = list(given[0].get_size()), given[0].get_dtype()
    numbers = _numbers(law, key, (*given, *params), shape, dtype)
    axes = [_summed(shape, list(p.get_size())) for p in params]
    if numbers is None or any(needed and of is None for needed, of in zip(needs, axes, strict=True)):
        return None
    # An affine law's gradient does not depend on the parameters.
    values = [*given] if law.linear else [*given, *(lowering.expand(p, shape) for p in params)]
    definitions = [what and law.definition(what) for what in law.gradient_formulas]
    names = ", ".join(definition.name if definition else "None" for definition in definitions)
    texts = [inlined(*definition) for definition in definitions if definition]
    grads = []
    for j, (p, needed, of) in enumerate(zip(params, needs, axes, strict=True)):
        if not needed:
            continue
        call = f"gradient({{}}, {{}}, {names}, {law.affine}, {j}, {_hardware()})"
        grad = numbers.apply(f"{law.name} gradient {j}", texts, call, compute_dtype(dtype), values)
        if of:
            grad = lowering.lowerings[torch.ops.aten.sum.dim_IntList](grad, of, True)
        grad = lowering.to_dtype(lowering.view(grad, list(p.get_size())), p.get_dtype())
        grad.realize()
        grads.append(grad)
    return grads


def _summed(shape: Sequence[Any], kept: Sequence[Any]) -> list[int] | None:
    """The dimensions of a sample that a parameter of sizes `kept` is broadcast along; None where sizes do not tell."""
    known = V.graph.sizevars
    leading = len(shape) - len(kept)
    axes = list(range(leading))
    for i, size in enumerate(kept, leading):
        if known.statically_known_equals(size, shape[i]):
            continue
        if not known.statically_known_equals(size, 1):
            return None
        axes.append(i)
    return axes
