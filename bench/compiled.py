"""What torch.compile makes of a draw and what reads it on a GPU, beside the same with torch.distributions.

    python bench/compiled.py [--numel 1048576] [--number 100] [--rounds 9]

Kernels per call; bytes per sample that they read and write, and that are kept for backward; CPU microseconds of the
calling thread, and the median quotient of neighbouring rounds. Where there is no GPU, on the stand-in for its driver,
if the package `gpu_host` can be imported: kernels then are compiled and counted, and not run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributions
from cases import LIBRARIES
from host_time import paired_us
from markdown_table import pipe_table
from torch import Tensor

HEAD = ("", "kernels forward, backward", "bytes forward, backward", "kept", "sample us", "training step us")


def function_of(library: str) -> Callable[[Tensor, Tensor], Tensor]:
    normal = LIBRARIES[library]("Normal")

    def function(loc: Tensor, scale: Tensor) -> Tensor:
        return torch.relu(normal(loc, scale, validate_args=False).rsample()) * 2 + 1

    return torch.compile(function, fullgraph=True)


# Bytes per number of what generated kernels read and write; keys and seeds are few.
_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "i1": 1, "u64": 0, "i64": 0}


def kernels_and_bytes(code: str) -> tuple[int, int]:
    """Kernels that a generated program launches, and the bytes per sample that they read and write.

    What gives the key or the seed is one launch of an operator.
    """
    body = code[code.index("def call(self, args)") : code.index("runner = Runner")]
    names = re.findall(r"(\w+)\.run\(", body)
    total = 0
    for name in names:
        source = code[code.index(f"async_compile.triton('{name}'") :]
        signature = re.search(r"'signature': {(.*?)}", source)
        assert signature is not None
        for argument, kind in re.findall(r"'(\w+)': '\*(\w+)'", signature[1]):
            total += _BYTES[kind] * (2 if argument.startswith("in_out") else 1)
    return len(names) + bool(re.search(r"= torch\.ops\.rsample|randint", body)), total


def row(library: str, numel: int, device: torch.device) -> tuple[list[str], Callable[[], Any], Callable[[], Any]]:
    """The counts of a library, and its two calls that are timed."""
    from torch._inductor.utils import run_and_get_code

    function = function_of(library)
    params = [torch.ones(numel, device=device, requires_grad=True) for _ in range(2)]
    grad = torch.ones(numel, device=device)

    def sample() -> Any:
        with torch.no_grad():
            return function(*params)

    def step() -> Any:
        return torch.autograd.grad(function(*params), params, grad)

    sample()
    torch._dynamo.reset()
    _, codes = run_and_get_code(step)
    forward, backward = map(kernels_and_bytes, codes)
    kept = sum(x.nbytes for x in function(*params).grad_fn.saved_tensors)
    sample()
    counts = [f"{forward[0]}, {backward[0]}", f"{forward[1]}, {backward[1]}", f"{kept / numel:.0f}"]
    return counts, sample, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numel", type=int, default=2**20)
    parser.add_argument("--number", type=int, default=100, help="calls of a round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        if importlib.util.find_spec("gpu_host") is None or "GPU_HOST_FOLDER" in os.environ or not torch.version.cuda:
            print("bench/compiled.py needs a GPU, or a CUDA build of torch and the package gpu_host")
            return
        os.execv(sys.executable, [sys.executable, "-m", "gpu_host", str(Path(__file__).resolve()), *sys.argv[1:]])
    # Both caches would hide what is generated.
    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False
    device = torch.device("cuda")
    with torch.autograd.set_multithreading_enabled(False):
        ours, theirs = (row(library, options.numel, device) for library in ("rsample", "torch"))
        times = [paired_us(ours[i], theirs[i], options.number, options.rounds) for i in (1, 2)]
    lines = []
    for i, (name, counts) in enumerate((("rsample", ours[0]), ("torch.distributions", theirs[0]))):
        cells = [f"{t[i]:.0f}" + (f" ({t[2]:.2f} of torch's)" if i == 0 else "") for t in times]
        lines.append([name, *counts, *cells])
    print("\n".join(pipe_table(HEAD, lines)))


if __name__ == "__main__":
    main()
