"""The whole trainings of bench/: they learn, both libraries alike, and what is measured of them is written down."""

from __future__ import annotations

import csv
import itertools
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from end_to_end import LIBRARIES, MODELS, Training, peak_bytes
from readme import PAGES
from scipy.stats import ttest_1samp
from sklearn.datasets import load_digits
from timers import HostTimer

BENCH = Path(__file__).resolve().parents[1] / "bench"
CPU = torch.device("cpu")

# A loss that a training begins above, and the steps after which it is below.
LEARNT = {
    "VAE": (35.0, 40),
    "Sigmoid belief net, score function": (32.0, 40),
    "Sigmoid belief net, relaxed": (32.0, 40),
    "Soft actor-critic": (0.8, 140),
}

every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer images and masses, of which a step still draws the 2**14 numbers that take the compiled loops."""
    digits = SimpleNamespace(data=load_digits().data[:256])
    for model in MODELS:
        if hasattr(model.module, "load_digits"):
            monkeypatch.setattr(model.module, "load_digits", lambda: digits)
        else:
            monkeypatch.setattr(model.module, "MASSES", 2048)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small steps, and other tests may be running beside this one
    yield
    torch.set_num_threads(threads)


def losses(model, library, steps, seed=0):
    return torch.stack(list(itertools.islice(model.train(library, CPU, seed), steps)))


@every_model
@pytest.mark.parametrize("library", LIBRARIES)
def test_training_learns(model, library):
    below, steps = LEARNT[model.name]
    found = losses(model, library, steps)
    assert found[0] > below
    assert found[-1] < below


@every_model
def test_both_libraries_train_alike(model):
    """Paired by seed, which gives the weights; p of a false alarm is 1e-4 per model."""
    steps, seeds = 12, range(8)
    late = {
        library: torch.stack([losses(model, library, steps, seed)[-4:].mean() for seed in seeds])
        for library in LIBRARIES
    }
    assert not torch.equal(late["torch"], late["rsample"])
    assert ttest_1samp((late["rsample"] - late["torch"]).double(), 0.0).pvalue > 1e-4


@every_model
@pytest.mark.parametrize("library", LIBRARIES)
def test_draws_are_the_librarys(model, library):
    parameters = [torch.full((4096, 8), 0.5, requires_grad=True) for _ in range(2)]
    bernoulli = model.name.startswith("Sigmoid")
    drawn = getattr(model.module, model.draw)(LIBRARIES[library], *parameters[: 1 if bernoulli else 2])
    last = drawn[-1] if isinstance(drawn, tuple) else drawn
    ours = ("DrawEager", "DrawBackward")
    assert any(name in last.grad_fn.name() for name in ours) == (library == "rsample")


def test_slices_draw_what_a_training_alone_does():
    model = MODELS[0]
    trainings = {library: Training(model.train(library, CPU), CPU) for library in LIBRARIES}
    for _ in range(2):
        for training in trainings.values():
            training.advance(2, HostTimer())
    for library, training in trainings.items():
        assert torch.equal(torch.stack(training.losses), losses(model, library, 4))
        assert len(training.seconds) == 2


def test_peak_counts_what_is_held_at_once():
    def step():
        a = torch.ones(2**18)
        b = a + 1
        del a
        return b * 2

    assert peak_bytes(step, CPU) == pytest.approx(2 * 2**20, abs=64)  # beside two of the three, 0-dim numbers


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(output, folder) of trainings too short to say anything."""
    folder = tmp_path_factory.mktemp("results")
    arguments = ("--device", "cpu", "--threads", "1", "--slices", "2", "--length", "1", "--budget", "0.001")
    done = subprocess.run(
        [sys.executable, str(BENCH / "train.py"), *arguments, "--results", str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder


def test_csv_has_a_filled_row_for_each_training(trained):
    with next(trained[1].glob("*-models.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["library"]) for row in rows] == [
        (model.name, library) for model in MODELS for library in LIBRARIES
    ]
    for row in rows:
        assert all(value != "" for value in row.values())
        assert row["steps"] == "2"
        assert int(row["peak"]) > 2**16  # a step holds more than one tensor of 2**14 float32 numbers
        for part in ("step", "draw"):
            assert 0 < float(row[f"{part}_p20"]) <= float(row[f"{part}_p50"]) <= float(row[f"{part}_p80"])
            if row["library"] == "torch":
                assert float(row[f"{part}_ratio"]) == 1.0
        assert float(row["draw_p20"]) < float(row["step_p80"])


def test_plot_is_a_png(trained):
    data = next(trained[1].glob("*-models.png")).read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 10_000
    assert int.from_bytes(data[16:20], "big") == 800


def test_every_loss_is_kept_with_its_time(trained):
    with next(trained[1].glob("*-models-losses.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["library"], row["step"]) for row in rows] == [
        (model.name, library, step) for model in MODELS for library in LIBRARIES for step in "12"
    ]
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert 0 < float(first["seconds"]) < float(second["seconds"])


def test_table_is_printed(trained):
    assert all(model.name in trained[0] for model in MODELS)


def test_fragment_is_one_table_with_links_to_its_files(trained):
    path = next(trained[1].glob("*-models.md"))
    text = path.read_text()
    head, marks, *body = ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|")
    assert [row[0] for row in body] == [model.name for model in MODELS]
    assert {len(row) for row in body} == {len(head)} == {len(marks)}
    for suffix in (".png", ".csv"):
        assert f"(results/{path.with_suffix(suffix).name})" in text


def test_the_page_shows_the_trainings_of_the_device_that_it_shows(trained, tmp_path):
    models = Path(shutil.copy(next(trained[1].glob("*-models.md")), tmp_path))
    sweep = models.with_stem(models.stem.removesuffix("-models"))
    sweep.write_text("a sweep\n")
    sweep.with_suffix(".csv").touch()
    for page, parts in PAGES.items():
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text("\n".join(f"<!-- {part}:begin -->\n<!-- {part}:end -->" for part in parts))
    arguments = [sys.executable, str(BENCH / "readme.py"), str(sweep), "--root", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "bench" / "README.md").read_text()
    assert f"<!-- models:begin -->\n{models.read_text()}<!-- models:end -->" in text


@pytest.mark.parametrize("name", ["vae", "sigmoid_belief_net", "soft_actor_critic"])
def test_file_runs_alone(name, monkeypatch, capsys):
    path = BENCH / "models" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--library", "torch", "--steps", "1"])
    runpy.run_path(str(path), run_name="__main__")
    assert "step    1: " in capsys.readouterr().out
