"""What torch.compile makes of a draw and what reads it on a GPU, beside the same with torch.distributions.

    python bench/compiled.py [--numel N] [--number N] [--rounds N] [--require] [--results FOLDER]

Kernels per call; bytes per sample that they read and write, and that are kept for backward; and the host's time,
measured as host_time.py says. Where there is no GPU, on the stand-in for its driver, if the program `gpu_host` can be
imported: kernels then are compiled and counted, and not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import host_time
import torch
import torch.distributions
from cases import LIBRARIES
from markdown_table import pipe_table
from torch import Tensor

# Of host time against torch, at most: 1, and room for the noise of a busy machine.
REQUIRED = 1.3


@dataclass(frozen=True)
class Compiled:
    """One call, compiled. Microseconds are of the fastest round; `ratio`, ours over torch's, is the median of rounds.

    Kernels and bytes are those of a forward pass or, in a training step, of it and of the backward pass.
    """

    call: str
    kernels: str
    torch_kernels: str
    bytes: str
    torch_bytes: str
    kept: int
    torch_kept: int
    us: float
    torch_us: float
    ratio: float
    required: float
    device: str
    torch: str
    triton: str
    rsample: str
    python: str

    @property
    def name(self) -> str:
        return self.call


def function_of(library: str) -> Callable[[Tensor, Tensor], Tensor]:
    normal = LIBRARIES[library]("Normal")

    def function(loc: Tensor, scale: Tensor) -> Tensor:
        return torch.relu(normal(loc, scale, validate_args=False).rsample()) * 2 + 1

    return torch.compile(function, fullgraph=True)


# Bytes per number of what generated kernels read and write; keys and seeds are few.
_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "i1": 1, "u64": 0, "i64": 0}


def kernels_and_bytes(code: str) -> tuple[int, int]:
    """Kernels that a generated program launches, and the bytes per sample that they read and write.

    What gives the key or the seed is one launch.
    """
    body = code[code.index("def call(self, args)") : code.index("runner = Runner")]
    names = re.findall(r"(\w+)\.run\(", body)
    total = 0
    for name in names:
        source = code[code.index(f"async_compile.triton('{name}'") :]
        source = source[: source.index("'''", source.index("'''") + 3)]
        signature = re.search(r"'signature': {(.*?)}", source)
        assert signature is not None
        for argument, kind in re.findall(r"'(\w+)': '\*(\w+)'", signature[1]):
            total += _BYTES[kind] * sum(f"tl.{way}({argument} " in source for way in ("load", "store"))
    return len(names) + len(re.findall(r"reserve_key\S*\(|randint\S*\(", body)), total


@dataclass(frozen=True)
class Counted:
    """A call that has been compiled.

    Attributes:
        kernels: of each pass, how many are launched.
        bytes: of each pass, what these read and write per sample.
        kept: bytes per sample that are kept for backward.
    """

    run: Callable[[], object]
    kernels: tuple[int, ...]
    bytes: tuple[int, ...]
    kept: int = 0


def counted(library: str, numel: int, device: torch.device) -> tuple[Counted, Counted]:
    """A sample without a gradient, and a training step."""
    from torch._inductor.utils import run_and_get_code

    function = function_of(library)
    params = [torch.ones(numel, device=device, requires_grad=True) for _ in range(2)]
    grad = torch.ones(numel, device=device)

    def sample() -> Any:
        with torch.no_grad():
            return function(*params)

    def step() -> Any:
        return torch.autograd.grad(function(*params), params, grad)

    passes = [[kernels_and_bytes(code) for code in run_and_get_code(call)[1]] for call in (sample, step)]
    kept = sum(x.nbytes for x in function(*params).grad_fn.saved_tensors)
    sampled, stepped = (tuple(zip(*counts, strict=True)) for counts in passes)
    return Counted(sample, *sampled), Counted(step, *stepped, round(kept / numel))


def measure(numel: int, number: int, rounds: int) -> list[Compiled]:
    device = torch.device("cuda")
    names = host_time.names(device)
    rows = []
    both = [counted(library, numel, device) for library in ("rsample", "torch")]
    for call, ours, theirs in zip(("sample", "training step"), *both, strict=True):
        figures = (ours.kernels, theirs.kernels, ours.bytes, theirs.bytes)
        counts = [", ".join(map(str, passes)) for passes in figures]
        times = host_time.paired_us(ours.run, theirs.run, number, rounds)
        rows.append(Compiled(call, *counts, ours.kept, theirs.kept, *times, REQUIRED, **names))
    return rows


def table(rows: Sequence[Compiled]) -> str:
    lines = [
        (
            row.call,
            f"{row.kernels} ({row.torch_kernels})",
            f"{row.bytes} ({row.torch_bytes})",
            f"{row.kept} ({row.torch_kept})",
            f"{row.us:.0f} ({row.torch_us:.0f})",
            f"{row.ratio:.2f}",
        )
        for row in rows
    ]
    first = rows[0]
    caption = (
        f"`relu(Normal(loc, scale).rsample()) * 2 + 1`, compiled for a GPU ({first.device}, torch {first.torch}), in "
        "brackets with torch.distributions: kernels forward and backward, one of them for the key or the seed; bytes "
        "per sample that they read and write, and that are kept for backward; microseconds of the host's CPU time per "
        "call. The ratio is the median of rounds that alternate between the two libraries."
    )
    head = ("", "kernels", "bytes", "bytes kept", "host, µs", "ratio")
    return "\n".join([caption, "", *pipe_table(head, lines), ""])


def main() -> None:
    parser = host_time.parser(__doc__, number=100, rounds=9)
    parser.add_argument("--numel", type=int, default=2**20)
    options = parser.parse_args()
    if not host_time.has_gpu(__file__):
        return
    # Both caches would hide what is generated.
    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False
    host_time.run(
        "compiled",
        options,
        lambda: measure(options.numel, options.number, options.rounds),
        table,
        lambda row: row.required,
    )


if __name__ == "__main__":
    main()
