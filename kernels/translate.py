"""A map's torch reference, translated to C++ by running it on symbols.

The reference of a map is straight-line elementwise torch code, so calling it with a `Symbol` for every tensor visits
each operation once. Every operation becomes one statement on `V`, a SIMD vector of ATen (`at::vec::Vectorized`), whose
functions are those that eager torch runs, but for what elementary.h has.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

# torch or operator function -> C++ on vectors of one dtype. A comparison gives a vector of all-ones or all-zeros lanes.
_VALUES = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "truediv": "{} / {}",
    "div": "{} / {}",
    "addcmul": "at::vec::fmadd({1}, {2}, {0})",
    "pow": "({}).pow({})",
    "maximum": "at::vec::maximum({}, {})",
    "minimum": "at::vec::minimum({}, {})",
    "neg": "({}).neg()",
    "zeros_like": "V(T(0))",
    "ones_like": "V(T(1))",
    "clamp": "at::vec::clamp({}, {}, {})",
    "copysign": "rsample::vectors::copysign({}, {})",
    "reciprocal": "({}).reciprocal()",
}
_VALUES |= {name: f"({{}}).{name}()" for name in ("abs", "sqrt", "rsqrt", "sin", "cos", "tan", "atan", "floor", "erf")}
_VALUES |= {name: f"rsample::vectors::{name}({{}})" for name in ("log", "log1p", "exp", "expm1", "tanh")}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Symbol:
    """A value of the translated function: acts as a tensor of one dtype and records what is done to it."""

    def __init__(self, trace: Trace, name: str, dtype: torch.dtype):
        self.trace, self.name, self.dtype = trace, name, dtype

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Symbol:
        trace = next(arg.trace for arg in args if isinstance(arg, Symbol))
        return trace.apply(function.__name__, args, **(kwargs or {}))

    def to(self, dtype: torch.dtype) -> Symbol:
        return self.trace.convert(self, dtype)

    def detach(self) -> Symbol:
        return self

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        """Tensor methods: x.exp() is torch.exp(x)."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args: self.trace.apply(name, (self, *args))


def _method(name: str, swap: bool = False) -> Callable[..., Symbol]:
    def method(self: Symbol, *other: Any) -> Symbol:
        args = (*other, self) if swap else (self, *other)
        return self.trace.apply(name, args)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Symbol, f"__{_name}__", _method(_name))
    setattr(Symbol, f"__r{_name}__", _method(_name, swap=True))
for _name in ("neg", "abs", "or", *_COMPARISONS):
    setattr(Symbol, f"__{_name}__", _method(_name))


class Trace:
    """The statements of one function in the making, in which every tensor has the dtype `dtype` or is a mask."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.statements: list[str] = []
        self._known: dict[str, Symbol] = {}
        self._names = (f"v{i}" for i in itertools.count())

    def symbol(self, expression: str, dtype: torch.dtype) -> Symbol:
        # The same expression is the same value; C++ compilers do not know that of calls into a vector library.
        if expression not in self._known:
            symbol = self._known[expression] = Symbol(self, next(self._names), dtype)
            self.statements.append(f"const V {symbol.name} = {expression};")
        return self._known[expression]

    def operand(self, value: Any) -> str:
        if isinstance(value, Symbol):
            return value.name
        if isinstance(value, (bool, int, float)):
            if math.isfinite(value):
                return f"V(T({float(value).hex()}))"
            limit = "quiet_NaN" if math.isnan(value) else "infinity"
            return f"V({'-' if value < 0 else ''}std::numeric_limits<T>::{limit}())"
        raise NotImplementedError(f"a map may use its noise, its parameters and numbers; got {value!r}")

    def apply(self, name: str, args: Sequence[Any], **kwargs: Any) -> Symbol:
        operands = [self.operand(arg) for arg in args]
        if not kwargs and name in _COMPARISONS:
            return self.symbol(f"{operands[0]} {_COMPARISONS[name]} {operands[1]}", torch.bool)
        if name == "or":
            return self.symbol(f"{operands[0]} | {operands[1]}", torch.bool)
        if name == "sub" and list(kwargs) == ["alpha"]:
            return args[0] - args[1] * kwargs["alpha"]
        if not kwargs and name == "where":
            return self.symbol(f"V::blendv({operands[2]}, {operands[1]}, {operands[0]})", self.dtype)
        if kwargs or name not in _VALUES or any(isinstance(a, Symbol) and a.dtype == torch.bool for a in args):
            raise NotImplementedError(f"{name} has no C++ translation with these arguments")
        return self.symbol(_VALUES[name].format(*operands), self.dtype)

    def convert(self, symbol: Symbol, dtype: torch.dtype) -> Symbol:
        if symbol.dtype == dtype:
            return symbol
        if symbol.dtype == torch.bool and dtype == self.dtype:
            return self.symbol(f"V::blendv(V(T(0)), V(T(1)), {symbol.name})", dtype)
        raise NotImplementedError(f"no conversion from {symbol.dtype} to {dtype} inside a map")


def translate(
    name: str,
    function: Callable[..., tuple[Any, ...]],
    inputs: int,
    dtype: torch.dtype,
    *,
    values: int = 1,
    parameters_at: int = 0,
) -> str:
    """A C++ struct `name` for the loop of elementwise.h: `function(noise, *inputs)`, a tuple of results.

    Args:
        values: how many numbers the noise of an element has; if several, `function` takes a tuple of them.
        parameters_at: the number of the input that is the map's first parameter.

    Raises:
        NotImplementedError: the function does something that has no translation.
    """
    trace = Trace(dtype)
    noise = [trace.symbol(f"V::loadu(noise + {i} * rsample::TILE<T>)", dtype) for i in range(values)]
    symbols: list[Any] = [tuple(noise) if values > 1 else noise[0]]
    symbols += [trace.symbol(f"V::loadu(in[{i}] + at)", dtype) for i in range(inputs)]
    results = function(*symbols)
    trace.statements += [f"{trace.operand(r)}.store(out[{k}] + at);" for k, r in enumerate(results)]
    body = "\n    ".join(trace.statements)
    return f"""
struct {name} {{
  static constexpr int INPUTS = {inputs}, OUTPUTS = {len(results)}, PARAMETERS_AT = {parameters_at};
  template <class V, class T>
  static void apply(const T* noise, const T* const* in, T* const* out, int at) {{
    {body}
  }}
}};
"""
