"""The order of a formula's steps, and which of them can be left out where no lane needs them."""

from __future__ import annotations

from collections.abc import Sequence

from .elementary import OPERATIONS
from .trace import LOADED, Function, Operation

# How much has to be left out for a jump to pay, in additions of vectors.
_WORTH_A_JUMP = 30


# A mask's step, and whether it holds: lanes in which something counts.
Condition = tuple[int, bool]


def blocks(function: Function) -> list[tuple[Condition | None, list[int]]]:
    """The steps that results depend on, in an order in which they can be taken, by what they count for.

    Those of a block count in lanes only where its condition is met, if it has one: all of them can be left out where
    there is no such lane.
    """
    condition = _conditions(function)
    return _scheduled({i: predecessors(function.steps[i], condition[i]) for i in function.used()}, condition)


def predecessors(step: Operation, condition: Condition | None) -> list[int]:
    """The steps that have to come before one."""
    return _read(step) if condition is None else [*_read(step), condition[0]]


def _read(step: Operation) -> list[int]:
    """The steps that a step reads."""
    if step.name in LOADED:
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
            costs[condition] = costs.get(condition, 0) + _cost(step)
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

    def block_of(current: Condition | None) -> list[int]:
        """The steps of a condition that can be taken now."""
        block: list[int] = []
        taken = set(done)
        for i in left:
            if condition[i] == current and taken.issuperset(before[i]):
                block.append(i)
                taken.add(i)
        return block

    while left:
        ready = dict.fromkeys(condition[i] for i in left if done.issuperset(before[i]))
        # What always counts goes first, then what is taken at once, then what is short: so there are few blocks.
        waiting = [None] if None in ready else list(ready)
        found = [(current, block_of(current)) for current in waiting]
        whole = (x for x in found if len(x[1]) == sum(condition[i] == x[0] for i in left))
        current, block = next(whole, min(found, key=lambda x: len(x[1])))
        blocks.append((current, block))
        done.update(block)
        left = [i for i in left if i not in done]
    return blocks


def _cost(step: Operation) -> int:
    return 1 if step.name in LOADED else OPERATIONS[step.name].cost
