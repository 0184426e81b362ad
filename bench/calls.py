"""What calling a draw costs: host time of small draws, this library's and torch.distributions'.

python bench/calls.py [--device cuda] [--shown] [--number N] [--rounds N] [--require] [--results FOLDER]

CPU time of one thread, in rounds that alternate between the two, so that other programs on the machine disturb neither.
On a GPU it is the host's share: nothing is waited for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cases
import machine
import torch
from cpuinfo import get_cpu_info
from markdown_table import pipe_table
from pairing import no_garbage_collection
from results import size_label, write_csv
from timers import ThreadTimer

from rsample.kernels import native_core

SIZES = ((1,), (8,), (2048,))
ROWS = ((1, 4), (8, 4), (64, 128))
# Against torch, at most: 1, and room for the noise of some hundred measurements on a busy machine.
REQUIRED = 1.5
# Products are several operations, and TruncatedNormal is compared with arithmetic that loses the tails: they are
# measured, and nothing is required of them.
WITHOUT_REQUIREMENT = {
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "TruncatedNormal",
}
# The draws of the table, of the middle size.
SHOWN = (
    "Normal.rsample",
    "Normal.sample",
    "Normal.rsample, graph",
    "Normal.rsample, backward",
    "Normal.rsample, construct",
    "Bernoulli(logits).sample",
    "Categorical(logits).sample",
    "Categorical(logits).sample, construct",
    "Gamma.rsample",
    "Gamma.rsample, backward",
)


@dataclass(frozen=True)
class Call:
    """One draw's times. Microseconds are of the fastest round; `ratio`, ours over torch's, is the median of rounds."""

    draw: str
    shape: str
    us: float
    torch_us: float
    ratio: float
    required: float  # 0 for none
    device: str
    torch: str
    triton: str
    rsample: str
    python: str


def draws(only_shown: bool) -> Iterator[tuple[cases.Draw, cases.Shape]]:
    """Every distribution's draw at each size, constructed before or not, with its gradient; or those of the table."""
    seen = set()
    for draw in cases.DRAWS:
        kind = (draw.distribution, draw.parameters, draw.method)
        if draw.work or draw.variant or kind in seen:
            continue
        seen.add(kind)
        shapes = ROWS if draw.sweep in cases.ROW_SWEEPS else SIZES
        for work in ("", "construct", *(("graph", "backward") if draw.method == "rsample" else ())):
            call = cases.Draw(*kind, work)
            for shape in shapes:
                if not only_shown or (call.name in SHOWN and shape == shapes[1]):
                    yield call, shape


def set_up(library: str, draw: cases.Draw, shape: cases.Shape, device: torch.device) -> Callable[[], object]:
    """What is timed. Of backward passes the graph is kept: some of torch's classes begin it when they are made."""
    if draw.work != "backward":
        return draw.setup(library, shape, torch.float32, device)
    parameters = draw.parameters_of(shape, torch.float32, device)
    sample = getattr(draw.distribution_of(library, parameters), draw.method)
    grad = torch.ones_like(sample())
    leaves = list(parameters.values())
    return lambda: torch.autograd.grad(sample(), leaves, grad, retain_graph=True, allow_unused=True)


def paired_us(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    number: int,
    rounds: int,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[float, float, float]:
    """Least CPU microseconds of each, and the median quotient of neighbouring rounds; ours run inside `around`."""
    runs: tuple[list[float], list[float]] = ([], [])
    pairs = tuple(zip((ours, theirs), (around, nullcontext), runs, strict=True))
    for call, context, _ in pairs:
        with context():
            for _ in range(10):  # from the fourth draw of a kind on nothing is found out any more
                call()
    timer = ThreadTimer()
    with no_garbage_collection():
        for _ in range(rounds):
            for call, context, times in pairs:
                with context():
                    times.append(timer.seconds(call, number) * 1e6)
    return min(runs[0]), min(runs[1]), statistics.median(a / b for a, b in zip(*runs, strict=True))


def measure(device: torch.device, only_shown: bool, number: int, rounds: int) -> list[Call]:
    names = machine.describe(device, get_cpu_info().get("brand_raw", "CPU"))
    names.pop("threads")
    calls = []
    for draw, shape in draws(only_shown):
        ours, theirs = (set_up(library, draw, shape, device) for library in ("rsample", "torch"))
        us, torch_us, ratio = paired_us(ours, theirs, number, rounds)
        free = draw.distribution in WITHOUT_REQUIREMENT
        free |= device.type != "cpu" and draw.work == "construct"  # torch's waits for the GPU, which costs no CPU time
        calls.append(Call(draw.name, str(shape), us, torch_us, ratio, 0.0 if free else REQUIRED, **names))
    return calls


def table(calls: list[Call]) -> str:
    middle = {str(SIZES[1]), str(ROWS[1])}
    shown = {call.draw: call for call in calls if call.draw in SHOWN and call.shape in middle}
    found = [shown[name] for name in SHOWN if name in shown]
    rows = [(c.draw, size_label(c.shape), f"{c.us:.1f}", f"{c.torch_us:.1f}", f"{c.ratio:.2f}") for c in found]
    first = calls[0]
    # A driver that counts calls and runs nothing says in its name that there is no GPU.
    side = "" if "cores" in first.device else ", the host's side alone"
    caption = (
        f"Microseconds of CPU time a call ({first.device}{side}; torch {first.torch}): one thread, the fastest of "
        "rounds that alternate between the two libraries; the ratio is the median of theirs."
    )
    return "\n".join([caption, "", *pipe_table(("draw", "shape", "rsample", "torch", "ratio"), rows), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shown", action="store_true", help="measure what the table shows alone")
    parser.add_argument("--number", type=int, default=100, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--require", action="store_true", help="fail where a required ratio is missed")
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.autograd.set_multithreading_enabled(False)
    core = native_core.wait()
    device = torch.device(options.device)
    calls = measure(device, options.shown, options.number, options.rounds)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{machine.slug(calls[0].device)}-calls.csv"
    write_csv(calls, path)
    path.with_suffix(".md").write_text(table(calls))
    missed = [call for call in calls if call.required and call.ratio > call.required]
    print(table(calls))
    print(f"{len(calls)} calls, {sum(call.ratio <= 1 for call in calls)} of them no slower than torch's; {path}")
    for call in missed:
        print(f"{call.draw} {call.shape}: {call.us:.1f} us, {call.ratio:.2f} times torch's; at most {call.required}")
    if options.require and (missed or not core):
        sys.exit("required ratios are missed" if core else "there is no native core")


if __name__ == "__main__":
    main()
