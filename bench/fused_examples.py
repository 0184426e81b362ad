"""What draws cost that are fused with what reads them, beside the operations that are used in their place.

python bench/fused_examples.py [--results FOLDER]

Kernels, and the bytes that they read and write, are counted while the examples of fused/ run: of an operation of torch
those of its arguments and results, of a kernel of ours those that it loads from and stores to. Nothing is computed by
the latter, so that no GPU is needed. Instructions are those of instructions.py.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import instructions
import torch
from markdown_table import pipe_table
from saved_bytes import saved_for_backward
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rsample.kernels.runtime.language import HAS_TRITON

HERE = Path(__file__).resolve().parent
N = 2**20  # numbers of a sample
KEY = (1, 0)


class Traffic(TorchDispatchMode):
    """Counts the kernels of a block, and the bytes that they read and write."""

    # These write what they are given without reading it.
    OVERWRITES = ("copy_", "fill_", "normal_", "random_", "zero_")

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name.startswith(("empty", "new_empty")) or (func.is_view and not func._schema.is_mutable):
            return results
        given = [value for value in args if isinstance(value, Tensor)]
        read = () if name.endswith("_like") else given[1:] if name in self.OVERWRITES else given
        self.count((*read, *(results if isinstance(results, tuple) else (results,))))
        return results

    def count(self, tensors: Iterable[Tensor]) -> None:
        self.kernels += 1
        self.bytes += sum(t.numel() * t.element_size() for t in tensors)


class Recorded:
    """Stands for a Triton kernel, and counts what its launches would load and store."""

    def __init__(self, kernel: Any, traffic: Callable[[], Traffic]) -> None:
        self._names, self._traffic = kernel.arg_names, traffic
        source = inspect.getsource(kernel.fn)
        self._moved = [name for _, name in re.findall(r"tl\.(load|store)\((\w+_ptr)\b", source)]
        assert {*self._moved} == {name for name in self._names if name.endswith("_ptr")}

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            given = dict(zip(self._names, args, strict=False))
            self._traffic().count(given[name] for name in self._moved)

        return launch


@dataclass(frozen=True)
class Example:
    """A fused draw, and torch's operations that do the same.

    Attributes:
        module: of fused/.
        tensors: make the arguments, the differentiable ones first.
        differentiable: how many gradients there are.
        fused, eager: take the tensors.
    """

    title: str
    module: str
    tensors: Callable[[], tuple[Tensor, ...]]
    differentiable: int
    fused: Callable[..., Tensor | None]
    eager: Callable[..., Tensor | None]


def examples() -> list[Example]:
    from fused.dropout_add import dropout_add
    from fused.langevin import langevin_step
    from fused.stochastic_rounding import descend

    def dropout_of_gpu(x: Tensor, residual: Tensor) -> Tensor:
        return torch.native_dropout(x, 0.1, True)[0] + residual  # what F.dropout is on a GPU

    def round_by_bits(parameter: Tensor, grad: Tensor) -> None:
        exact = parameter.float().sub_(grad, alpha=1e-3)
        word = exact.view(torch.int32)
        word += torch.randint(0, 2**16, word.shape, dtype=torch.int32)
        word &= -(2**16)
        parameter.copy_(exact)

    return [
        Example(
            "dropout and residual sum, float32",
            "dropout_add",
            lambda: (torch.ones(N), torch.ones(N)),
            2,
            lambda x, residual: dropout_add(x, residual, 0.1, KEY),
            dropout_of_gpu,
        ),
        Example(
            "Langevin step, float32",
            "langevin",
            lambda: (torch.ones(N), torch.ones(N), torch.tensor(0.1), torch.tensor(0.4)),
            4,
            lambda *tensors: langevin_step(*tensors, KEY),
            lambda x, score, a, b: x + a * score + b * torch.randn_like(x),
        ),
        Example(
            "gradient descent with stochastic rounding, bfloat16",
            "stochastic_rounding",
            lambda: (torch.ones(N, dtype=torch.bfloat16), torch.ones(N, dtype=torch.bfloat16)),
            0,
            lambda parameter, grad: descend(parameter, grad, 1e-3, KEY),
            round_by_bits,
        ),
    ]


@dataclass(frozen=True)
class Cost:
    """What a call costs: kernels, and bytes per number of the sample."""

    kernels: int
    forward: float
    backward_kernels: int
    backward: float
    kept: float


def cost(call: Callable[..., Tensor | None], tensors: Sequence[Tensor], differentiable: int) -> Cost:
    """Of a call, of its gradient, and what it keeps for it."""
    inputs = [t.requires_grad_() for t in tensors[:differentiable]]
    outputs: list[Tensor] = []

    def run() -> list[Tensor]:
        result = call(*tensors)
        outputs.extend(() if result is None else (result,))
        return outputs

    global _traffic
    with Traffic() as forward:
        _traffic = forward
        kept = saved_for_backward(run, tensors)
    grad = torch.ones(N)
    with Traffic() as backward:
        _traffic = backward
        if differentiable:
            torch.autograd.grad(outputs, inputs, [grad])
    return Cost(forward.kernels, forward.bytes / N, backward.kernels, backward.bytes / N, kept / N)


_traffic: Traffic  # of the block that runs


@contextmanager
def recorded(module: str) -> Iterator[None]:
    """The kernels of a module are counted and do not run."""
    from importlib import import_module

    home = import_module(f"fused.{module}")
    kernels = {name: value for name, value in vars(home).items() if name.endswith("_kernel")}
    try:
        for name, kernel in kernels.items():
            setattr(home, name, Recorded(kernel, lambda: _traffic))
        yield
    finally:
        for name, kernel in kernels.items():
            setattr(home, name, kernel)


def costs() -> dict[str, tuple[Cost, Cost]]:
    """Of each example by its module: fused, and of torch's operations."""
    found = {}
    for example in examples():
        with recorded(example.module):
            fused = cost(example.fused, example.tensors(), example.differentiable)
        found[example.module] = fused, cost(example.eager, example.tensors(), example.differentiable)
    return found


def table(counts: Path) -> list[str]:
    """Lines of Markdown.

    Args:
        counts: the file of instructions.
    """
    counted = {(row["draw"], row["kernel"]): row["instructions"] for row in instructions.read_counts(counts)}
    rows, measured = [], costs()
    for example in examples():
        ours, theirs = measured[example.module]

        def both(name: str, ours: Cost = ours, theirs: Cost = theirs) -> str:
            a, b = (round(getattr(c, name), 1) for c in (ours, theirs))
            return f"{a:g} ({b:g})"

        per_number = [counted.get((f"fused.{example.module}", kernel), "") for kernel in ("forward", "backward")]
        backward = [both("backward_kernels"), both("backward"), both("kept")] if example.differentiable else [""] * 3
        rows.append((example.title, both("kernels"), both("forward"), *backward, *per_number))
    head = ("example", "kernels", "bytes", "kernels, backward", "bytes, backward", "bytes kept")
    return pipe_table((*head, "instructions", "instructions, backward"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()
    if not HAS_TRITON:
        print("Triton is not installed: the examples cannot be imported")
        return
    lines = [
        "Draws fused with what reads them (`bench/fused`), per number of the sample: bytes that kernels read and "
        "write, and keep for backward; in brackets those of torch's own operations, one after the other. "
        "Instructions: of the machine code of sm_90, the whole kernel.",
        "",
        *table(options.results / instructions.NAME),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    file = options.results / "fused-examples.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
