"""A map's torch reference as a list of operations, by running it on symbols; and as C++.

The reference of a map is straight-line elementwise torch code, so calling it with a `Symbol` for every tensor visits
each operation once. An operation is one expression on `V`, a SIMD vector (vectors.h), whose functions are those that
eager torch runs, but for what elementary.h has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

# Operation -> C++ on vectors of one dtype. A comparison gives a vector of all-ones or all-zeros lanes.
OPERATIONS = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "addcmul": "rsample::fmadd({1}, {2}, {0})",
    "pow": "({}).pow({})",
    "maximum": "rsample::maximum({}, {})",
    "minimum": "rsample::minimum({}, {})",
    "neg": "({}).neg()",
    "clamp": "rsample::clamp({}, {}, {})",
    "copysign": "rsample::vectors::copysign({}, {})",
    "reciprocal": "({}).reciprocal()",
    "where": "V::blendv({2}, {1}, {0})",
    "or": "{} | {}",
}
OPERATIONS |= {
    name: f"({{}}).{name}()" for name in ("abs", "sqrt", "rsqrt", "sin", "cos", "tan", "atan", "floor", "erf")
}
OPERATIONS |= {name: f"rsample::vectors::{name}({{}})" for name in ("log", "log1p", "exp", "expm1", "tanh")}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
OPERATIONS |= {name: f"{{}} {sign} {{}}" for name, sign in _COMPARISONS.items()}
_SAME = {"truediv": "div"}
_MASKS = {*_COMPARISONS, "or"}


class Operation(NamedTuple):
    """One step: a name of `OPERATIONS`, or "noise", "input" or "constant", of a number.

    Attributes:
        operands: numbers of earlier steps, and constants.
    """

    name: str
    operands: tuple[int | float, ...]


class Symbol:
    """A value of the translated function: acts as a tensor of one dtype and records what is done to it."""

    def __init__(self, trace: Trace, step: int, dtype: torch.dtype):
        self.trace, self.step, self.dtype = trace, step, dtype

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        trace = next(arg.trace for arg in args if isinstance(arg, Symbol))
        return trace.apply(function.__name__, args, **(kwargs or {}))

    def to(self, dtype: torch.dtype) -> Any:
        return self.trace.convert(self, dtype)

    def detach(self) -> Symbol:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Tensor methods: x.exp() is torch.exp(x)."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.trace.apply(name, (self, *args))


def _method(name: str, swap: bool = False) -> Callable[..., Any]:
    def method(self: Symbol, *other: Any) -> Any:
        args = (*other, self) if swap else (self, *other)
        return self.trace.apply(name, args)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Symbol, f"__{_name}__", _method(_name))
    setattr(Symbol, f"__r{_name}__", _method(_name, swap=True))
for _name in ("neg", "abs", "or", *_COMPARISONS):
    setattr(Symbol, f"__{_name}__", _method(_name))


class Trace:
    """The steps of one function in the making, in which every tensor has the dtype `dtype` or is a mask."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.steps: list[Operation] = []
        self._known: dict[str, Symbol] = {}

    def symbol(self, name: str, operands: Sequence[int | float], dtype: torch.dtype) -> Symbol:
        # The same operation is the same value; C++ compilers do not know that of calls into a vector library.
        operation = Operation(name, tuple(operands))
        known = repr(operation)  # as 0.0 and -0.0 are equal
        if known not in self._known:
            self._known[known] = Symbol(self, len(self.steps), dtype)
            self.steps.append(operation)
        return self._known[known]

    def operand(self, value: Any) -> int | float:
        if isinstance(value, Symbol):
            return value.step
        if isinstance(value, (bool, int, float)):
            return float(value)
        raise NotImplementedError(f"a map may use its noise, its parameters and numbers; got {value!r}")

    def apply(self, name: str, args: Sequence[Any], **kwargs: Any) -> Any:
        name = _SAME.get(name, name)
        operands = [self.operand(arg) for arg in args]
        if name == "sub" and list(kwargs) == ["alpha"]:
            return args[0] - args[1] * kwargs["alpha"]
        if name in ("zeros_like", "ones_like") and not kwargs:
            return self.symbol("constant", (float(name == "ones_like"),), self.dtype)
        masks = [isinstance(arg, Symbol) and arg.dtype == torch.bool for arg in args]
        takes_mask = name == "or" or (name == "where" and not any(masks[1:]))
        if kwargs or name not in OPERATIONS or len(args) != operands_of(name) or (any(masks) and not takes_mask):
            raise NotImplementedError(f"{name} has no C++ translation with these arguments")
        return self.symbol(name, operands, torch.bool if name in _MASKS else self.dtype)

    def convert(self, symbol: Symbol, dtype: torch.dtype) -> Any:
        if symbol.dtype == dtype:
            return symbol
        if symbol.dtype == torch.bool and dtype == self.dtype:
            return self.symbol("where", (symbol.step, 1.0, 0.0), dtype)
        raise NotImplementedError(f"no conversion from {symbol.dtype} to {dtype} inside a map")


def operands_of(name: str) -> int:
    """How many operands an operation of `OPERATIONS` has."""
    return OPERATIONS[name].count("{")


class Function(NamedTuple):
    """A translated function: its steps, and what its results are: numbers of steps, or constants."""

    steps: list[Operation]
    results: list[int | float]
    inputs: int
    values: int = 1  # of the noise


def traced(function: Callable[..., tuple[Any, ...]], inputs: int, dtype: torch.dtype, *, values: int = 1) -> Function:
    """The steps of `function(noise, *inputs)`, a tuple of results.

    Args:
        values: how many numbers the noise of an element has; if several, `function` takes a tuple of them.

    Raises:
        NotImplementedError: the function does something that has no translation.
    """
    trace = Trace(dtype)
    noise = [trace.symbol("noise", (i,), dtype) for i in range(values)]
    symbols: list[Any] = [tuple(noise) if values > 1 else noise[0]]
    symbols += [trace.symbol("input", (i,), dtype) for i in range(inputs)]
    # A draw of a subclass of tensors comes here with torch functions switched off, by which symbols are seen.
    with torch._C._EnableTorchFunction():
        results = function(*symbols)
    return Function(trace.steps, [trace.operand(r) for r in results], inputs, values)


def printed(name: str, function: Function, parameters_at: int = 0) -> str:
    """A C++ struct `name` for the loop of elementwise.h.

    Args:
        parameters_at: the number of the input that is the map's first parameter.
    """
    lines = [f"const V v{i} = {_expression(step)};" for i, step in enumerate(function.steps)]
    lines += [f"{_operand(r)}.store(out[{k}] + at);" for k, r in enumerate(function.results)]
    body = "\n    ".join(lines)
    return f"""
struct {name} {{
  static constexpr int INPUTS = {function.inputs}, OUTPUTS = {len(function.results)}, PARAMETERS_AT = {parameters_at};
  template <class V, class T>
  static void apply(const T* noise, const T* const* in, T* const* out, int at) {{
    {body}
  }}
}};
"""


def _expression(step: Operation) -> str:
    if step.name == "noise":
        return f"V::loadu(noise + {step.operands[0]} * rsample::TILE<T>)"
    if step.name == "input":
        return f"V::loadu(in[{step.operands[0]}] + at)"
    if step.name == "constant":
        return _operand(step.operands[0])
    return OPERATIONS[step.name].format(*(_operand(operand) for operand in step.operands))


def _operand(operand: int | float) -> str:
    if isinstance(operand, int):
        return f"v{operand}"
    if math.isfinite(operand):
        return f"V(T({operand.hex()}))"
    limit = "quiet_NaN" if math.isnan(operand) else "infinity"
    return f"V({'-' if operand < 0 else ''}std::numeric_limits<T>::{limit}())"
