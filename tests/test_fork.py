"""Draws in a process that was forked from one that draws: torch's do not hang there, and so must ours not."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

SETUP = """
    import os, signal, sys, threading, time
    import torch
    import rsample.distributions as dist
    from rsample.kernels.engines.cpu import elementwise as compiled, cpp
    from rsample.kernels import use_backend
    from rsample.kernels.laws.normal import NORMAL_LAW

    def in_child(name, work):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(900)  # far beyond what any of this takes: it ends a child that hangs
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        status = os.waitpid(child, 0)[1]
        print(name, "hangs" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"""

PARALLEL = """
    torch.set_num_threads(2)
    normal = dist.Normal(torch.tensor(0.0), torch.tensor(1.0))
    half = dist.Normal(torch.zeros(3, dtype=torch.bfloat16), 1.0)
    product = dist.MultivariateNormal(torch.zeros(64), scale_tril=torch.eye(64))
    loc = torch.zeros(2**18, requires_grad=True)
    draws = {
        "small": lambda: normal.sample((2**13,)),
        "large": lambda: normal.sample((2**20,)),
        "bfloat16": lambda: half.sample((2**18,)),
        "gamma": lambda: dist.Gamma(torch.tensor(2.0), torch.tensor(1.0)).sample((2**17,)),
        "relaxed": lambda: dist.RelaxedOneHotCategorical(0.5, logits=torch.zeros(64)).sample((2**11,)),
        "product": lambda: product.sample((2**12,)),
        "gradient": lambda: dist.Laplace(loc, torch.tensor(1.0)).rsample().sum().backward(),
    }
    for draw in draws.values():
        draw()
    torch.ones(2**20).exp()
    for name, draw in draws.items():
        in_child(name, draw)
    in_child("grandchild", lambda: (normal.sample((2**20,)), in_child("child", draws["large"])))
    print("threads", torch.get_num_threads())
"""

BUILDING = """
    begun = threading.Event()
    run = cpp._run

    def slow_run(*args, **options):
        begun.set()
        time.sleep(2)
        return run(*args, **options)

    cpp._run = slow_run
    builder = threading.Thread(target=compiled.available, args=(NORMAL_LAW, torch.float32))
    builder.start()
    begun.wait()
    in_child("same", lambda: compiled.available(NORMAL_LAW, torch.float32))
    cpp._run = run
    in_child("other", lambda: compiled.available(NORMAL_LAW, torch.float64))
    builder.join()
"""

LOCKED = """
    from pathlib import Path

    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        parent = os.getpid()
        building = cpp._locked(Path(os.environ["RSAMPLE_CACHE_DIR"]) / "library", waits=True)
        building.__enter__()
        if os.fork() != 0:
            os._exit(0)  # while it builds a library
        while os.getppid() == parent:
            time.sleep(0.01)
        try:
            with cpp._locked(Path(os.environ["RSAMPLE_CACHE_DIR"]) / "library", waits=False):
                os.write(writing, b"free")
        except OSError as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.waitpid(parent, 0)
    print(os.read(reading, 1000).decode())
"""


def printed(script, **environment):
    source = textwrap.dedent(SETUP) + textwrap.dedent(script)
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_after_parallel_loops_of_the_parent():
    draws = ["small", "large", "bfloat16", "gamma", "relaxed", "product", "gradient"]
    assert printed(PARALLEL) == [*(f"{name} 0" for name in draws), "child 0", "grandchild 0", "threads 2"]


def test_while_another_thread_builds_a_library(tmp_path):
    # Nothing is kept there yet.
    assert printed(BUILDING, RSAMPLE_CACHE_DIR=str(tmp_path)) == ["same 0", "other 0"]


def test_a_child_does_not_keep_locked_what_its_parent_was_building(tmp_path):
    assert printed(LOCKED, RSAMPLE_CACHE_DIR=str(tmp_path)) == ["free"]


def test_checks_of_the_parent_are_left_to_it(monkeypatch):
    from rsample.distributions import _validation

    class Arrived:
        """An event that only the process that recorded it may ask."""

        process = os.getpid()

        def query(self):
            assert os.getpid() == self.process
            return False

    pending = _validation.PENDING
    monkeypatch.setattr(pending, "checks", _validation.deque([_validation._Check(None, Arrived(), "")]))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            pending.raise_arrived()
            status = len(pending.checks)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert len(pending.checks) == 1
    pending.raise_arrived()
    pending.checks.clear()
