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
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
OPERATIONS |= {name: f"{{}} {sign} {{}}" for name, sign in COMPARISONS.items()}
_SAME = {"truediv": "div"}
MASKS = {*COMPARISONS, "or"}


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
for _name in ("neg", "abs", "or", *COMPARISONS):
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
        return self.symbol(name, operands, torch.bool if name in MASKS else self.dtype)

    def choose(
        self, masks: Sequence[Symbol], cases: Sequence[tuple[Callable[..., tuple[Any, ...]], Sequence[Symbol]]]
    ) -> tuple[Symbol, ...]:
        """What :func:`formula.cases.by_case` gives of functions and operands, and of all masks but the last."""
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
    values: int = 1  # of the noise

    def used(self, first: int = 0) -> list[int]:
        """The steps from a number on that results depend on; the choice counts for no step before it."""
        needed = {r for r in self.results if isinstance(r, int)}
        for i in range(len(self.steps) - 1, first - 1, -1):
            if i in needed and self.steps[i].name not in _LOADED:
                needed |= {x for x in self.steps[i].operands if isinstance(x, int)}
        return sorted(i for i in needed if i >= first)


_LOADED = ("noise", "input", "constant", "chosen")  # whose operands are no steps


def traced(function: Callable[..., Any], inputs: int, dtype: torch.dtype, *, values: int = 1) -> Function:
    """The steps of `function(noise, *inputs)`, a result or a tuple of results.

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
        given = function(*symbols)
    results = given if isinstance(given, tuple) else (given,)
    return Function(trace.steps, [trace.operand(r) for r in results], inputs, trace.choice, values)


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


def flattened(function: Function) -> Function:
    """The same without a choice, whose functions are all computed before one is picked; and without unread steps."""
    steps: list[Operation] = []
    places: dict[int, int | float] = {}

    def add(name: str, operands: Sequence[int | float]) -> int:
        steps.append(Operation(name, tuple(operands)))
        return len(steps) - 1

    def moved(operands: Sequence[int | float], places: dict[int, int | float]) -> list[int | float]:
        return [places[x] if isinstance(x, int) else x for x in operands]

    def follow(step: Operation, places: dict[int, int | float]) -> int:
        return add(step.name, step.operands if step.name in _LOADED else moved(step.operands, places))

    def results_of(chosen: Function, given: Sequence[int]) -> list[int | float]:
        own: dict[int, int | float] = {}
        for i in chosen.used():
            step = chosen.steps[i]
            own[i] = places[given[int(step.operands[0])]] if step.name == "input" else follow(step, own)
        return moved(chosen.results, own)

    used, choice = function.used(), function.choice
    picked: list[int | float] = []
    if choice is not None:
        read = [choice.code, *(x for given in choice.operands for x in given)]
        used = sorted({*used, *Function(function.steps[: choice.at], [*read], 0).used()})
    for i in used:
        step = function.steps[i]
        if step.name == "chosen" and not picked:
            assert choice is not None
            *cases, picked = map(results_of, choice.functions, choice.operands)
            for number, case in reversed(list(enumerate(cases))):
                mask = add("eq", (places[choice.code], float(number)))
                picked = [add("where", (mask, x, y)) for x, y in zip(case, picked, strict=True)]
        places[i] = picked[int(step.operands[0])] if step.name == "chosen" else follow(step, places)
    return Function(steps, moved(function.results, places), function.inputs, None, function.values)


def with_cotangents(function: Function) -> Function:
    """The same with one operation for the cotangent of pi t; of cotangent.py."""
    steps = list(function.steps)

    def step(operand: int | float) -> Operation:
        return steps[operand] if isinstance(operand, int) else Operation("constant", (operand,))

    for i, (name, operands) in enumerate(steps):
        tangent = step(operands[0]) if name == "reciprocal" else None
        angle = step(tangent.operands[0]) if tangent is not None and tangent.name == "tan" else None
        if angle is not None and angle.name == "mul" and math.pi in angle.operands:
            steps[i] = Operation("cotangent", tuple(x for x in angle.operands if x != math.pi))
    return function._replace(steps=steps)


VECTORS = 2


def _struct(name: str, function: Function, reads: Sequence[int] = ()) -> str:
    """`apply` gives the results for VECTORS vectors; `reads` the numbers of the results of an earlier stage.

    It takes them statement by statement: one vector alone would wait for its own results. No static member holds
    `reads`: of these all libraries of a process would have the first one's.
    """
    lines = _lines(function)
    for k, result in enumerate(function.results):
        lines += [f"{_operand(result, n)}.store(out[{k}] + {_at(n)});" for n in range(VECTORS)]
    body = "\n    ".join(lines)
    return f"""
struct {name} {{
  static constexpr int INPUTS = {function.inputs}, OUTPUTS = {len(function.results)}, VECTORS = {VECTORS};
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


# What an operation costs, in additions of vectors; and how much has to be left out for a jump to pay.
_COSTS = {"div": 5, "reciprocal": 5, "sqrt": 5, "rsqrt": 8, "pow": 40, "erf": 20, "floor": 1} | dict.fromkeys(
    ("log", "log1p", "exp", "expm1", "tanh", "sin", "cos", "tan", "atan"), 15
)
_WORTH_A_JUMP = 30


# A mask's step, and whether it holds: lanes in which something counts.
Condition = tuple[int, bool]


def blocks(function: Function) -> list[tuple[Condition | None, list[int]]]:
    """The steps that results depend on, in an order in which they can be taken, by what they count for.

    Those of a block count in lanes only where its condition is met, if it has one: all of them can be left out where
    there is no such lane.
    """
    condition = _conditions(function)
    return _scheduled({i: _before(function.steps[i], condition[i]) for i in function.used()}, condition)


def _before(step: Operation, condition: Condition | None) -> list[int]:
    """The steps that have to come before one."""
    return _read(step) if condition is None else [*_read(step), condition[0]]


def _lines(function: Function) -> list[str]:
    """The steps as C++."""
    steps = function.steps
    order = blocks(function)
    block_of = {i: number for number, (_, block) in enumerate(order) for i in block}
    beyond = set(function.results)  # steps that are read outside of their block
    for number, (where, block) in enumerate(order):
        for i in block:
            beyond.update(other for other in _before(steps[i], where) if block_of[other] != number)
    lines = []
    for where, block in order:
        if where is None:
            lines += [_statement("const V", i, steps[i]) for i in block]
            continue
        lines += [f"V {', '.join(f'{_operand(i, n)}(T(0))' for n in range(VECTORS))};" for i in block if i in beyond]
        mask, holds = where
        all_masks = f" {'|' if holds else '&'} ".join(_operand(mask, n) for n in range(VECTORS))
        lines.append(f"if (rsample::vectors::{'any' if holds else 'not_all'}({all_masks})) {{")
        lines += ["  " + _statement("" if i in beyond else "const V", i, steps[i]) for i in block]
        lines.append("}")
    return lines


def _read(step: Operation) -> list[int]:
    """The steps that a step reads."""
    if step.name in _LOADED:
        return []
    return [operand for operand in step.operands if isinstance(operand, int)]


def conditions(function: Function) -> list[set[Condition] | None]:
    """For each step what holds in all lanes in which somebody reads it; None where nobody does."""
    steps = function.steps
    needed: list[set[Condition] | None] = [None] * len(steps)  # None: not read so far
    for result in function.results:
        if isinstance(result, int):
            needed[result] = set()
    for i in reversed(range(len(steps))):
        step, own = steps[i], needed[i]
        if own is None:
            continue
        for operand in _read(step):
            met = own
            if step.name == "where" and step.operands.count(operand) == 1 and operand != step.operands[0]:
                met = own | {(int(step.operands[0]), operand == step.operands[1])}
            before = needed[operand]
            needed[operand] = set(met) if before is None else before & met
    return needed


def _conditions(function: Function) -> list[Condition | None]:
    """For each step a condition without which nobody reads it, where leaving it out is worth a jump."""
    steps, needed = function.steps, conditions(function)
    costs: dict[Condition, int] = {}
    for step, own in zip(steps, needed, strict=True):
        for condition in own or ():
            costs[condition] = costs.get(condition, 0) + _COSTS.get(step.name, 1)
    chosen = []
    for step, own in zip(steps, needed, strict=True):
        worthy = [c for c in own or () if costs[c] >= _WORTH_A_JUMP] if step.name != "constant" else []
        chosen.append(min(worthy, key=lambda c: (costs[c], c), default=None))
    return chosen


def _scheduled(
    before: dict[int, list[int]], condition: Sequence[Condition | None]
) -> list[tuple[Condition | None, list[int]]]:
    """The steps in blocks of one condition each; `before` gives the steps that have to come before each."""
    blocks: list[tuple[Condition | None, list[int]]] = []
    left, done = list(before), set[int]()
    while left:
        # What always counts goes first, so that the others come in few blocks.
        ready = [condition[i] for i in left if done.issuperset(before[i])]
        current = None if None in ready else ready[0]
        block = []
        for i in left:
            if condition[i] == current and done.issuperset(before[i]):
                block.append(i)
                done.add(i)
        blocks.append((current, block))
        left = [i for i in left if i not in done]
    return blocks


def _statement(kind: str, i: int, step: Operation) -> str:
    """What gives a step its value, for each vector."""
    values = ", ".join(f"{_operand(i, n)} = {_expression(step, n)}" for n in range(VECTORS))
    return f"{kind} {values};".lstrip()


def _expression(step: Operation, n: int) -> str:
    """A step's value for vector n."""
    if step.name == "noise":
        return f"V::loadu(noise + {step.operands[0]} * rsample::TILE<T> + {_at(n)})"
    if step.name == "input":
        return f"V::loadu(in[{step.operands[0]}] + {_at(n)})"
    if step.name == "constant":
        return _operand(step.operands[0], n)
    return OPERATIONS[step.name].format(*(_operand(operand, n) for operand in step.operands))


def _at(n: int) -> str:
    return "at" if n == 0 else f"at + {n} * V::size()"


def _operand(operand: int | float, n: int) -> str:
    if isinstance(operand, int):
        return f"v{operand}_{n}"
    if math.isfinite(operand):
        return f"V(T({operand.hex()}))"
    limit = "quiet_NaN" if math.isnan(operand) else "infinity"
    return f"V({'-' if operand < 0 else ''}std::numeric_limits<T>::{limit}())"
