"""Count the machine instructions that a sample costs, for every law, without a GPU: into bench/results.

python bench/instructions.py [--results FOLDER] [--laws NAMES] [--force]

Where the results already are those of the present sources, nothing is done. The kernels take minutes to compile the
first time; Triton then keeps them.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from machine_code.budgets import COMPILED, DEVICE, FORWARD, FUSED, LOOPS, RACE

from rsample import kernels
from rsample.kernels.engines.triton import launch
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.runtime.language import HAS_TRITON
from rsample.kernels.stream.layout import DENSE, SCALAR

HERE = Path(__file__).resolve().parent
TARGET = "sm_90"
# Where there is no budget, which holds for the default configuration, to compile sooner the shortest one that a launch
# may choose: the loop itself then costs up to half an instruction per sample more.
SHORTEST = min(launch.CONFIGS, key=lambda config: config.unroll)
NAME = f"instructions-{TARGET}.csv"


@dataclass(frozen=True)
class Count:
    """What one kernel costs.

    Attributes:
        draw: the law's name, or the distribution's where the draw is one over rows.
        kernel: "forward", "joint" (the sample with its log-density) or "backward".
        layout: of the parameters, and of the gradients.
        instructions: a sample, of the hot loop, which handles `unroll` groups of samples in each lane.
        registers: of a thread.
        stack, local: bytes that each thread spills; 0 in every kernel worth having.
        access_bits: the narrowest access to memory in the hot loop.
        budget: the most instructions that the tests allow; empty where they allow any number.
        sources: identifies the code that was compiled.
    """

    draw: str
    kernel: str
    dtype: str
    layout: str
    instructions: float
    registers: int
    stack: int
    local: int
    access_bits: int
    unroll: int
    budget: float | str
    triton: str
    sources: str


@dataclass(frozen=True)
class Job:
    """A kernel to compile and count.

    `samples` are those of one pass of the hot loop in one lane, whose instructions count unless `cost` says which do.
    """

    draw: str
    kernel: str
    dtype: str
    layout: str
    unroll: int
    samples: int
    budget: float | str
    compile: Callable[[], Any]
    cost: Callable[[Any], float] | None = None


def elementwise_jobs() -> Iterator[Job]:
    """The kernels of every law."""
    from machine_code.elementwise import backward_code, forward_code

    from rsample.kernels.laws import known_laws

    def job(law: Any, kernel: str, dtype: torch.dtype, layout: str) -> Job:
        name = str(dtype).removeprefix("torch.")
        draw = law if kernel != "joint" else law.joint_draw()
        budget = FORWARD.get((draw.name, name, layout), "") if kernel != "backward" else ""
        config = launch.CONFIGS[0] if budget else SHORTEST
        if kernel == "backward":
            outputs = ("elements",) * len(law.parameters)
            code = lambda: backward_code(draw, dtype, outputs, TARGET, config)  # noqa: E731
        else:
            code = lambda: forward_code(draw, dtype, (layout,) * len(law.parameters), TARGET, config)  # noqa: E731
        samples = config.unroll * launch.group_size(dtype)
        return Job(law.name, kernel, name, layout, config.unroll, samples, budget, code)

    for law in known_laws().values():
        for dtype in (torch.float32, torch.bfloat16) if not isinstance(law.noise, LoopNoise) else ():
            yield job(law, "forward", dtype, DENSE)
            yield job(law, "forward", dtype, SCALAR)
            if law.density is not None:
                yield job(law, "joint", dtype, DENSE)
            if law.cotangents:
                yield job(law, "backward", dtype, DENSE)


def loop_jobs() -> Iterator[Job]:
    """The kernels of the laws whose noise loops: of a sample whose first round is accepted as soon as one can be."""
    from machine_code.loops import loop_backward_code, loop_cost, loop_forward_code

    from rsample.kernels.laws import known_laws

    for law in known_laws().values():
        for dtype in (torch.float32, torch.bfloat16) if isinstance(law.noise, LoopNoise) else ():
            name, layouts = str(dtype).removeprefix("torch."), (DENSE,) * len(law.parameters)
            budget = LOOPS.get((law.name, name), "")
            forward = functools.partial(loop_forward_code, law, dtype, layouts, TARGET)
            yield Job(law.name, "forward", name, DENSE, 1, 1, budget, forward, loop_cost)
            if law.cotangents:
                outputs = ("elements",) * len(law.parameters)
                backward = functools.partial(loop_backward_code, law, dtype, outputs, TARGET)
                yield Job(law.name, "backward", name, DENSE, 1, 1, "", backward, loop_cost)


def rows_jobs() -> Iterator[Job]:
    """The race over a long row, which a draw of categories is made of; a sample is a category of the row."""
    from machine_code.rows import race_code

    from rsample.kernels.engines.triton.row_tiles import UNROLL

    for dtype in (torch.float32, torch.bfloat16):
        for kernel in ("forward", "joint"):
            name = str(dtype).removeprefix("torch.")
            budget = RACE.get((name, "logits", kernel), "")
            code = functools.partial(race_code, dtype, TARGET, log_prob=kernel == "joint")
            yield Job("Categorical", kernel, name, DENSE, UNROLL, UNROLL * launch.group_size(dtype), budget, code)


def device_jobs() -> Iterator[Job]:
    """The functions for other people's kernels."""
    from machine_code.device import device_code, device_cost

    for name, budget in DEVICE.items():
        code = functools.partial(device_code, name, TARGET)
        yield Job(f"device.{name}", "forward", "float32", DENSE, 1, 1, budget, code, device_cost)


def fused_jobs() -> Iterator[Job]:
    """The examples of draws that are fused with what reads them."""
    from machine_code.fused import DTYPES, fused_code, fused_cost

    for (module, kernel), budget in FUSED.items():
        code = functools.partial(fused_code, module, kernel, TARGET)
        cost = functools.partial(fused_cost, module)
        yield Job(f"fused.{module}", kernel, DTYPES[module], DENSE, 1, 1, budget, code, cost)


def compiled_jobs() -> Iterator[Job]:
    """A draw in a kernel as torch.compile generates it, with what reads it."""
    from machine_code.compiled import generated_code, generated_cost

    for name, budget in COMPILED.items():
        code = functools.partial(generated_code, TARGET, getattr(torch, name))
        yield Job("compiled.normal", "forward", name, DENSE, 1, 1, budget, code, generated_cost)


# Functions that name kernels.
JOBS: tuple[Callable[[], Iterable[Job]], ...] = (
    elementwise_jobs,
    loop_jobs,
    rows_jobs,
    device_jobs,
    fused_jobs,
    compiled_jobs,
)


def counted(job: Job, sources: str) -> Count:
    import triton
    from machine_code.sass import Sass

    sass = Sass(job.compile())
    return Count(
        draw=job.draw,
        kernel=job.kernel,
        dtype=job.dtype,
        layout=job.layout,
        instructions=len(sass.hot_loop) / job.samples if job.cost is None else job.cost(sass),
        registers=sass.resources["REG"],
        stack=sass.resources["STACK"],
        local=sass.resources["LOCAL"],
        access_bits=sass.access_bits,
        unroll=job.unroll,
        budget=job.budget,
        triton=triton.__version__,
        sources=sources,
    )


def digest_of_sources(laws: str) -> str:
    """Of the kernels, of what counts them and of what is to be counted: the same where the results must be."""
    files = [path for folder in kernels.__path__ for path in sorted(Path(folder).rglob("*.py"))]
    counting = (sorted((HERE / folder).glob("*.py")) for folder in ("machine_code", "fused"))
    files += [HERE / "instructions.py", *itertools.chain(*counting)]
    return hashlib.sha256(laws.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def write_counts(counts: list[Count], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Count)], lineterminator="\n")
        writer.writeheader()
        for count in counts:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in asdict(count).items()})


def read_counts(path: Path) -> list[dict[str, str]]:
    """The rows of a results file, as they stand there; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--laws", help="comma-separated names of the only laws to count")
    parser.add_argument("--force", action="store_true", help="count also where nothing has changed")
    options = parser.parse_args()
    path = options.results / NAME
    if not HAS_TRITON:
        print("Triton is not installed: no instructions to count")
        return
    sources = digest_of_sources(options.laws or "")
    if not options.force and {row["sources"] for row in read_counts(path)} == {sources}:
        print(f"{path} is up to date")
        return
    chosen = options.laws and options.laws.split(",")
    jobs = [job for name_jobs in JOBS for job in name_jobs() if not chosen or job.draw in chosen]
    from progress import tracked
    from side_by_side import side_by_side

    counting = side_by_side(functools.partial(counted, job, sources) for job in jobs)
    counts = list(tracked("counting instructions", counting, lambda count: f"{count.draw}, {count.kernel}", len(jobs)))
    write_counts(counts, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
