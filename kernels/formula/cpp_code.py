"""Formulas as C++: an operation is one expression on `V`, a SIMD vector (vectors.h)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .elementary import VECTOR
from .schedule import blocks, predecessors
from .trace import LOADED, Choice, Function, Operation


def printed(name: str, function: Function, parameters_at: int = 0) -> str:
    """A C++ type `name`, a formula for the loop of elementwise.h.

    Args:
        parameters_at: the number of the input that is the law's first parameter.
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
        operands = operands if name in LOADED else tuple(map(follow, operands))
        after.append(Operation("input" if name == "chosen" else name, operands))
        moved[i] = len(after) - 1
    last = Function(after, [follow(r) for r in function.results], results + len(passed))
    first = Function(function.steps[: choice.at], list(kept), function.inputs)
    return [(first, []), (last, passed), *cases]


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


def _lines(function: Function) -> list[str]:
    """The steps as C++."""
    steps = function.steps
    order = blocks(function)
    block_of = {i: number for number, (_, block) in enumerate(order) for i in block}
    beyond = set(function.results)  # steps that are read outside of their block
    for number, (where, block) in enumerate(order):
        for i in block:
            beyond.update(other for other in predecessors(steps[i], where) if block_of[other] != number)
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
    return VECTOR[step.name].format(*(_operand(operand, n) for operand in step.operands))


def _at(n: int) -> str:
    return "at" if n == 0 else f"at + {n} * V::size()"


def _operand(operand: int | float, n: int) -> str:
    if isinstance(operand, int):
        return f"v{operand}_{n}"
    if math.isfinite(operand):
        return f"V(T({operand.hex()}))"
    limit = "quiet_NaN" if math.isnan(operand) else "infinity"
    return f"V({'-' if operand < 0 else ''}std::numeric_limits<T>::{limit}())"
