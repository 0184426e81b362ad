"""A map's torch reference as a list of operations, by running it on symbols; and as C++.

The reference of a map is straight-line elementwise torch code, so calling it with a `Symbol` for every tensor visits
each operation once. An operation is one expression on `V`, a SIMD vector of ATen (`at::vec::Vectorized`), whose
functions are those that eager torch runs, but for what elementary.h has.
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
    "addcmul": "at::vec::fmadd({1}, {2}, {0})",
    "pow": "({}).pow({})",
    "maximum": "at::vec::maximum({}, {})",
    "minimum": "at::vec::minimum({}, {})",
    "neg": "({}).neg()",
    "clamp": "at::vec::clamp({}, {}, {})",
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
        self.choice: Choice | None = None
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

    def choose(
        self, masks: Sequence[Symbol], cases: Sequence[tuple[Callable[..., tuple[Any, ...]], Sequence[Symbol]]]
    ) -> tuple[Symbol, ...]:
        """What :func:`rsample.kernels.cases.by_case` gives of functions and operands, and of all masks but the last."""
        if self.choice is not None:
            raise NotImplementedError("a map may choose between cases once")
        code: Any = float(len(masks))
        for i, mask in reversed(list(enumerate(masks))):
            code = self.apply("where", (mask, float(i), code))
        functions = [traced(lambda _, *x, f=f: f(*x), len(given), self.dtype) for f, given in cases]
        self.choice = Choice(len(self.steps), code.step, functions, [[x.step for x in given] for _, given in cases])
        return tuple(self.symbol("chosen", (i,), self.dtype) for i in range(len(functions[0].results)))

    def convert(self, symbol: Symbol, dtype: torch.dtype) -> Any:
        if symbol.dtype == dtype:
            return symbol
        if symbol.dtype == torch.bool and dtype == self.dtype:
            return self.symbol("where", (symbol.step, 1.0, 0.0), dtype)
        raise NotImplementedError(f"no conversion from {symbol.dtype} to {dtype} inside a map")


def operands_of(name: str) -> int:
    """How many operands an operation of `OPERATIONS` has."""
    return OPERATIONS[name].count("{")


class Choice(NamedTuple):
    """Functions of which each element takes one.

    Attributes:
        at: how many steps come before it.
        code: the step that gives the number of an element's function.
        operands: steps, by function.
    """

    at: int
    code: int
    functions: list[Function]
    operands: list[list[int]]


class Function(NamedTuple):
    """A translated function: its steps, and what its results are: numbers of steps, or constants.

    Its steps "chosen" are the results of the choice.
    """

    steps: list[Operation]
    results: list[int | float]
    inputs: int
    choice: Choice | None = None

    def used(self, first: int = 0) -> list[int]:
        """The steps from a number on that results depend on; the choice counts for no step before it."""
        needed = {r for r in self.results if isinstance(r, int)}
        for i in range(len(self.steps) - 1, first - 1, -1):
            if i in needed and self.steps[i].name not in _LOADED:
                needed |= {x for x in self.steps[i].operands if isinstance(x, int)}
        return sorted(i for i in needed if i >= first)


_LOADED = ("noise", "input", "constant", "chosen")  # whose operands are no steps


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
    return Function(trace.steps, [trace.operand(r) for r in results], inputs, trace.choice)


def printed(name: str, function: Function, parameters_at: int = 0) -> str:
    """A C++ type `name`, a map for the loop of elementwise.h.

    Args:
        parameters_at: the number of the input that is the map's first parameter.
    """
    if function.choice is None:
        return _struct(f"{name}_steps", function) + f"using {name} = rsample::Printed<{parameters_at}, {name}_steps>;\n"
    stages = _stages(function, function.choice)
    names = [f"{name}_{stage}" for stage in ("before", "after", *map(str, range(len(stages) - 2)))]
    structs = "".join(_struct(n, stage, reads) for n, (stage, reads) in zip(names, stages, strict=True))
    return structs + f"using {name} = rsample::Chosen<{parameters_at}, {', '.join(names)}>;\n"


def _stages(function: Function, choice: Choice) -> list[tuple[Function, list[int]]]:
    """What is done before the choice, after it, and by each of its functions.

    The first stage keeps the number of an element's function, and what the others read of it: the inputs of these are
    what they read, but that those after the choice begin with its results.
    """
    kept: dict[int, int] = {choice.code: 0}
    cases = []
    for chosen, given in zip(choice.functions, choice.operands, strict=True):
        steps = list(chosen.steps)
        read: list[int] = []
        for i in chosen.used():
            if steps[i].name == "input":
                read.append(kept.setdefault(given[int(steps[i].operands[0])], len(kept)))
                steps[i] = Operation("input", (len(read) - 1,))
        cases.append((Function(steps, chosen.results, len(read)), read))

    results, passed = len(choice.functions[0].results), []
    after: list[Operation] = []
    moved: dict[int, int] = {}

    def follow(operand: int | float) -> int | float:
        if isinstance(operand, float):
            return operand
        if operand not in moved:  # of the first stage
            passed.append(kept.setdefault(operand, len(kept)))
            after.append(Operation("input", (results + len(passed) - 1,)))
            moved[operand] = len(after) - 1
        return moved[operand]

    for i in function.used(choice.at):
        name, operands = function.steps[i]
        operands = operands if name in _LOADED else tuple(map(follow, operands))
        after.append(Operation("input" if name == "chosen" else name, operands))
        moved[i] = len(after) - 1
    last = Function(after, [follow(r) for r in function.results], results + len(passed))
    first = Function(function.steps[: choice.at], list(kept), function.inputs)
    return [(first, []), (last, passed), *cases]


def _struct(name: str, function: Function, reads: Sequence[int] = ()) -> str:
    """`apply` gives the results for a vector of elements. `reads` gives the numbers of an earlier stage's results.

    No static member does: of these all libraries of a process would have the first one's.
    """
    lines = [f"const V v{i} = {_expression(function.steps[i])};" for i in function.used()]
    lines += [f"{_operand(r)}.store(out[{k}] + at);" for k, r in enumerate(function.results)]
    body = "\n    ".join(lines)
    return f"""
struct {name} {{
  static constexpr int INPUTS = {function.inputs}, OUTPUTS = {len(function.results)};
  static constexpr int reads(int i) {{
    constexpr int numbers[] = {{{", ".join(map(str, (*reads, -1)))}}};
    return numbers[i];
  }}
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
