"""Compiled draws on a GPU are part of the kernels of what reads them, and are the numbers of eager draws."""

import csv
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import rsample.distributions as dist


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_a_draw_and_what_reads_it_are_one_kernel(dtype, on_an_emulated_gpu):
    on_an_emulated_gpu(f"fused_draws.check_reading(torch.{dtype})")


@pytest.mark.parametrize("what", ["broadcasting", "dtypes", "layouts", "products", "sizes", "keys"])
def test_numbers_do_not_depend_on(what, on_an_emulated_gpu):
    on_an_emulated_gpu(f"fused_draws.check_{what}()")


ON_THE_STUB = """
import torch._inductor.config
from torch._inductor.utils import run_and_get_code
import rsample.distributions as dist
from rsample.kernels.draws import compiling
torch._inductor.config.compile_threads = 1
loc, scale = (torch.empty(2**20, device="cuda", requires_grad=True) for _ in range(2))
def function(loc, scale, key=None):
    return torch.relu(dist.Normal(loc, scale, validate_args=False).rsample(key=key)) * 2 + 1
compiled = torch.compile(function, fullgraph=True)
def fused(codes):
    return "noise_of_tile" in "".join(codes)
def called(codes):
    return " = torch.ops.rsample.normal.default(" in "".join(codes)
"""


def test_kernels_per_call(on_a_stub_gpu):
    """One kernel reserves the key, one does all the rest; one goes backward; a mask and the key are kept."""
    script = """
    def launches(call):
        counts = stub.counts(call)
        return counts["tritonLaunch"] + counts.get("launch", 0)
    with torch.no_grad():
        print(launches(lambda: compiled(loc, scale)))
    y = compiled(loc, scale)
    grad = torch.empty_like(y)
    with torch.autograd.set_multithreading_enabled(False):
        print(launches(lambda: torch.autograd.grad(compiled(loc, scale), (loc, scale), grad)))
    print(sum(x.nbytes for x in y.grad_fn.saved_tensors))
    """
    inference, training, kept = map(int, on_a_stub_gpu(ON_THE_STUB + textwrap.dedent(script)))
    assert (inference, training) == (2, 3)
    assert kept == 2**20 + 16


def test_the_table_of_compiled_draws(on_a_stub_gpu, tmp_path):
    """Kernels and bytes, as the pages have them: 12 bytes per sample must move, and 1 is the mask of relu."""
    bench = Path(__file__).parents[1] / "bench"
    options = ["compiled.py", "--number", "1", "--rounds", "1", "--results", str(tmp_path)]
    on_a_stub_gpu(f"""
    import runpy, sys
    sys.argv = {options}
    sys.path.insert(0, {str(bench)!r})
    runpy.run_path({str(bench / "compiled.py")!r}, run_name="__main__")
    """)
    (file,) = tmp_path.glob("*-compiled.csv")
    with file.open() as rows:
        sample, step = csv.DictReader(rows)
    assert (sample["kernels"], sample["bytes"], sample["kept"]) == ("2", "12", "0")
    assert (step["kernels"], step["bytes"], step["kept"]) == ("2, 1", "13, 13", "1")


def test_what_is_not_fused_is_called(on_a_stub_gpu):
    script = """
    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False
    def codes(*args):
        torch._dynamo.reset()
        return run_and_get_code(compiled, *args)[1]
    with torch.no_grad():
        assert fused(codes(loc, scale)) and not called(codes(loc, scale))
        key = torch.tensor([1, 2], dtype=torch.uint64)
        assert called(codes(loc, scale, key))  # a key on the CPU
        half = torch.empty(2**20, device="cuda", dtype=torch.float16)
        assert fused(codes(loc, half)) and not called(codes(loc, half))
        on_the_cpu = codes(torch.zeros(8), torch.ones(8))
        assert "rsample_draw_of_key(" in "".join(on_the_cpu) and not fused(on_the_cpu)
        # As recorded by another version of the package.
        operator = torch.ops.rsample.normal.default
        key = torch.empty(2, dtype=torch.uint64, device="cuda")
        for mark, expected in ((compiling.version(), False), ("another", True), (None, True)):
            torch._dynamo.reset()
            draw = torch.compile(lambda a, b, k: operator([k], a, b, a.shape, a.dtype, version=mark) + 1)
            assert called(run_and_get_code(draw, loc.detach(), scale.detach(), key)[1]) == expected
    """
    on_a_stub_gpu(ON_THE_STUB + textwrap.dedent(script))


def test_elements_of_samples_of_any_size_have_numbers_of_64_bits(on_a_stub_gpu):
    """A graph for all sizes may be run with 2**31 elements and more."""
    script = """
    torch._inductor.config.fx_graph_cache = False
    for dynamic, type_ in ((False, "int32"), (True, "int64")):
        torch._dynamo.reset()
        with torch.no_grad():
            _, (code,) = run_and_get_code(torch.compile(function, dynamic=dynamic), loc, scale)
        assert fused([code]) and f"(x0).to(tl.{type_})" in code
    """
    on_a_stub_gpu(ON_THE_STUB + textwrap.dedent(script))


@pytest.mark.parametrize("reason", ["release", "interface", "lowering"])
def test_other_versions_of_torch_call_the_operators(reason, on_a_stub_gpu):
    change = {
        "release": "compiling._TESTED = ()",
        "interface": "import torch._inductor.ops_handler as o; del o.DefaultHandler._call_default",
        "lowering": "from rsample.kernels.draws import lowerings; lowerings._numbers = None",  # an error in the midst
    }[reason]
    script = """
    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False
    _, codes = run_and_get_code(lambda: compiled(loc, scale).sum().backward())
    assert len(codes) == 2
    assert called(codes) and not fused(codes)
    """
    on_a_stub_gpu(ON_THE_STUB + change + textwrap.dedent(script))


def test_graphs_kept_by_inductor_are_those_of_the_same_sources(on_a_stub_gpu):
    """The version is that of the sources, and stands in what Inductor looks its kept graphs up by."""
    script = """
    import uuid
    from torch._dynamo.utils import counters
    torch._inductor.config.fx_graph_cache = True
    def hits():
        torch._dynamo.reset()
        counters.clear()
        with torch.no_grad():
            compiled(loc, scale)
        return counters["inductor"]["fxgraph_cache_hit"]
    hits()
    assert hits() == 1
    compiling._digest = lambda: f"other sources {uuid.uuid4()}"
    assert hits() == 0
    """
    on_a_stub_gpu(ON_THE_STUB + textwrap.dedent(script))


def test_importing_the_distributions_imports_no_compiler():
    script = "import sys, {}.distributions; print([m for m in sys.modules if m.startswith('torch._inductor')])"
    scripts = [script.format(package) for package in ("rsample", "torch")]
    ours, torchs = (subprocess.run([sys.executable, "-c", s], capture_output=True, text=True) for s in scripts)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == torchs.stdout


@pytest.mark.cuda
@pytest.mark.parametrize("shape", [(2**20,), (1001, 33), (64, 4096)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_draws_equal_eager_ones_on_a_gpu(shape, dtype):
    torch._dynamo.reset()
    key = torch.tensor([20261201, 2**32 - 100], dtype=torch.uint64, device="cuda")
    loc, scale = (torch.rand(shape, device="cuda").add(0.5).to(dtype).requires_grad_() for _ in range(2))

    def draw(loc, scale):
        z = dist.Normal(loc, scale, validate_args=False).rsample(key=key)
        b, log_prob = dist.Bernoulli(logits=loc, validate_args=False).sample_with_log_prob(key=key)
        return z, b, log_prob, torch.tanh(z).float().sum(-1)

    outputs, grads = [], []
    for function in (draw, torch.compile(draw, fullgraph=True)):
        outputs.append(function(loc, scale))
        total = outputs[-1][0].float().square().mean() + outputs[-1][3].mean()
        grads.append(torch.autograd.grad(total, (loc, scale)))
    assert torch.equal(outputs[0][1], outputs[1][1])
    for eager, compiled in zip((*outputs[0], *grads[0]), (*outputs[1], *grads[1]), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
