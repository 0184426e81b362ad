"""The benchmark's runner and renderers, on a sweep too short to say anything about speed; and what the pages show."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import cases
import progress
import pytest
import requirements
import torch
from calls import SHOWN
from counterparts import constructor
from instructions import Count, write_counts
from programs import PROGRAMS
from progress import Progress
from readme import PAGES
from summary import HOST_PICTURE, PICTURE, TEN, accelerated, draw_host_picture, summary
from support import HEAD, measured, support_table

import rsample.distributions
from rsample.kernels.runtime.language import HAS_TRITON

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"

COLUMNS = {"draw", "library", "dtype", "shape", "n", "p50", "p20", "p80", "ns_per_sample", "gbps", "ratio", "device"}
COLUMNS |= {"torch", "triton", "rsample", "python", "timestamp"}


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A pytest of its own, which must not take itself for a worker of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """(output, folder) of a run of two small sizes, whose libraries other tests draw with too."""
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
    measured = {(row["draw"], row["shape"]) for row in rows}
    assert {(row["draw"], row["shape"], row["library"]) for row in rows} == {
        (draw, shape, library) for draw, shape in measured for library in ("torch", "rsample")
    }
    assert {row["n"] for row in rows} == {"256", "1024"}
    assert {draw for draw, _ in measured} == {draw.name for draw in cases.DRAWS}


def test_calls_are_measured(tmp_path):
    done = run("calls.py", "--shown", "--number", "1", "--rounds", "1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    with next(tmp_path.glob("*-calls.csv")).open() as file:
        calls = list(csv.DictReader(file))
    assert [c["draw"] for c in calls if float(c["us"]) > 0 and float(c["torch_us"]) > 0] == [c["draw"] for c in calls]
    table = next(tmp_path.glob("*-calls.md")).read_text()
    assert all(f"| {name} |" in table for name in SHOWN)
    assert len(calls) == len(SHOWN)


def test_programs_are_measured(tmp_path):
    done = run("programs.py", "--number", "1", "--rounds", "1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    with next(tmp_path.glob("*-programs.csv")).open() as file:
        measured = {row["program"]: (float(row["us"]), float(row["torch_us"])) for row in csv.DictReader(file)}
    assert list(measured) == list(PROGRAMS)
    assert all(us > 0 and torch_us > 0 for us, torch_us in measured.values())
    assert torch.distributions.Normal.rsample.__module__.startswith("torch.")


def test_rows_of_categories_keep_their_shape(rows):
    shapes = {row["shape"] for row in rows if row["draw"] == "Categorical(logits).sample"}
    assert shapes == {"(2, 128)", "(8, 128)"}


def test_every_distribution_is_measured():
    combinators = {"Independent", "MixtureSameFamily", "TransformedDistribution"}
    # Made of several draws, which are.
    matrices = {"LKJCholesky", "Wishart"}
    of_torch = {name for name in cases.FAMILIES if constructor(name) is not None}
    assert {draw.distribution for draw in cases.DRAWS} == of_torch - combinators - matrices


def test_every_requirement_is_measured():
    swept = {(draw.name, str(shape)) for draw in cases.DRAWS for _, shape in draw.sweep}
    assert requirements.REQUIRED.keys() <= swept


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
    info = dict(draw="d", library=library, dtype="float32", shape=[4], n=4, bytes_moved=48)
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
        [sys.executable, "-c", script], cwd=BENCH, capture_output=True, text=True, timeout=900, check=False
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


def test_a_selection_without_a_sweep_has_a_plot_too(tmp_path):
    arguments = ("--device", "cpu", "--sizes", "8", "--budget", "0.001", "-k", "Cauchy")
    done = run("run.py", "--results", str(tmp_path), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert next(tmp_path.glob("*.png")).read_bytes().startswith(b"\x89PNG")


def width_of(picture):
    header = picture.read_bytes()[:24]
    assert header.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(header[16:20], "big")


def empty_pages(root):
    """Pages with markers and nothing else that is true."""
    for page, parts in PAGES.items():
        file = root / page
        file.parent.mkdir(exist_ok=True)
        between = (f"<!-- {part}:begin -->\nold\n<!-- {part}:end -->" for part in parts)
        file.write_text("\n\n".join(["before", *between, "after\n"]))
    return [root / page for page in PAGES]


def test_insertion_replaces_only_what_is_between_the_markers_and_is_idempotent(bench, tmp_path):
    fragment = next(path for path in bench[1].glob("*.md"))
    pages = empty_pages(tmp_path)
    once = None
    for _ in range(2):
        done = run("readme.py", str(fragment), "--root", str(tmp_path))
        assert done.returncode == 0, done.stderr
        texts = [page.read_text() for page in pages]
        assert once in (None, texts)
        once = texts
    first, supported, measured_page = once
    assert first.startswith("before\n\n<!-- accelerated:begin -->\nold\n")  # there are no programs beside this sweep
    assert "<!-- accelerated:end -->\n\n<!-- summary:begin -->\n" in first
    assert first.endswith("<!-- summary:end -->\n\nafter\n")
    assert "| Normal.rsample | 2^10 | **" in first
    assert width_of(tmp_path / PICTURE) == 800
    assert "| Normal | yes | yes | fused |" in supported
    assert "old" not in supported
    assert f"<!-- bench:begin -->\n{fragment.read_text()}<!-- bench:end -->" in measured_page


def test_pages_without_markers_are_left_alone(bench, tmp_path):
    pages = empty_pages(tmp_path)
    pages[-1].write_text("nothing to replace\n")
    before = [page.read_text() for page in pages]
    done = run("readme.py", str(next(bench[1].glob("*.md"))), "--root", str(tmp_path))
    assert done.returncode != 0
    assert "bench:begin" in done.stderr
    assert [page.read_text() for page in pages] == before


def rows_of_ten(text):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in lines[2:]}


def test_summary_takes_its_numbers_from_the_results(bench, tmp_path):
    sweep = next(path for path in bench[1].glob("*.csv"))
    head = "draw,shape,us,torch_us,ratio,device,torch\n"
    (tmp_path / "a-calls.csv").write_text(f'{head}Gamma.rsample,"(8,)",1.25,5.5,0.2,"Some CPU, 2 cores",2.15\n')
    others = 'Gamma.rsample,"(1,)",9,9,1,GPU,2.15\nGamma.rsample,"(8,)",3,4,1,GPU,2.15\n'
    (tmp_path / "b-calls.csv").write_text(head + others)
    text = summary(sweep, sorted(tmp_path.glob("*.csv")))
    shown = rows_of_ten(text)
    assert list(shown) == list(TEN)
    assert len(TEN) == 10
    assert shown["Gamma.rsample"][-2:] == ["1.2 (5.5)", "3.0 (4.0)"]
    assert shown["Beta.rsample"][-2:] == ["", ""]
    assert "Some CPU, 2 cores" in text
    with sweep.open() as file:
        large = {
            row["library"]: row
            for row in csv.DictReader(file)
            if (row["draw"], row["n"], row["dtype"]) == ("Gamma.rsample", "1024", "float32")
        }
    ours, torchs = (float(large[library]["ns_per_sample"]) for library in ("rsample", "torch"))
    ratio = float(large["rsample"]["ratio"])
    assert shown["Gamma.rsample"][:3] == ["2^10", f"**{ratio:.1f}**", f"{ours:.2f} ({torchs:.2f})"]


def test_every_summarised_draw_is_measured():
    assert set(TEN) <= {draw.name for draw in cases.DRAWS}


def test_programs_are_listed_with_the_fastest_first(tmp_path):
    file = tmp_path / "x-programs.csv"
    file.write_text("program,ratio,device,torch\na,1.071,CPU,2.15\nb,0.893,CPU,2.15\n")
    assert accelerated([file]).endswith("(CPU; torch 2.15):\n\n- 0.89: b\n- 1.07: a\n")


def support_rows(text):
    """The cells of a support table, by its columns, a dictionary for each distribution."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, _, *body = lines
    assert tuple(head) == HEAD
    return {cells[0]: dict(zip(head, cells, strict=True)) for cells in body}


def test_every_distribution_is_listed():
    """`make readme` writes the table again."""
    page = ROOT / "distributions" / "README.md"
    text = page.read_text().partition("<!-- support:begin -->")[2].partition("<!-- support:end -->")[0]
    shown = support_rows(text)
    assert list(shown) == cases.FAMILIES
    has_rsample = {name: getattr(rsample.distributions, name).has_rsample for name in shown}
    for draw in cases.DRAWS:
        # Of a transformed distribution it is a property of the instance.
        example = draw.distribution_of("rsample", draw.parameters_of((2,), torch.float32, torch.device("cpu")))
        has_rsample[draw.distribution] = example.has_rsample
    for name, row in shown.items():
        expected = {True: "yes", False: ""}.get(has_rsample[name], "as its base")
        assert (row["sample"], row["rsample"]) == ("yes", expected)


def test_support_table_takes_its_numbers_from_the_results(bench, tmp_path):
    counts = tmp_path / "counts.csv"
    per_sample = {"normal": 18.25, "bernoulli_probs": 13.5, "bernoulli_logits": 17.0}
    kernel = ("forward", "float32", "dense")
    write_counts([Count(draw, *kernel, n, 32, 0, 0, 128, 4, "", "t", "s") for draw, n in per_sample.items()], counts)
    results = next(bench[1].glob("*.csv"))
    shown = support_rows(support_table(measured(counts, results)))
    with results.open() as file:
        ratio = next(
            float(row["ratio"])
            for row in csv.DictReader(file)
            if (row["draw"], row["library"], row["n"]) == ("Normal.rsample", "rsample", "1024")
        )
    assert shown["Normal"]["instructions per sample"] == "18.2"
    assert shown["Normal"]["times faster on the CPU"] == f"{ratio:.1f}"
    assert shown["Bernoulli"]["instructions per sample"] == "13.5, 17.0"
    assert shown["Uniform"]["instructions per sample"] == ""
    # Of torch: eps; and what log_prob is made of. Bernoulli has no rsample.
    assert [shown[name]["bytes kept"] for name in ("Normal", "Bernoulli")] == ["0 (4)", ""]
    assert [shown[name]["with log-prob"] for name in ("Normal", "Bernoulli")] == ["0 (12)", ""]


def test_instructions_are_counted_and_kept(tmp_path):
    pytest.importorskip("triton")
    arguments = ("--results", str(tmp_path), "--laws", "uniform")
    assert run("instructions.py", *arguments).returncode == 0
    with (tmp_path / "instructions-sm_90.csv").open() as file:
        counted = {(row["kernel"], row["dtype"], row["layout"]): row for row in csv.DictReader(file)}
    assert set(counted) == {
        (kernel, dtype, layout)
        for dtype in ("float32", "bfloat16")
        for kernel, layout in (("forward", "dense"), ("forward", "scalar"), ("joint", "dense"), ("backward", "dense"))
    }
    row = counted["forward", "float32", "scalar"]
    assert 9.25 < float(row["instructions"]) <= float(row["budget"])  # Philox alone is 9.25
    assert (row["stack"], row["local"], row["access_bits"]) == ("0", "0", "128")
    assert "up to date" in run("instructions.py", *arguments).stdout


@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
def test_bytes_of_fused_examples_are_counted():
    from fused_examples import Cost, costs

    found = costs()
    assert found["dropout_add"] == (Cost(1, 12, 1, 8, 0), Cost(2, 21, 1, 9, 1))
    # x + a * score + b * noise: noise writes, products read and write, sums read twice and write.
    (ours, theirs), sums = found["langevin"], 2 * 4 / 1024
    assert (ours.kernels, ours.forward, ours.kept) == (1, 12 + 8 / 2**20, 0)
    assert ours.backward == pytest.approx(12 + 2 * sums, abs=1e-4)
    assert (theirs.kernels, theirs.kept) == (5, 4)
    assert theirs.forward == pytest.approx(4 + 2 * 8 + 2 * 12, abs=1e-4)
    assert found["stochastic_rounding"][0].forward == 6


def test_a_failing_benchmark_shows_pytests_output(tmp_path):
    done = run("run.py", "--results", str(tmp_path), "-k", "nothing")
    assert done.returncode == 5  # pytest's: nothing was collected
    assert "deselected" in done.stdout


def test_work_that_takes_long_says_how_far_it_is(monkeypatch):
    """Into a file, a line now and then: the first step, one after some seconds, the end."""
    now = iter([0.0, 1.0, 1.0, 2.0, 7.0, 7.0, 9.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(now))
    file = io.StringIO()
    with Progress("counting", 3, file) as counting:
        for name in "abc":
            counting.step(name)
            counting.advance()
    assert file.getvalue().splitlines() == [
        "counting: 1 of 3, after 1 s: a",
        "counting: 3 of 3, after 7 s: c",
        "counting: done in 9 s",
    ]


def test_on_a_terminal_there_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    with Progress("counting", None, file) as counting:
        counting.expect(2)
        counting.step("one")
        counting.advance()
    assert "1/2" in file.getvalue()
    assert "after" not in file.getvalue()


def test_a_sweep_says_how_far_it_is(bench):
    assert re.search(r"(?m)^benchmark: 1 of \d+, after \d+ s: Normal.rsample float32", bench[0])
    assert re.search(r"(?m)^benchmark: done in \d+ s$", bench[0])


# As much of JAX as the draws call, each of which gives one shape of numbers.
JAX = """
import types
import numpy
jit, block_until_ready = (lambda function: function), (lambda result: result)
nn = types.SimpleNamespace(sigmoid=lambda x: x)
vjp = lambda function, *values: (function(*values), lambda ones: tuple(ones for _ in values))
shaped = lambda key, like, *others, **options: numpy.zeros(getattr(like, "shape", like), numpy.float32)
names = "normal bernoulli gamma beta poisson categorical dirichlet"
random = types.SimpleNamespace(key=lambda seed: None, **dict.fromkeys(names.split(), shaped))
"""


@pytest.mark.parametrize("has_jax", [False, True])
def test_ten_draws_stand_beside_those_of_other_libraries(tmp_path, monkeypatch, has_jax):
    if importlib.util.find_spec("jax") and not has_jax:
        pytest.skip("JAX is installed")
    if has_jax:
        (tmp_path / "jax.py").write_text(f"{JAX}\nsys = __import__('sys')\nsys.modules['jax.numpy'] = numpy\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run("ten.py", "--budget", "0.001", "--results", str(tmp_path), "--exponent", "10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("JAX is not installed" in done.stdout) == (not has_jax)
    with next(tmp_path.glob("*-ten.csv")).open() as file:
        rows = list(csv.DictReader(file))
    libraries = ["rsample", "torch", "numpy", *(["jax"] if has_jax else [])]
    without = {name for name in TEN if "backward" in name}
    assert {(row["draw"], row["size"], row["library"]) for row in rows} == {
        (name, size, library)
        for name in TEN
        for size in ("small", "large")
        for library in libraries
        if not (library == "numpy" and name in without)
    }
    assert all(float(row["us"]) > 0 and float(row["ratio"]) > 0 for row in rows)
    lines = rows_of_ten(next(tmp_path.glob("*-ten.md")).read_text())
    assert list(lines) == list(TEN)
    assert {len(cells) for cells in lines.values()} == {2 + 2 * len(libraries)}
    assert lines["Normal.rsample, backward"][libraries.index("numpy") + 1] == ""
    assert re.fullmatch(r"[\d.]+ \([\d.]+x\)", lines["Normal.rsample"][libraries.index("numpy") + 1])


def test_sizes_are_measured_and_drawn(tmp_path):
    done = run("sizes.py", "--largest", "3", "--budget", "0.001", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    with next(tmp_path.glob("*-sizes.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n"]) for row in rows] == 3 * [1, 2, 4, 8]
    assert all(float(row["us"]) > 0 and float(row["torch_us"]) > 0 for row in rows)
    assert width_of(next(tmp_path.glob("*-sizes.png"))) == 800


def test_the_time_of_a_gpus_host_is_drawn(tmp_path):
    head = "draw,shape,us,torch_us,ratio,device,torch\n"
    (tmp_path / "a-calls.csv").write_text(f'{head}Gamma.rsample,"(8,)",1.25,5.5,0.2,"Some CPU, 2 cores",2.15\n')
    draw_host_picture(tmp_path.glob("*.csv"), tmp_path)
    assert not (tmp_path / HOST_PICTURE).exists()
    (tmp_path / "b-calls.csv").write_text(f'{head}Gamma.rsample,"(8,)",3,4,1,GPU,2.15\n')
    draw_host_picture(tmp_path.glob("*.csv"), tmp_path)
    assert width_of(tmp_path / HOST_PICTURE) == 800
