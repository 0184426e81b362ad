"""The keys of compiled draws: taken without the dispatcher, and those that its operator takes."""

import textwrap

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rsample.distributions as dist
from rsample.kernels.draws import native_core

CPU = torch.device("cpu")


def taken(take, device):
    """Three keys, and the generator's state after them."""
    torch.manual_seed(3)
    keys = [take(blocks) for blocks in (5, 1, 2**40)]
    state = torch.get_rng_state() if device == CPU else torch.cuda.get_rng_state(device)
    return [k.cpu().tolist() for k in keys], state


def by_operator(device):
    return lambda blocks: torch.ops.rsample.reserve_key(blocks, device=device)


def test_are_the_operators(short_way):
    keys, state = taken(lambda blocks: native_core.reserve_key(blocks, CPU), CPU)
    expected, state_after = taken(by_operator(CPU), CPU)
    assert keys == expected
    assert torch.equal(state, state_after)


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def test_a_mode_sees_where_they_come_from(short_way):
    with Seen() as seen:
        native_core.reserve_key(1, CPU)
    assert "aten::random_.from" in seen.names


def test_compiled_draws_on_the_cpu_are_those_of_the_seed():
    loc, scale = torch.zeros(1000), torch.ones(1000)
    draw = torch.compile(lambda: dist.Normal(loc, scale, validate_args=False).rsample() + 0)
    draw()
    torch.manual_seed(8)
    compiled = draw(), draw()
    torch.manual_seed(8)
    eager = [dist.Normal(loc, scale).rsample() for _ in range(2)]
    assert torch.equal(compiled[0], eager[0])
    assert torch.equal(compiled[1], eager[1])


def test_generated_code_asks_no_dispatcher(on_a_stub_gpu):
    """And takes as many blocks as the operator, whether by Python or by the core."""
    script = """
    import torch, rsample.distributions as dist
    from torch._inductor.utils import run_and_get_code
    from rsample.kernels.draws import native_core
    torch._inductor.config.compile_threads = 1
    torch._inductor.config.fx_graph_cache = False
    native_core.wait()
    loc, scale = torch.zeros(1000, device="cuda"), torch.ones(1000, device="cuda")
    draw = torch.compile(lambda a, b: dist.Normal(a, b, validate_args=False).rsample() + 1)
    _, (code,) = run_and_get_code(draw, loc, scale)
    assert " = rsample_reserve_key(250, " in code and "torch.ops.rsample.reserve_key" not in code
    generator = torch.cuda.default_generators[0]
    before = generator.get_offset()
    draw(loc, scale)
    print(generator.get_offset() - before)
    for _ in range(3):  # by the core, once it has seen a launch
        before = generator.get_offset()
        assert native_core.CORE.reserve_key(7, loc.device).dtype == torch.uint64
        print(generator.get_offset() - before)
    """
    printed = [int(line) for line in on_a_stub_gpu(textwrap.dedent(script))]
    assert printed == [1000, 28, 28, 28]


@pytest.mark.cuda
def test_are_the_operators_on_a_gpu(short_way):
    device = torch.device("cuda", torch.cuda.current_device())
    native_core.reserve_key(1, device)  # the core learns the launch
    keys, state = taken(lambda blocks: native_core.reserve_key(blocks, device), device)
    expected, state_after = taken(by_operator(device), device)
    assert keys == expected
    assert torch.equal(state, state_after)


@pytest.mark.cuda
def test_each_replay_of_a_captured_draw_has_a_key_of_its_own():
    loc, scale = torch.zeros(1000, device="cuda"), torch.ones(1000, device="cuda")
    draw = torch.compile(lambda: dist.Normal(loc, scale, validate_args=False).rsample() + 1)
    draw(), draw(), draw()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sample = draw()
    replays = []
    for _ in range(3):
        graph.replay()
        replays.append(sample.clone())
    assert not torch.equal(replays[0], replays[1])
    assert not torch.equal(replays[1], replays[2])


@pytest.mark.cuda
@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_modes_of_torch_compile_draw_the_numbers_of_the_seed(mode):
    """Also where it makes CUDA graphs, by itself: their first calls warm up and record."""
    loc, scale = torch.zeros(1000, device="cuda"), torch.ones(1000, device="cuda")
    draw = torch.compile(lambda loc, scale: dist.Normal(loc, scale, validate_args=False).rsample() + 0, mode=mode)
    for _ in range(3):
        draw(loc, scale)
    torch.manual_seed(8)
    compiled = [draw(loc, scale).clone() for _ in range(2)]
    torch.manual_seed(8)
    for sample in compiled:
        torch.testing.assert_close(sample, dist.Normal(loc, scale).rsample(), rtol=1e-6, atol=1e-6)
