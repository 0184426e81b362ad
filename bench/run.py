"""Run the whole benchmark, show how far it is, print its tables, and write CSV, plot and Markdown to bench/results.

python bench/run.py [--results FOLDER] [options of pytest bench/, such as --sizes 10,20 or -k Bernoulli]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import plot
import pytest
import results
import tables
from fragment import fragment
from machine import slug
from progress import Progress
from rich.console import Console

HERE = Path(__file__).resolve().parent


class Steps:
    """A pytest plugin that makes one step of each test."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._progress.expect(len(session.items))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._progress.step(nodeid.partition("[")[2].rstrip("]"))

    def pytest_runtest_logfinish(self) -> None:
        self._progress.advance()


def measure(json_path: Path, arguments: list[str]) -> None:
    """Run the suite into a pytest-benchmark JSON file; exit with pytest's output and status if it fails."""
    # pytest captures file descriptor 1 while a test runs; progress is written to a copy of it.
    terminal = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    output = io.StringIO()
    quiet = contextlib.ExitStack()
    with terminal, Progress("benchmark", file=terminal) as progress, quiet:
        quiet.enter_context(contextlib.redirect_stdout(output))
        quiet.enter_context(contextlib.redirect_stderr(output))
        status = pytest.main(
            [str(HERE), "--quiet", f"--benchmark-json={json_path}", "-p", "no:cacheprovider", *arguments],
            plugins=[Steps(progress)],
        )
    if status != pytest.ExitCode.OK:
        print(output.getvalue())
        sys.exit(status)


def render(json_path: Path, folder: Path) -> None:
    """Print the tables; write the CSV file, the plot and the Markdown fragment, named after the device."""
    rows = results.load(json_path)
    pairs = results.pairs(rows)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / slug(rows[0].device)
    csv, png, md = (base.with_suffix(suffix) for suffix in (".csv", ".png", ".md"))
    results.write_csv(rows, csv)
    plot.draw_plot(pairs, png)
    md.write_text(fragment(pairs, f"results/{png.name}", f"results/{csv.name}"))

    console = Console()
    if not console.is_terminal:
        console = Console(width=180)  # a log file has no width to fit into
    console.print(tables.results_table(pairs))
    first = rows[0]
    console.print(f"{first.device}, {first.threads} threads, torch {first.torch}, {first.timestamp}", highlight=False)
    if first.load > 0.5:
        # A thread that has lost its core holds up the other one for milliseconds.
        console.print(
            f"Other programs were running (load average {first.load:.1f} before the start): repeat when idle."
        )
    if tables.requirements_table(pairs).row_count:
        console.print(tables.requirements_table(pairs))
    for path in (csv, png, md):
        console.print(f"wrote {path}", soft_wrap=True, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        json_path = Path(scratch) / "benchmark.json"
        measure(json_path, arguments)
        render(json_path, options.results)


if __name__ == "__main__":
    main()
