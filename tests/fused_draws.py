"""Draws that Inductor fuses with what reads them, against eager draws of the same key: see test_fused_draws.py.

For a process whose GPU is a stand-in, and whose kernels run in the emulator.
"""

import functools

import gpu_emulator
import torch
from emulated_inductor import SOURCES, on_the_device, on_the_host
from examples import EXAMPLES
from kernel_cases import packed
from torch._inductor import config

import rsample.distributions as dist
from rsample.kernels.draws.compiling import version
from rsample.kernels.engines.triton import elementwise, launch
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.stream.noise import compute_dtype

launch.CONFIGS = (launch.Config(unroll=1, passes=1),)
LAWS = {e.law.name: e for e in EXAMPLES}
KEY = packed()


def numbers(shape, seed, dtype=torch.float32, low=0.2, high=0.8):
    random = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (random * (high - low) + low).to(dtype)


def compiled(function, args, grads=(), **options):
    """What a compiled function gives on the device, and the gradients of its arguments; and what was generated.

    Args:
        function: of `args`, of tensors, several of which it returns.
        grads: the gradients of those results that have one.
    """
    torch._dynamo.reset()
    SOURCES.clear()
    given = [on_the_device(x) for x in args]
    results = torch.compile(function, fullgraph=True, **options)(*given)
    found = []
    if grads:
        differentiable = [x for x in results if x.requires_grad]
        leaves = [x for x in given if x.requires_grad]
        found = torch.autograd.grad(differentiable, leaves, [on_the_device(g) for g in grads])
    return [on_the_host(x.detach()).clone() for x in results], [on_the_host(g).clone() for g in found], dict(SOURCES)


def eager(law, params, shape, dtype, grads=(), needs=None, key=KEY):
    """What the kernels of eager draws give, without summing: outputs, and gradients element by element."""
    whole = [p.detach().expand(shape).contiguous() for p in params]
    with gpu_emulator.activate(memory_stats=False):
        outputs = elementwise.forward(law, [key], whole, shape, dtype)
        if not grads:
            return outputs, []
        return outputs, elementwise.backward(law, [key], grads, whole, needs or [True] * len(params))


def check_laws(names):
    """Sample, log-density and gradients of a law, in one kernel each way, bit for bit."""
    shape = (3, 335)
    for name in names:
        law = LAWS[name].law
        law = law.joint_draw() or law
        params = [p.expand(shape).contiguous() for p in LAWS[name].values(shape[1:], torch.float32)]
        params = [p.requires_grad_(bool(law.cotangents)) for p in params]
        operator = getattr(torch.ops.rsample, law.name).default

        def draw(key, *params, operator=operator):
            drawn = operator([key], *params, shape, torch.float32, version=version())
            return drawn if isinstance(drawn, tuple) else (drawn,)

        grads = [numbers(shape, i) for i in law.cotangents]
        results, found, sources = compiled(draw, (KEY, *params), grads)
        expected, expected_grads = eager(law, params, shape, torch.float32, grads)
        assert len(sources) == 1 + bool(grads), (name, list(sources))
        for ours, theirs in zip((*results, *found), (*expected, *expected_grads), strict=True):
            assert torch.equal(ours, theirs), (name, (ours - theirs).abs().max())


def normal(loc, scale, key, shape=(), sample=False):
    d = dist.Normal(loc, scale, validate_args=False)
    return d.sample(shape, key=key) if sample else d.rsample(shape, key=key)


def has_whole_blocks(source):
    """Whether the noise of a generated kernel is made by whole Philox blocks, each once."""
    calls = [line for line in source.split("\n") if "= noise_of_tile(" in line]
    assert calls
    return all(line.endswith(", True, True)") for line in calls)


def check_reading(dtype):
    """A sample that is read, made of parameters that are made, with gradients: one kernel each way."""
    n = 1003
    loc, scale = numbers(n, 0, dtype).requires_grad_(), numbers(n, 1, dtype).requires_grad_()

    def function(loc, scale, key):
        z = normal(2 * loc, scale * scale, key)
        return z, torch.sin(z) + 1

    grads = [numbers(n, 2, dtype), numbers(n, 3, dtype)]
    (z, y), found, sources = compiled(function, (loc, scale, KEY), grads)
    assert len(sources) == 2
    assert all(map(has_whole_blocks, sources.values()))
    wide = compute_dtype(dtype)
    # Inductor does not round parameters that it makes.
    params = [2 * loc.detach(), (scale * scale).detach()]
    (expected,), _ = eager(NORMAL_LAW, params, (n,), dtype)
    eps = torch.finfo(dtype).eps
    close = functools.partial(torch.testing.assert_close, rtol=4 * eps, atol=8 * eps)
    close(z, expected)
    close(y, (torch.sin(expected.to(wide)) + 1).to(dtype))
    upstream = (grads[0].to(wide) + grads[1].to(wide) * torch.cos(expected.to(wide))).to(dtype)
    _, (of_loc, of_scale) = eager(NORMAL_LAW, params, (n,), dtype, [upstream])
    close(found[0], 2 * of_loc)
    close(found[1], 2 * scale.detach() * of_scale)


def check_broadcasting():
    """Parameters of all shapes; Inductor sums their gradients."""
    shape = (6, 5, 36)
    for sizes in ((), (36,), (5, 1), (6, 1, 1), (5, 36), (6, 5, 36)):
        loc, scale = numbers((36,), 0).requires_grad_(), numbers(sizes, 1).requires_grad_()
        grad = numbers(shape, 2)
        function = lambda loc, scale, key: (normal(loc.expand(5, 36), scale, key, () if scale.dim() == 3 else (6,)),)  # noqa: E731
        (z,), (of_loc, of_scale), _ = compiled(function, (loc, scale, KEY), [grad])
        (expected,), grads = eager(NORMAL_LAW, (loc, scale), shape, torch.float32, [grad])
        assert torch.equal(z, expected), sizes
        for ours, theirs, p in zip((of_loc, of_scale), grads, (loc, scale), strict=True):
            torch.testing.assert_close(ours, theirs.double().sum_to_size(p.shape).float(), rtol=1e-5, atol=1e-5)


def check_layouts():
    """Tiles of two dimensions, reductions and permuted results: blocks where rows are made of them, else by element."""
    for rows, columns, whole in ((96, 64, True), (96, 63, False)):
        loc, scale, other = numbers((rows, columns), 0), numbers((rows, columns), 1), numbers((columns, rows), 2)
        (z,), _ = eager(NORMAL_LAW, (loc, scale), (rows, columns), torch.float32)
        for function, expected in (
            (lambda loc, scale, other, key: (normal(loc, scale, key).sum(1),), z.double().sum(1).float()),
            (lambda loc, scale, other, key: (normal(loc, scale, key).sum(0),), z.double().sum(0).float()),
            (lambda loc, scale, other, key: (normal(loc, scale, key).t() + other,), z.t() + other),
            (lambda loc, scale, other, key: (normal(loc, scale, key).t().contiguous(),), z.t()),
            (lambda loc, scale, other, key: (normal(loc, scale, key)[1:, ::2] * 1,), z[1:, ::2]),
            (lambda loc, scale, other, key: (torch.softmax(normal(loc, scale, key), 1),), torch.softmax(z, 1)),
        ):
            (found,), _, sources = compiled(function, (loc, scale, other, KEY))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        # The last one is a reduction along the rows.
        assert [has_whole_blocks(source) for source in sources.values()] == [whole]


def check_sizes():
    """One graph serves all sizes; a draw may have one element, or none."""
    torch._dynamo.reset()
    draw = torch.compile(lambda loc, scale, key: normal(loc, scale, key, (3,)) * 2, fullgraph=True, dynamic=True)
    for sizes in ((7, 30), (5, 11), (64, 2), (2, 1024)):
        loc, scale = numbers(sizes, 0), numbers(sizes[1:], 1)
        given = [on_the_device(x) for x in (loc, scale, KEY)]
        with torch.compiler.set_stance("default" if sizes == (7, 30) else "fail_on_recompile"):
            found = on_the_host(draw(*given))
        (expected,), _ = eager(NORMAL_LAW, (loc, scale), (3, *sizes), torch.float32)
        assert torch.equal(found, expected * 2)
    for n in (0, 1, 2, 5):
        loc, scale = numbers(n, 0), numbers(n, 1)
        (found,), _, _ = compiled(lambda loc, scale, key: (normal(loc, scale, key) * 2,), (loc, scale, KEY))
        if n:
            (expected,), _ = eager(NORMAL_LAW, (loc, scale), (n,), torch.float32)
            assert torch.equal(found, expected * 2)
    loc, scale = numbers((), 0), numbers((), 1)
    (found,), _, _ = compiled(lambda loc, scale, key: (normal(loc, scale, key),), (loc, scale, KEY))
    assert torch.equal(found, eager(NORMAL_LAW, (loc, scale), (), torch.float32)[0][0])


def check_keys():
    """Keys that are parts of other tensors, or are computed, are read where they lie."""
    keys = torch.stack((packed(1, 2), packed(3, 2**33), KEY))
    loc, scale = numbers(64, 0), numbers(64, 1)
    for function, key in (
        (lambda loc, scale, keys: (normal(loc, scale, keys[1]),), keys[1]),
        (lambda loc, scale, keys: (normal(loc, scale, keys[:, 0][1:]),), keys[1:, 0].contiguous()),
        (lambda loc, scale, keys: (normal(loc, scale, keys.t()[:, 2]),), keys[2]),
    ):
        (found,), _, sources = compiled(function, (loc, scale, keys))
        assert torch.equal(found, eager(NORMAL_LAW, (loc, scale), (64,), torch.float32, key=key)[0][0])
        assert any("noise_of_tile" in source for source in sources.values())


def check_dtypes():
    """Parameters of several dtypes, each of which gets a gradient of its own."""
    shape = (16, 66)
    loc, scale = numbers(shape, 0, torch.bfloat16).requires_grad_(), numbers(shape[1:], 1).requires_grad_()
    grad = numbers(shape, 2)
    (z,), found, sources = compiled(lambda *args: (normal(*args),), (loc, scale, KEY), [grad])
    (expected,), grads = eager(NORMAL_LAW, (loc, scale), shape, torch.float32, [grad])
    assert torch.equal(z, expected)
    assert [g.dtype for g in found] == [torch.bfloat16, torch.float32]
    assert torch.equal(found[0], grads[0].to(torch.bfloat16))
    torch.testing.assert_close(found[1], grads[1].double().sum(0).float(), rtol=1e-5, atol=1e-5)
    assert all("noise_of_tile" in source for source in sources.values())


def check_products():
    """Draws before and behind a matrix product of Inductor's own, in its kernel."""
    n = 64
    x, w, scale = numbers((n, n), 0), numbers((n, n), 1), torch.full((n, n), 0.5)
    options = {
        "max_autotune": True,
        "max_autotune_gemm_backends": "TRITON",
        "prologue_fusion": True,
        # The younger name, and the older one.
        f"benchmark_{'template' if hasattr(config, 'benchmark_template_fusion') else 'epilogue'}_fusion": False,
        "test_configs.autotune_choice_desc_regex": "BLOCK_K=16, BLOCK_M=32, BLOCK_N=32",
    }
    for function, draw in (
        (lambda x, w, scale, key: (normal(x @ w, scale, key),), lambda drawn: drawn(x @ w)),
        (lambda x, w, scale, key: (normal(x, 0.5, key) @ w,), lambda drawn: drawn(x) @ w),
    ):
        expected = draw(lambda loc: eager(NORMAL_LAW, (loc, scale), (n, n), torch.float32)[0][0])
        (found,), _, sources = compiled(function, (x, w, scale, KEY), options=options)
        (source,) = sources.values()
        assert "tl.dot(" in source
        assert "= noise_of_tile(" in source
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
