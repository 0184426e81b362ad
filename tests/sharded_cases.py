"""What every rank of a mesh does in test_sharded.py: draws of DTensors beside those of one device."""

from __future__ import annotations

import os
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch.distributed.tensor import (
    DeviceMesh,
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
    init_device_mesh,
)
from torch.distributed.tensor.debug import CommDebugMode

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.runtime import backend

KEY = torch.tensor([20_26, 2**32 - 3], dtype=torch.uint64)
R, S0, S1, S2 = Replicate(), Shard(0), Shard(1), Shard(2)

CASES = {2: [], 4: []}  # by the number of ranks


def case(ranks):
    def register(function):
        CASES[ranks].append(function)
        return function

    return register


def run_cases(rank: int, ranks: int, folder: str) -> None:
    """One process: runs all cases of a world and leaves what was raised, by the case's name."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(Path(folder, "store")), ranks)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(minutes=15)
    )
    mesh = init_device_mesh("cpu", (2,) if ranks == 2 else (2, 2), mesh_dim_names=("a", "b")[: ranks // 2])
    raised = {}
    for function in CASES[ranks]:
        torch.manual_seed(0)
        try:
            # What a draw's backend is does not matter here, and nothing needs to be compiled.
            with use_backend("reference"):
                function(mesh)
        except pytest.skip.Exception as reason:
            raised[function.__name__] = (reason.msg,)
        except BaseException:
            raised[function.__name__] = traceback.format_exc()
    torch.save(raised, Path(folder, f"raised{rank}"))
    torch.distributed.destroy_process_group()


def values(*shape, dtype=torch.float32, seed=0):
    """Numbers that are valid for every parameter."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.25).to(dtype)


def check(mesh, make, params, placements, sample_shape=(), expected=None, method="rsample"):
    """The gathered sample is that of one device, bit for bit, and so are the gradients except for the order of sums.

    Args:
        expected: the placements of the sample and of each parameter's gradient; not checked where None.
    """
    pathwise = method.startswith("rsample")
    params = [p.clone().requires_grad_(p.is_floating_point()) for p in params]
    shards = [
        distribute_tensor(p.detach(), mesh, at).requires_grad_() for p, at in zip(params, placements, strict=True)
    ]
    one, many = make(*params), make(*shards)
    whole = getattr(one, method)(sample_shape, key=KEY)
    with CommDebugMode() as communication:
        sharded = getattr(many, method)(sample_shape, key=KEY)
    assert communication.get_total_counts() == 0
    if isinstance(whole, torch.Tensor):
        whole, sharded = (whole,), (sharded,)
    for x, y in zip(sharded, whole, strict=True):
        assert isinstance(x, DTensor)
        assert x.shape == y.shape
        assert x.dtype == y.dtype
        assert x.to_local().is_contiguous()
        assert x.requires_grad == y.requires_grad
        gathered = x.full_tensor()
        assert torch.equal(gathered, y), f"{placements} {tuple(y.shape)}: off by {(gathered - y).abs().max()}"
    if pathwise or len(whole) == 2:
        weights = [torch.randn(y.shape, dtype=torch.float64).to(y.dtype) for y in whole]
        torch.autograd.backward([y for y in whole if y.requires_grad], weights[-sum(y.requires_grad for y in whole) :])
        spread = [distribute_tensor(w, mesh, x.placements) for w, x in zip(weights, sharded, strict=True)]
        spread = spread[-sum(x.requires_grad for x in sharded) :]
        torch.autograd.backward([x for x in sharded if x.requires_grad], spread)
        for p, shard in zip(params, shards, strict=True):
            # Sums over broadcast dimensions are taken in another order.
            eps = 32 * torch.finfo(p.dtype).eps
            torch.testing.assert_close(shard.grad.full_tensor(), p.grad, rtol=eps, atol=eps)
    if expected is not None:
        assert list(sharded[0].placements) == expected[0]
        placed = [list(shard.grad.placements) for shard in shards]
        assert placed == expected[1] or placed == [placed_by_torch(shard) for shard in shards]


def placed_by_torch(shard):
    """The placements of the gradient of what is computed from a local tensor: torch 2.11 replicates uneven shards'."""
    shard, at = shard.detach().requires_grad_(), shard.placements
    local = shard.to_local(grad_placements=at)
    same = DTensor.from_local(local, shard.device_mesh, at, run_check=False, shape=shard.shape, stride=shard.stride())
    same.backward(distribute_tensor(torch.ones(shard.shape, dtype=shard.dtype), shard.device_mesh, at))
    return list(shard.grad.placements)


def normal(loc, scale, **options):
    return dist.Normal(loc, scale, **options)


@case(2)
def every_placement_is_the_sample_of_one_device(mesh):
    # Runs that begin and end with blocks, and that do not; fewer elements than ranks; nothing at all.
    for shape in ((6, 8), (5, 7), (1, 3), (0, 3), (9,), (4, 3, 6)):
        for at in (R, *(Shard(d) for d in range(len(shape)))):
            check(mesh, normal, [values(*shape), values(*shape, seed=1)], [[at]] * 2, expected=[[at], [[at], [at]]])


@case(2)
def every_noise_and_dtype(mesh):
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        for shape in ((3, 16), (5, 7)):
            params = [values(*shape, dtype=dtype, seed=i) for i in range(2)]
            check(mesh, normal, params, [[S0]] * 2)
            check(mesh, normal, params, [[S1]] * 2, (2,))
            check(mesh, dist.Exponential, params[:1], [[S1]])
    for make in (dist.Uniform, dist.Gamma, dist.StudentT):
        params = [values(5, 7, seed=i) + i for i in range(2)]
        check(mesh, make, params, [[S0]] * 2)
        check(mesh, make, params, [[S1]] * 2)
    for make in (dist.Poisson, dist.Bernoulli):
        check(mesh, make, [values(5, 7)], [[S1]], method="sample")


@case(2)
def sample_shape_shifts_placements(mesh):
    for at, of_sample in ((S0, S2), (S1, Shard(3)), (R, R)):
        check(mesh, normal, [values(4, 6), values(4, 6, seed=1)], [[at]] * 2, (3, 2), [[of_sample], [[at], [at]]])


@case(2)
def replicated_parameters_are_cut_or_shared(mesh):
    params = [values(6, 10), values(6, 10, seed=1)]
    check(mesh, normal, params, [[R], [S1]], expected=[[S1], [[R], [S1]]])
    check(mesh, normal, [params[0][0], params[1]], [[R], [S1]], (3,), [[S2], [[R], [S1]]])
    check(mesh, normal, [params[0][:, :1], params[1]], [[R], [S1]], (3,), [[S2], [[Partial()], [S1]]])
    check(mesh, normal, [params[0][:, :1], params[1]], [[S0], [S0]], expected=[[S0], [[S0], [S0]]])
    check(mesh, dist.Gamma, [params[0][0, 0], params[1]], [[R], [S0]], expected=[[S0], [[Partial()], [S0]]])


@case(2)
def numbers_and_single_elements_are_replicated(mesh):
    loc = values(6, 10)
    shard = distribute_tensor(loc, mesh, [S1]).requires_grad_()
    scale, of_one = (torch.tensor(0.5, requires_grad=True) for _ in range(2))
    x, y = dist.Normal(shard, scale).rsample(key=KEY), dist.Normal(loc, of_one).rsample(key=KEY)
    assert torch.equal(x.full_tensor(), y)
    x.backward(distribute_tensor(torch.ones(6, 10), mesh, [S1]))
    y.sum().backward()
    torch.testing.assert_close(scale.grad, of_one.grad)  # all-reduced, for it is a plain tensor
    assert torch.equal(dist.Normal(shard, 0.5).sample(key=KEY).full_tensor(), dist.Normal(loc, 0.5).sample(key=KEY))
    doubles = dist.Normal(shard, torch.tensor(0.5, dtype=torch.float64)).sample(key=KEY)
    assert torch.equal(doubles.full_tensor(), dist.Normal(loc, of_one.detach().double()).sample(key=KEY))


@case(2)
def the_whole_sample_decides_on_the_backend(mesh):
    # 2**15 elements are compiled, half of them alone would not be.
    forced = backend._BLOCKS.set(())
    try:
        for shape in ((128, 256), (129, 255)):
            for at in (S0, S1):
                check(mesh, normal, [values(*shape), values(*shape, seed=1)], [[at]] * 2)
    finally:
        backend._BLOCKS.reset(forced)


@case(2)
def default_generators_give_all_ranks_one_key(mesh):
    loc, scale = values(6, 10), values(6, 10, seed=1)
    one = dist.Normal(loc, scale)
    many = dist.Normal(*(distribute_tensor(p, mesh, [S1]) for p in (loc, scale)))
    for generator in (None, torch.Generator()):
        seed = torch.manual_seed if generator is None else generator.manual_seed
        seed(5)
        expected = [one.sample(generator=generator) for _ in range(2)]
        seed(5)
        ours = [many.sample(generator=generator).full_tensor() for _ in range(2)]
        assert torch.equal(torch.stack(ours), torch.stack(expected))
        assert not torch.equal(*expected)


@case(2)
def log_densities_are_sharded_too(mesh):
    params = [values(5, 7), values(5, 7, seed=1)]
    for at in (S0, S1):
        for method in ("rsample_with_log_prob", "sample_with_log_prob"):
            check(mesh, normal, params, [[at]] * 2, (2,), method=method)
        d = dist.Normal(*(distribute_tensor(p, mesh, [at]) for p in params))
        x = d.sample(key=KEY)
        torch.testing.assert_close(d.log_prob(x).full_tensor(), dist.Normal(*params).log_prob(x.full_tensor()))


@case(2)
def second_derivatives_are_those_of_one_device(mesh):
    p = distribute_tensor(values(3), mesh, [R]).requires_grad_()
    (grad,) = torch.autograd.grad(DTensor.from_local(p.to_local() ** 3, mesh, [R]).sum(), p, create_graph=True)
    if torch.autograd.grad(grad.sum(), p, allow_unused=True)[0] is None:
        pytest.skip("this torch takes no second derivative through the local part of a DTensor")
    params = [values(5, 7), values(5, 7, seed=1)]
    seconds = []
    for at in (None, S0, S1):
        given = [(p if at is None else distribute_tensor(p, mesh, [at])).requires_grad_() for p in params]
        x = dist.Weibull(*given).rsample(key=KEY)
        grads = torch.autograd.grad(x.square().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in grads), given)
        seconds.append([s if at is None else s.full_tensor() for s in second])
    for ours in seconds[1:]:
        torch.testing.assert_close(ours, seconds[0])


@case(2)
def each_rank_validates_its_shard(mesh):
    scale = torch.ones(4, 3)
    scale[3, 2] = -1.0
    loc = distribute_tensor(torch.zeros(4, 3), mesh, [S0])
    with CommDebugMode() as communication:
        if mesh.get_local_rank() == 1:
            with pytest.raises(ValueError, match=r"Expected parameter scale"):
                dist.Normal(loc, distribute_shard(scale, mesh))
        else:
            dist.Normal(loc, distribute_shard(scale, mesh))
        dist.Normal(loc, distribute_shard(scale, mesh), validate_args=False)
    assert communication.get_total_counts() == 0


def distribute_shard(tensor, mesh):
    """`distribute_tensor` along dimension 0 without communication."""
    return DTensor.from_local(tensor.chunk(mesh.size())[mesh.get_local_rank()], mesh, [S0], run_check=False)


@case(2)
def rows_lie_on_one_rank(mesh):
    def relaxed(logits, temperature):
        return dist.RelaxedOneHotCategorical(temperature, logits=logits)

    for shape, at in (((6, 8), S0), ((7, 5), S0), ((3, 4, 3), S1)):
        for make in (dist.Categorical, dist.OneHotCategorical):
            check(mesh, make, [values(*shape)], [[at]], method="sample")
            check(mesh, make, [values(*shape)], [[at]], (2,), method="sample_with_log_prob")
            check(mesh, make, [values(*shape)], [[at]], (3, 1), method="sample")
        check(mesh, relaxed, [values(*shape), torch.tensor(0.7)], [[at], [R]])
        check(mesh, dist.Dirichlet, [values(*shape)], [[at]])


@case(2)
def logistic_normal_rows_lie_on_one_rank(mesh):
    try:
        distribute_tensor(values(4, 3), mesh, [S0]).cumprod(-1)
    except NotImplementedError as error:
        pytest.skip(f"this torch has no cumulative product of DTensors, which breaks its sticks: {error}")
    check(mesh, dist.LogisticNormal, [values(5, 3), values(5, 3, seed=1)], [[S0], [S0]])


@case(2)
def what_would_communicate_is_refused(mesh):
    full = values(4, 6)
    rows, columns = (distribute_tensor(full, mesh, [at]) for at in (S0, S1))
    partial = DTensor.from_local(full, mesh, [Partial()], run_check=False)

    def refuses(error, match, d):
        state = torch.get_rng_state()
        with pytest.raises(error, match=match):
            d.sample()
        assert torch.equal(torch.get_rng_state(), state)

    refuses(ValueError, "scale is placed as .*Partial", dist.Normal(rows, partial, validate_args=False))
    refuses(ValueError, "different dimensions .*loc along 0, scale along 1", dist.Normal(rows, columns))
    refuses(ValueError, "last dimension.*must not be sharded.*logits", dist.Categorical(logits=columns))
    wide = dist.MultivariateNormal(rows, scale_tril=distribute_tensor(torch.eye(6), mesh, [R]), validate_args=False)
    refuses(NotImplementedError, "of loc and scale_tril", wide)
    degrees = distribute_tensor(torch.full((4,), 9.0), mesh, [S0])
    for make in (
        lambda p: dist.Wishart(p, torch.eye(3)),
        lambda p: dist.LKJCholesky(3, p),
        lambda p: dist.Multinomial(4, p),
    ):
        with pytest.raises(NotImplementedError, match=r"does not take DTensor parameters"):
            make(degrees)
    sampler = dist.Normal._samplers[0]
    with pytest.raises(ValueError, match=r"scale is a plain tensor of shape"):
        sampler((rows, full), (4, 6))
    single = distribute_tensor(values(1, 6), mesh, [S0])
    with pytest.raises(ValueError, match=r"scale of shape \(1, 6\) is sharded along dimension 0"):
        sampler((columns, single), (4, 6))
    other = DeviceMesh("cpu", [1, 0])
    with pytest.raises(ValueError, match=r"scale is on .* but another parameter is on"):
        sampler((rows, DTensor.from_local(full, other, [R], run_check=False)), (4, 6))
    with pytest.raises(NotImplementedError, match=r"torch.func"):
        torch.func.grad(lambda p: sampler((p, rows), (4, 6), key=KEY).sum())(rows)


@case(4)
def every_placement_on_two_mesh_dimensions(mesh):
    for shape in ((8, 16), (5, 7)):
        params = [values(*shape), values(*shape, seed=1)]
        for at in ([R, R], [R, S0], [S1, R], [S0, S1], [S1, S0], [S0, S0], [S1, S1]):
            check(mesh, normal, params, [at, at], expected=[at, [at, at]])
    for at in ([S0, S2], [S1, S1]):
        check(mesh, normal, [values(3, 5, 6), values(3, 5, 6, seed=1)], [at, at], (2,))
    check(mesh, dist.Gamma, [values(5, 7), values(5, 7, seed=1)], [[S0, S1]] * 2)


@case(4)
def parameters_are_cut_along_the_mesh_dimensions_of_each_other(mesh):
    params = [values(6, 10), values(6, 10, seed=1)]
    check(mesh, normal, params, [[S0, R], [R, S1]], expected=[[S0, S1], [[S0, R], [R, S1]]])
    check(
        mesh,
        normal,
        [params[0][:, :1], params[1][0]],
        [[S0, R], [R, S0]],
        expected=[[S0, S1], [[S0, Partial()], [Partial(), S0]]],
    )
    check(mesh, normal, params, [[R, R], [S0, S0]], expected=[[S0, S0], [[R, R], [S0, S0]]])
    loc, scale = (distribute_tensor(p, mesh, at) for p, at in zip(params, ([S0, R], [R, S0]), strict=True))
    with pytest.raises(ValueError, match=r"scale is placed as .*later dimension cuts it first"):
        dist.Normal(loc, scale).sample()


@case(4)
def rows_on_two_mesh_dimensions(mesh):
    for at in ([S0, S1], [S0, S0], [R, S1]):
        check(mesh, dist.Categorical, [values(5, 6, 3)], [at], method="sample")
        check(mesh, dist.Categorical, [values(5, 6, 3)], [at], (3,), method="sample")


@case(4)
def ranks_outside_of_the_mesh_have_nothing(mesh):
    part = DeviceMesh("cpu", [0, 1])
    loc, scale = (distribute_tensor(values(4, 6, seed=i), part, [S1]) for i in range(2))
    x = dist.Normal(loc, scale).sample((2,), key=KEY)
    assert x.shape == (2, 4, 6)
    inside = torch.distributed.get_rank() < 2
    assert x.to_local().numel() == (24 if inside else 0)
    if inside:
        assert torch.equal(x.full_tensor(), dist.Normal(values(4, 6), values(4, 6, seed=1)).sample((2,), key=KEY))
