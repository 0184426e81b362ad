"""How libraries are built: by our own call of the compiler, each once per machine; by Inductor where that fails."""

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels.engines.cpu import compiler, cpp, interpreter

pytestmark = pytest.mark.skipif(compiler.vectors() is None, reason="only Inductor knows how to build here")

KEY = torch.tensor([5, 6], dtype=torch.uint64)


def script(folder, body):
    """A compiler that is a shell script; it finds the real one as $real."""
    file = folder / "compiler"
    real = shlex.join(compiler.found())
    file.write_text(f"#!/bin/sh\nreal={shlex.quote(real)}\n{textwrap.dedent(body)}")
    file.chmod(0o755)
    return str(file)


def start(source, **environment):
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path, **{name: str(value) for name, value in environment.items()}}
    env.pop("RSAMPLE_BACKEND", None)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out.split("\n")[:-1]


EVERY_SMALL_DRAW = """
    import math, sys, warnings
    import torch
    from every_class import EVERY_CLASS
    from rsample.kernels.draws import native_core

    warnings.simplefilter("error", RuntimeWarning)
    native_core.begin = lambda: None  # whose build is another

    def parameter(low, high, *event):
        numbers = torch.linspace(low, high, 2 * math.prod(event)).reshape(2, *event)
        return numbers.requires_grad_()

    for make in EVERY_CLASS.values():
        d = make(parameter)
        d.sample()
        d.sample((3,))
        if d.has_rsample:
            d.rsample((3,)).sum().backward()
    print([name for name in sys.modules if name.startswith("torch._inductor")])
"""


def test_two_processes_that_draw_everything_build_each_library_once_without_inductor(tmp_path):
    cxx = script(tmp_path, f'case "$*" in *" -o "*) echo built >> {tmp_path}/calls;; esac\nexec $real "$@"')
    processes = [start(EVERY_SMALL_DRAW, CXX=cxx, RSAMPLE_CACHE_DIR=tmp_path / "cache") for _ in range(2)]
    assert [printed(process) for process in processes] == [["[]"]] * 2
    # What is begun ahead, and the gradient of Dirichlet draws, which is built when it is needed.
    libraries = len(cpp.AHEAD) + len(cpp.GRADIENTS_AHEAD) + 1
    assert (tmp_path / "calls").read_text().split() == ["built"] * libraries
    assert len(list((tmp_path / "cache").glob("*.so"))) == libraries


def test_libraries_are_begun_ahead_once(tmp_path, monkeypatch):
    """Where each build began them again, these took processors from what the program waits for."""
    asked = []
    monkeypatch.setattr(cpp, "_AHEAD_OF_TIME", {})
    monkeypatch.setattr(cpp, "AHEAD", [lambda dtype: asked.append(dtype) or ""])
    monkeypatch.setattr(cpp, "GRADIENTS_AHEAD", [])
    monkeypatch.setattr(cpp, "place", lambda source: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(2))
    for dtype in (torch.float32, torch.float64, torch.float32):
        cpp._build_ahead(dtype, tmp_path / "library", ["false"])
    cpp.wait_ahead()
    assert sorted(map(str, asked)) == ["torch.float32", "torch.float64"]


def test_cxx_may_have_arguments(tmp_path, monkeypatch):
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", shlex.join([*compiler.found(), "-DRSAMPLE_GIVEN=19"]))
    library = cpp.build('extern "C" int rsample_given() { return RSAMPLE_GIVEN; }\n', "a test")
    assert library.rsample_given() == 19


@pytest.mark.parametrize("cxx", ["no-such-compiler", "", "'"])
def test_what_cannot_be_found(cxx, monkeypatch):
    monkeypatch.setenv("CXX", cxx)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError):
        compiler.found()


# Of a library each.
DRAWS = [
    "dist.Normal(one, one)",
    "dist.Categorical(logits=one)",
    "dist.Gamma(one, one)",
    "dist.MultivariateNormal(one, scale_tril=torch.eye(3))",
]


def drawing(laws, file=os.devnull):
    """A program that says what it is warned of, and whether it has Inductor; it saves what it draws."""
    return f"""
    import sys, warnings
    import torch
    import rsample.distributions as dist

    key, one = torch.tensor([5, 6], dtype=torch.uint64), torch.ones(3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        draws = [law.sample((7,), key=key) for law in ({", ".join(laws)},)]
    print([str(w.message) for w in caught if "rsample" in str(w.message)])
    print("torch._inductor.codecache" in sys.modules)
    torch.save(draws, {str(file)!r})
"""


def test_a_compiler_that_fails_is_told_of_once(tmp_path):
    cxx = script(tmp_path, 'echo "this one is out of order" >&2\nexit 1')
    warned, _ = printed(start(drawing(DRAWS), CXX=cxx, RSAMPLE_CACHE_DIR=tmp_path, TORCHINDUCTOR_CACHE_DIR=tmp_path))
    assert warned.count("rsample runs small draws on the CPU without compiled code") == 1
    assert "this one is out of order" in warned


# However ours has failed, Inductor's builds alike: one draw stands for the others.
@pytest.mark.parametrize(("body", "laws"), [("exit 1", DRAWS), ("echo no library > ${last}", DRAWS[:1])])
def test_where_our_own_call_fails_inductors_gives_the_same_bits(body, laws, tmp_path, monkeypatch):
    # Ours is the one that says which libraries are needed whatever comes before them.
    body = f'for last; do :; done\ncase "$*" in *--no-as-needed*) {body}; exit;; esac\nexec $real "$@"'
    file, cache, cxx = tmp_path / "draws", tmp_path / "cache", script(tmp_path, body)
    process = start(drawing(laws, file), CXX=cxx, RSAMPLE_CACHE_DIR=cache, TORCHINDUCTOR_CACHE_DIR=tmp_path)
    assert printed(process) == ["[]", "True"]
    for theirs, law in zip(torch.load(file), laws, strict=True):
        ours = eval(law, {"dist": dist, "torch": torch, "one": torch.ones(3)})
        assert torch.equal(theirs, ours.sample((7,), key=KEY))
    # What could not be loaded is not kept.
    monkeypatch.setenv("CXX", cxx)
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(cache))
    kept = cpp.whole(cpp.place(interpreter._source(torch.float32, loops=False)))
    assert kept.read_bytes()[:4] == b"\x7fELF"
