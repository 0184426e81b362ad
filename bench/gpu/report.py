"""The results of a GPU as the piece of Markdown that bench/README.md shows, with a plot; and what stands out, printed.

python -m gpu.report BASE

BASE is the path of the results without what the files' names end in. Whatever parts there are is shown.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markdown_table import pipe_table
from results import size_label

from gpu.figure import draw_figure
from gpu.part_options import results_file
from gpu.prediction import TOLERANCE, disagreements
from gpu.table import read

Row = dict[str, str]
# Of each draw and dtype the tuning table shows the default and so many of the fastest configurations.
FASTEST = 3


@dataclass(frozen=True)
class Results:
    """The rows of each part, none where it left none."""

    parts: list[Row]
    checks: list[Row]
    tests: list[Row]
    timings: list[Row]
    tuning: list[Row]

    @classmethod
    def read(cls, base: Path) -> Results:
        return cls(**{name: read(results_file(base, name)) for name in cls.__annotations__})

    @property
    def first(self) -> Row:
        """A row that names the device and the versions."""
        return next(row for rows in vars(self).values() for row in rows)


def fragment(results: Results, base: str) -> str:
    """Tables of the results.

    Args:
        base: where the results' files are, as a link from there without what their names end in.
    """
    row = results.first
    lines = [
        f"{row['device']}; {row['timestamp'][:10]}; torch {row['torch']}, triton {row['triton']}, "
        f"rsample {row['rsample']}, Python {row['python']}; `make gpu`.",
    ]
    if results.timings:
        lines += ["", f"![times, and shares of the bandwidth of a copy, by draw and library]({base}.png)"]
    for table in (_parts(results), _checks(results.checks), _tests(results.tests), *_timings(results.timings)):
        lines += ["", *table] if table else []
    lines += ["", *_tuning(results.tuning)] if results.tuning else []
    files = [name for name, rows in vars(results).items() if rows]
    links = ", ".join(f"[{name}]({base}-{name}.csv)" for name in files)
    return "\n".join([*lines, "", f"Every number: {links}"]) + "\n"


def _parts(results: Results) -> list[str]:
    ended = "; ".join(f"{row['part']} {row['outcome']} in {float(row['seconds']):.0f} s" for row in results.parts)
    return [f"Parts: {ended}."] if ended else []


def _checks(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    judged = [row for row in rows if row["passed"]]
    failed = [row for row in judged if row["passed"] == "no"]
    copy = next((row for row in rows if row["quantity"] == "GB/s"), None)
    lines = [
        f"**Draws against the CPU's of the same key**: {len(judged) - len(failed)} of {len(judged)} checks pass. "
        + (f"A large copy moves {float(copy['measured']):.0f} GB/s, read and written." if copy else "")
    ]
    if failed:
        cells = [[r["check"], r["quantity"], r["measured"], r["allowed"], r["reason"]] for r in failed]
        lines += ["", *pipe_table(["failed check", "quantity", "measured", "allowed", "reason"], cells, left=5)]
    return lines


def _tests(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(Counter(r["outcome"] for r in rows).items()))
    lines = [f"**Tests marked `cuda` or `kernel`**: {counts}."]
    lines += [f"- `{r['test']}`: {r['error']}: {r['message']}" for r in rows if r["outcome"] in ("failed", "error")]
    return lines


def _timings(rows: list[Row]) -> Iterable[list[str]]:
    if not rows:
        return
    yield [
        "**Times faster than `torch.distributions`**, in brackets than `torch.compile` of it; microseconds per call; "
        "and the share of a large copy's bandwidth at which the bytes that must move are moved. One parameter of each "
        "kind per sample, between two events of the device, calls queued one after the other: where the host takes "
        "longer than the device, its time. Up to about 2^20 samples all data stay in the device's cache. Ratios are "
        "the median quotient of neighbouring rounds; torch.compile is given any size, and makes the distribution too."
    ]
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        yield [f"{dtype}:", "", *_sizes([row for row in rows if row["dtype"] == dtype])]
    yield _host(rows)
    yield _disagreements(rows)


def _sizes(rows: list[Row]) -> list[str]:
    """A line for each draw; rows of categories stand in the column of as many samples."""
    sizes = sorted({int(row["n"]) for row in rows})
    lines = []
    for draw in dict.fromkeys(row["draw"] for row in rows):
        cells = [draw]
        for n in sizes:
            found = {row["library"]: row for row in rows if row["draw"] == draw and int(row["n"]) == n}
            cells.append(_cell(found))
        lines.append(cells)
    return pipe_table(["draw", *(size_label(f"({n},)") for n in sizes)], lines)


def _cell(found: dict[str, Row]) -> str:
    if "rsample" not in found:
        return ""
    ours, compiled = found["rsample"], found.get("torch.compile")
    ratio = f"**{float(ours['ratio']):.2f}x**" if ours["ratio"] else ""
    if compiled:
        ratio += f" ({float(compiled['p50']) / float(ours['p50']):.2f}x)"
    return f"{ratio} {float(ours['p50']) * 1e6:.4g} us, {float(ours['of_copy']):.0%}".strip()


def _host(rows: list[Row]) -> list[str]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["dtype"] == "float32":
            found.setdefault(row["draw"], {}).setdefault(row["library"], row)
    libraries = list(dict.fromkeys(row["library"] for row in rows))
    cells = [
        [draw, *(f"{float(of[library]['host']) * 1e6:.1f}" if library in of else "" for library in libraries)]
        for draw, of in found.items()
    ]
    return ["Microseconds of the host for a call:", "", *pipe_table(["draw", *libraries], cells)] if cells else []


def _disagreements(rows: list[Row]) -> list[str]:
    predicted, off = [row for row in rows if row["predicted"]], disagreements(rows)
    lines = [
        f"**What disagrees with its prediction** (`bench/gpu/prediction.py`) by more than {TOLERANCE}x: "
        f"{len(off)} of {len(predicted)}."
    ]
    cells = [
        [
            f"{row['draw']}, {row['dtype']}",
            size_label(row["shape"]),
            f"{float(row['p50']) * 1e6:.4g}",
            f"{float(row['predicted']) * 1e6:.4g}",
            f"{float(row['of_predicted']):.2f}x",
        ]
        for row in off
    ]
    head = ["draw", "samples", "us", "predicted", "measured of predicted"]
    return lines + (["", *pipe_table(head, cells)] if cells else [])


def _tuning(rows: list[Row]) -> list[str]:
    """The default and the fastest configurations of each draw and dtype."""
    cells = []
    for draw, dtype in dict.fromkeys((row["draw"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["draw"], row["dtype"]) == (draw, dtype)]
        fastest = sorted(own, key=lambda row: float(row["p50"]))[:FASTEST]
        for row in [*(r for r in own if r["table"] == "default" and r not in fastest), *fastest]:
            cells.append(
                [
                    f"{draw}, {dtype}",
                    f"{row['warps']} x {row['unroll']} x {row['passes']} {row['table']}".rstrip(),
                    f"{float(row['p50']) * 1e6:.4g}",
                    f"{float(row['of_copy']):.0%}",
                    row["registers"],
                    row["spills"],
                    row["blocks"],
                    f"{float(row['occupancy']):.0%}",
                ]
            )
    size = size_label(f"({rows[0]['n']},)")
    heading = (
        f"**Launch configurations** at {size} samples: the default and the fastest {FASTEST}. `yes`: one of those that "
        "a large draw chooses among. Blocks that a multiprocessor holds at a time, and the share of its threads."
    )
    head = ["draw", "warps x unroll x passes", "us", "of copy", "registers", "spills", "blocks", "occupancy"]
    return [heading, "", *pipe_table(head, cells, left=2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    base = parser.parse_args().base
    results = Results.read(base)
    path = base.with_name(f"{base.name}.md")
    path.write_text(fragment(results, f"results/{base.name}"))
    for text in (_checks(results.checks), _tests(results.tests), _disagreements(results.timings)):
        print("\n".join(text))
    print(f"wrote {path}")
    if results.timings:
        draw_figure(results.timings, base.with_name(f"{base.name}.png"))


if __name__ == "__main__":
    main()
