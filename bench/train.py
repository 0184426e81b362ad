"""Train the models of bench/models with both libraries side by side; print a table, write CSV, plot and Markdown.

python bench/train.py [--slices N] [--threads N] [--device DEVICE] [--results FOLDER]
"""

from __future__ import annotations

import argparse
import datetime
import platform
from dataclasses import dataclass
from pathlib import Path

import cpuinfo
import numpy as np
import torch
from allocator import keep_freed_memory
from end_to_end import MODELS, Model, Run, measure
from loss_curves import draw_curves, losses
from machine import THREADS, describe, load_average, slug
from markdown_table import pipe_table
from progress import Progress
from results import write_csv
from rich.console import Console
from rich.table import Table
from tables import seconds

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One library's training of one model.

    Times are seconds per step: of all of it, and of its draws alone. Ratios are torch's time over this library's: the
    median over the slices of the quotient of two neighbouring slices, with its quantiles beside it; `best` is the
    quotient of the two fastest slices, which other programs disturb least. `peak` counts bytes. `loss` is the mean of
    the last tenth of the steps, `loss_deviation` their standard deviation.
    """

    model: str
    library: str
    steps: int
    step_p50: float
    step_p20: float
    step_p80: float
    step_ratio: float
    step_ratio_p20: float
    step_ratio_p80: float
    step_ratio_best: float
    draw_p50: float
    draw_p20: float
    draw_p80: float
    draw_ratio: float
    draw_ratio_p20: float
    draw_ratio_p80: float
    draw_ratio_best: float
    peak: int
    first_loss: float
    loss: float
    loss_deviation: float
    device: str
    threads: int
    load: float
    torch: str
    triton: str
    rsample: str
    python: str
    timestamp: str


def row_of(model: Model, library: str, runs: dict[str, Run], measured: dict[str, str | int | float]) -> Row:
    run, reference = runs[library], runs["torch"]
    last = run.losses[-max(len(run.losses) // 10, 1) :]
    return Row(
        model=model.name,
        library=library,
        steps=len(run.losses),
        **_compared("step", reference.steps, run.steps),
        **_compared("draw", reference.draws, run.draws),
        peak=run.peak,
        first_loss=run.losses[0],
        loss=float(np.mean(last)),
        loss_deviation=float(np.std(last)),
        **measured,
    )


def _compared(part: str, reference: list[float], times: list[float]) -> dict[str, float]:
    ratios = np.divide(reference, times)
    found = {
        **{f"p{q}": np.percentile(times, q) for q in (50, 20, 80)},
        "ratio": np.median(ratios),
        **{f"ratio_p{q}": np.percentile(ratios, q) for q in (20, 80)},
        "ratio_best": min(reference) / min(times),
    }
    return {f"{part}_{name}": float(value) for name, value in found.items()}


def table(pairs: list[tuple[Row, Row]]) -> Table:
    """For a terminal; `pairs` are of torch's row and ours."""
    made = Table(
        title="whole trainings, rsample against torch.distributions: medians; ratio of neighbouring slices",
        title_justify="left",
    )
    made.add_column("model", no_wrap=True)
    for name in ("step", "torch", "ratio", "p20 - p80", "best", "draws", "torch", "ratio", "best"):
        made.add_column(name, justify="right", no_wrap=True)
    for name in ("peak MiB", "torch", "loss", "torch"):
        made.add_column(name, justify="right", no_wrap=True)
    for theirs, ours in pairs:
        made.add_row(
            ours.model,
            seconds(ours.step_p50),
            seconds(theirs.step_p50),
            f"[{'green' if ours.step_ratio >= 1 else 'yellow'}]{ours.step_ratio:.2f}x[/]",
            f"{ours.step_ratio_p20:.2f} - {ours.step_ratio_p80:.2f}",
            f"{ours.step_ratio_best:.2f}x",
            seconds(ours.draw_p50),
            seconds(theirs.draw_p50),
            f"{ours.draw_ratio:.2f}x",
            f"{ours.draw_ratio_best:.2f}x",
            f"{ours.peak / 2**20:.1f}",
            f"{theirs.peak / 2**20:.1f}",
            f"{ours.loss:.3f}",
            f"{theirs.loss:.3f}",
        )
    return made


def fragment(pairs: list[tuple[Row, Row]], plot: str, data: str) -> str:
    """The piece of Markdown that bench/README.md shows.

    Args:
        plot, data: where the plot and the CSV file are, as links from there.
    """
    first = pairs[0][1]
    busy = f" Other programs were running: load average {first.load:.1f} before the start." if first.load > 0.5 else ""
    lines = [
        f"{first.device}, {first.threads} thread{'s' if first.threads > 1 else ''}; {first.timestamp[:10]}; "
        f"torch {first.torch}, triton {first.triton}, rsample {first.rsample}, Python {first.python}; "
        f"`make models`.{busy}",
        "",
        f"![losses of both libraries by time]({plot})",
        "",
        "**Whole trainings**, the code the same for both libraries except for the class that is drawn from "
        "(`bench/models/`). Both start at the same weights and are trained in alternating slices; `step` is how many "
        "times faster a step is: the median quotient of neighbouring slices, from 20% to 80% of them, and the quotient "
        "of the two fastest. `draws`: the same of making the distribution and drawing, forward and backward, timed "
        "alone; `share` is torch's time for that over its time for a step. About as much can be gained and no more: "
        "the rest, matrix products and likelihoods, is the same. Peak: the most bytes of tensors that a step holds at "
        "once beyond what it begins with, by the profiler's record on a CPU, by the allocator's on a GPU. Loss: mean "
        "of the last tenth of the steps, plus or minus their standard deviation.",
        "",
        *pipe_table(
            ("model", "step", "ms per step", "torch's", "draws", "share", "peak MiB", "torch's", "loss", "torch's"),
            [_cells(*pair) for pair in pairs],
        ),
        "",
        f"Every number: [{data}]({data})",
    ]
    return "\n".join(lines) + "\n"


def _cells(theirs: Row, ours: Row) -> tuple[str, ...]:
    return (
        ours.model,
        _ratio(ours, "step"),
        f"{ours.step_p50 * 1e3:.2f}",
        f"{theirs.step_p50 * 1e3:.2f}",
        _ratio(ours, "draw"),
        f"{theirs.draw_p50 / theirs.step_p50:.0%}",
        f"{ours.peak / 2**20:.1f}",
        f"{theirs.peak / 2**20:.1f}",
        f"{ours.loss:.3f} ± {ours.loss_deviation:.3f}",
        f"{theirs.loss:.3f} ± {theirs.loss_deviation:.3f}",
    )


def _ratio(row: Row, part: str) -> str:
    ratio, p20, p80, best = (getattr(row, f"{part}_ratio{q}") for q in ("", "_p20", "_p80", "_best"))
    return f"**{ratio:.2f}x** ({p20:.2f} to {p80:.2f}), {best:.2f}x"


def measure_all(device: torch.device, slices: int, length: int, budget: float) -> dict[Model, dict[str, Run]]:
    """Every model. A step of progress is a slice."""
    runs = {}
    with Progress("training", 2 * slices * len(MODELS)) as progress:
        for model in MODELS:

            def advance(name: str = model.name) -> None:
                progress.advance()
                progress.step(name)

            progress.step(model.name)
            runs[model] = measure(model, device, slices, length, budget, advance)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=40, help="of each training")
    parser.add_argument("--length", type=int, default=5, help="steps per slice")
    parser.add_argument("--budget", type=float, default=0.5, help="seconds of timing the draws of a model")
    parser.add_argument("--threads", type=int, default=THREADS, help="of the CPU")
    parser.add_argument("--device", help="where to train; the GPU if there is one, else the CPU")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    options = parser.parse_args()

    load = load_average()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    runs = measure_all(device, options.slices, options.length, options.budget)

    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    cpu = cpuinfo.get_cpu_info().get("brand_raw", platform.machine())
    measured = {**describe(device, cpu), "load": load, "timestamp": now}
    pairs = [(row_of(m, "torch", found, measured), row_of(m, "rsample", found, measured)) for m, found in runs.items()]

    options.results.mkdir(parents=True, exist_ok=True)
    stem = f"{slug(pairs[0][0].device)}-models"
    csv, png, md = (options.results / f"{stem}.{suffix}" for suffix in ("csv", "png", "md"))
    write_csv([row for pair in pairs for row in pair], csv)
    curves = list(losses(runs, options.length))
    write_csv(curves, csv.with_stem(f"{stem}-losses"))
    draw_curves(map(vars, curves), {ours.model: ours.step_ratio for _, ours in pairs}, png)
    md.write_text(fragment(pairs, f"results/{png.name}", f"results/{csv.name}"))

    console = Console()
    if not console.is_terminal:
        console = Console(width=180)  # a log file has no width to fit into
    console.print(table(pairs))
    if load > 0.5:
        console.print(f"Other programs were running (load average {load:.1f} before the start): repeat when idle.")
    for path in (csv, png, md):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
