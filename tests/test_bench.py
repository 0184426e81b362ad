"""The benchmark's runner and renderer, on a sweep too short to say anything about speed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"

COLUMNS = {"draw", "library", "dtype", "shape", "n", "p50", "p20", "p80", "ns_per_sample", "gbps", "ratio", "device"}
COLUMNS |= {"torch", "triton", "rsample", "python", "timestamp"}


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH / script), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(output, folder) of a run of two sizes, too small to compile anything."""
    folder = tmp_path_factory.mktemp("results")
    done = run("run.py", "--results", str(folder), "--device", "cpu", "--sizes", "8,10", "--budget", "0.001")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder


@pytest.fixture(scope="module")
def rows(bench):
    with next(bench[1].glob("*.csv")).open() as file:
        return list(csv.DictReader(file))


def test_csv_has_every_column_filled(rows):
    assert set(rows[0]) >= COLUMNS
    assert all(value != "" for row in rows for value in row.values())


def test_both_libraries_are_in_every_case(rows):
    cases = {(row["draw"], row["n"]) for row in rows}
    assert {(row["draw"], row["n"], row["library"]) for row in rows} == {
        (draw, n, library) for draw, n in cases for library in ("torch", "rsample")
    }
    assert {n for _, n in cases} == {"256", "1024"}
    assert {draw.partition(".")[0] for draw, _ in cases} == {
        "Normal",
        "Uniform",
        "Bernoulli(probs)",
        "Bernoulli(logits)",
    }


def test_numbers_agree_with_each_other(rows):
    for row in rows:
        p20, p50, p80 = (float(row[q]) for q in ("p20", "p50", "p80"))
        assert 0 < p20 <= p50 <= p80
        assert float(row["ns_per_sample"]) == pytest.approx(p50 * 1e9 / int(row["n"]), rel=1e-4)
        assert float(row["ratio_p20"]) <= float(row["ratio"]) <= float(row["ratio_p80"])
        if row["library"] == "torch":
            assert float(row["ratio"]) == 1.0


def test_ratio_is_the_median_quotient_of_neighbouring_rounds(tmp_path):
    # A machine that becomes four times slower after three rounds of five: the quotients do not see it.
    torch, ours = [4.0, 6.0, 4.0, 16.0, 16.0], [2.0, 2.0, 2.0, 8.0, 8.0]
    script = f"""
import json, pathlib, results
def benchmark(library, data):
    info = dict(draw="d", library=library, dtype="float32", n=4, bytes_moved=48)
    return dict(group="g", extra_info=info, stats=dict(data=data))
machine = dict(device="x", threads=2, load=0.0, torch="t", triton="t", rsample="r", python="p", timestamp="now")
benchmarks = [benchmark("torch", {torch}), benchmark("rsample", {ours})]
document = dict(machine_info=dict(measured=machine), benchmarks=benchmarks)
path = pathlib.Path({str(tmp_path / "benchmark.json")!r})
path.write_text(json.dumps(document))
row = results.pairs(results.load(path))[0].rsample
print(row.ratio, row.p50, row.ns_per_sample, row.gbps)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=BENCH, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [float(x) for x in done.stdout.split()] == pytest.approx([2.0, 2.0, 0.5e9, 24e-9])


def test_tables_and_requirements_are_printed(bench):
    output, _ = bench
    assert "ns/sample" in output
    assert "Normal.rsample, backward" in output
    assert "required" in output
    assert "met" in output
    assert "Wrote benchmark data" not in output


def test_plot_is_a_png(bench):
    data = next(bench[1].glob("*.png")).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 10_000


def test_readme_insertion_replaces_only_what_is_between_the_markers_and_is_idempotent(bench, tmp_path):
    fragment = next(bench[1].glob("*.md"))
    readme = tmp_path / "README.md"
    readme.write_text("before\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nafter\n")
    once = None
    for _ in range(2):
        done = run("readme.py", str(fragment), "--readme", str(readme))
        assert done.returncode == 0, done.stderr
        assert once in (None, readme.read_text())
        once = readme.read_text()
    assert once.startswith("before\n\n<!-- bench:begin -->\n")
    assert once.endswith("<!-- bench:end -->\n\nafter\n")
    assert fragment.read_text() in once
    assert "old" not in once


def test_readme_without_markers_is_left_alone(bench, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing to replace\n")
    done = run("readme.py", str(next(bench[1].glob("*.md"))), "--readme", str(readme))
    assert done.returncode != 0
    assert "bench:begin" in done.stderr
    assert readme.read_text() == "nothing to replace\n"


def test_a_failing_benchmark_shows_pytests_output(tmp_path):
    done = run("run.py", "--results", str(tmp_path), "-k", "nothing")
    assert done.returncode == 5  # pytest's: nothing was collected
    assert "deselected" in done.stdout
