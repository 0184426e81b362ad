"""What calling a draw costs: host time of small draws, this library's and torch.distributions'.

python bench/calls.py [--device cuda] [--shown] [--number N] [--rounds N] [--require] [--results FOLDER]

Every class of this library against torch's; and torch's own, accelerated, against themselves as they are. Measured as
host_time.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cases
import compositions
import host_time
import torch
from markdown_table import pipe_table
from progress import tracked
from results import size_label
from summary import SHOWN

import rsample.distributions

SIZES = ((1,), (8,), (2048,))
ROWS = ((1, 4), (8, 4), (64, 128))
# Against torch, at most: 1, and room for the noise of some hundred measurements on a busy machine.
REQUIRED = 1.5


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

    @property
    def name(self) -> str:
        return f"{self.draw} {self.shape}"


def draws(only_shown: bool) -> Iterator[tuple[cases.Draw, cases.Shape]]:
    """Every distribution's draw at each size, constructed before or not, with its gradient; or those of the table."""
    seen = set()
    for draw in (*cases.DRAWS, *compositions.COMPOSITIONS):
        kind = (draw.distribution, draw.parameters, draw.method)
        if draw.work or draw.variant or kind in seen:
            continue
        seen.add(kind)
        shapes = ROWS if draw.sweep in cases.ROW_SWEEPS else SIZES
        if isinstance(draw, compositions.Composition):
            shapes = compositions.SHAPES
        for work in ("", "construct", *(("graph", "backward") if draw.method == "rsample" else ())):
            call = replace(draw, work=work)
            for shape in shapes:
                if not only_shown or (call.name in SHOWN and shape == shapes[1]):
                    yield call, shape


def set_up(library: str, draw: cases.Draw, shape: cases.Shape, device: torch.device) -> Callable[[], object]:
    """What is timed, which looks the method up in each call: it may be accelerated meanwhile.

    Of backward passes the graph is kept: some of torch's classes begin it when they are made.
    """
    parameters = draw.parameters_of(shape, torch.float32, device)
    if draw.work == "construct":
        return lambda: getattr(draw.distribution_of(library, parameters), draw.method)()
    distribution = draw.distribution_of(library, parameters)
    if draw.work != "backward":
        return lambda: getattr(distribution, draw.method)()
    grad, leaves = torch.ones_like(distribution.rsample()), list(parameters.values())
    return lambda: torch.autograd.grad(
        getattr(distribution, draw.method)(), leaves, grad, retain_graph=True, allow_unused=True
    )


def is_torchs(draw: cases.Draw, shape: cases.Shape, device: torch.device) -> bool:
    """Whether torch has a class of that name, and not only one that does the same."""
    cls = type(draw.distribution_of("torch", draw.parameters_of(shape, torch.float32, device)))
    return cls.__module__.startswith("torch.") and cls.__name__ == draw.distribution


def measure(device: torch.device, only_shown: bool, number: int, rounds: int) -> list[Call]:
    names = host_time.names(device)
    calls = []
    chosen = list(draws(only_shown))
    for draw, shape in tracked("calls", chosen, lambda call: f"{call[0].name}, {size_label(str(call[1]))}"):
        # torch's constructor waits for the GPU, which costs no CPU time.
        required = 0.0 if device.type != "cpu" and draw.work == "construct" else REQUIRED
        ours, theirs = (set_up(library, draw, shape, device) for library in ("rsample", "torch"))
        times = host_time.paired_us(ours, theirs, number, rounds)
        calls.append(Call(draw.name, str(shape), *times, required, **names))
        if only_shown or draw.work == "graph" or shape not in (SIZES[1], ROWS[1]):
            continue
        if is_torchs(draw, shape, device):
            times = host_time.paired_us(theirs, theirs, number, rounds, rsample.distributions.accelerate)
            calls.append(Call(f"{draw.name}, accelerated", str(shape), *times, required, **names))
    return calls


def table(calls: Sequence[Call]) -> str:
    middle = {str(SIZES[1]), str(ROWS[1])}
    shown = {call.draw: call for call in calls if call.draw in SHOWN and call.shape in middle}
    found = [shown[name] for name in SHOWN if name in shown]
    rows = [(c.draw, size_label(c.shape), f"{c.us:.1f}", f"{c.torch_us:.1f}", f"{c.ratio:.2f}") for c in found]
    first = calls[0]
    # A driver that counts calls and runs nothing says in its name that there is no GPU.
    side = "" if "cores" in first.device else ", the host's side alone"
    caption = (
        f"Microseconds of CPU time per call ({first.device}{side}; torch {first.torch}): one thread, the fastest of "
        "rounds that alternate between the two libraries; the ratio is the median of theirs."
    )
    return "\n".join([caption, "", *pipe_table(("draw", "shape", "rsample", "torch", "ratio"), rows), ""])


def main() -> None:
    parser = host_time.parser(__doc__, number=100, rounds=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shown", action="store_true", help="measure what the table shows alone")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not host_time.has_gpu(__file__):
        return
    host_time.run(
        "calls",
        options,
        lambda: measure(device, options.shown, options.number, options.rounds),
        table,
        lambda call: call.required,
    )


if __name__ == "__main__":
    main()
