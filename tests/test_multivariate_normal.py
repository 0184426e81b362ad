"""Multivariate normal draws: values, densities and gradients against torch.distributions for the same noise."""

import copy
import math
import pickle

import numpy as np
import oracle
import pytest
import torch
import torch.distributions as td
from kernel_cases import packed
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.engines.eager import product as reference
from rsample.kernels.engines.matrix_product import (
    LOW_RANK_MULTIVARIATE_NORMAL,
    MULTIVARIATE_NORMAL,
    MULTIVARIATE_NORMAL_WITH_NORM,
)
from rsample.kernels.engines.product_layout import describe_batch
from rsample.kernels.engines.triton import launch
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.runtime.language import HAS_TRITON

if HAS_TRITON:
    from rsample.kernels.engines.triton import product

KEY = torch.tensor([20_26, 2**32 - 5], dtype=torch.uint64)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
vmap = torch.func.vmap


@pytest.fixture(autouse=True)
def _validating(monkeypatch):
    """torch.compile turns validation off for the rest of the process."""
    monkeypatch.setattr(td.Distribution, "_validate_args", True)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tril(*shape, dtype=torch.float64, seed=1):
    """A Cholesky factor of shape (..., n, n)."""
    a = random(*shape, seed=seed).tril(-1) / math.sqrt(shape[-1])
    return (a + torch.diag_embed(random(*shape[:-1], seed=seed + 1).abs() + 0.5)).to(dtype)


def noise(key, shape, dtype, stream=0):
    """float64 standard normals of a draw, from the oracle."""
    seed, offset = (int(x) % 2**64 for x in key.view(torch.int64))
    n = math.prod(shape)
    blocks = -(-n // (2 if dtype == torch.float64 else 4))
    number = [(offset + i) % 2**64 for i in range(blocks)]
    low = np.array([b % 2**32 for b in number], np.uint64)
    high = np.array([b >> 32 for b in number], np.uint64)
    zero = np.zeros(blocks, np.uint64)
    words = np.stack(oracle.philox4x32((low, high, zero, zero + np.uint64(stream)), (seed % 2**32, seed >> 32)), -1)
    normal = oracle.normal64(words) if dtype == torch.float64 else oracle.normal32(words)
    return torch.from_numpy(normal[:n].copy()).reshape(shape)


def times(factor, eps):
    return (factor @ eps.unsqueeze(-1)).squeeze(-1)


def make(loc, factor, **options):
    return dist.MultivariateNormal(loc, scale_tril=factor, **options)


# The sample's shape, the batch of the factor and that of loc.
LAYOUTS = [
    ((5, 1), (), ()),
    ((7,), (), ()),
    ((4, 3, 5), (3,), (3,)),
    ((2, 3, 4, 6), (3, 1), (4,)),
    ((2, 3, 4, 5, 3), (3, 1, 5), (3, 4, 1)),
    ((3, 33), (3,), ()),
    ((300, 64), (), ()),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_values_are_the_oracles(dtype, backend):
    if backend == "compiled" and not compiled.available(NORMAL_LAW, dtype):
        pytest.skip("no C++ compiler")
    eps = torch.finfo(dtype).eps
    for shape, of_factor, of_loc in LAYOUTS:
        n = shape[-1]
        loc, factor = random(*of_loc, n).to(dtype), tril(*of_factor, n, n, dtype=dtype)
        d = make(loc, factor)
        with use_backend(backend):
            x, log_prob = d.rsample_with_log_prob(shape[: len(shape) - 1 - len(d.batch_shape)], key=KEY)
        assert x.dtype == log_prob.dtype == dtype
        assert x.is_contiguous()
        expected = loc.double() + times(factor.double(), noise(KEY, shape, dtype))
        assert x.shape == expected.shape
        torch.testing.assert_close(
            x.double(), expected, rtol=2 * eps, atol=max(2 * eps, 2e-5 if eps > 1e-10 else 1e-13)
        )
        density = td.MultivariateNormal(loc.double(), scale_tril=factor.double()).log_prob(expected)
        torch.testing.assert_close(
            log_prob.double(), density, rtol=4 * eps, atol=max(2 * eps, 2e-3 if eps > 1e-10 else 1e-12)
        )


def test_the_identity_draws_what_normal_draws():
    for n in (1, 3, 8):
        x = make(torch.zeros(n), torch.eye(n)).sample((6, 2), key=KEY)
        assert torch.equal(x, dist.Normal(0.0, 1.0).sample((6, 2, n), key=KEY))


def test_the_density_of_a_sample_without_gradients_comes_from_its_noise():
    loc, factor = random(4).requires_grad_(), tril(3, 4, 4).requires_grad_()
    d = make(loc, factor)
    with torch.no_grad():
        x, log_prob = d.sample_with_log_prob((6,), key=KEY)
    y, density = d.sample_with_log_prob((6,), key=KEY)
    assert torch.equal(x, y)
    torch.testing.assert_close(log_prob, density.detach())


@pytest.mark.parametrize("rows", [3, 2000])
def test_autocast_does_not_change_the_sample(rows):
    d = make(torch.zeros(9, requires_grad=True), tril(9, 9, dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = d.rsample((rows,), key=KEY)
    assert torch.equal(x, d.rsample((rows,), key=KEY))


def test_what_lies_above_the_diagonal_is_not_read():
    factor = tril(4, 4)
    with_garbage = torch.where(torch.ones(4, 4).triu(1) == 1, torch.nan, factor)
    d, e = (make(torch.zeros(4, dtype=torch.float64), f, validate_args=False) for f in (factor, with_garbage))
    assert torch.equal(d.sample((3,), key=KEY), e.sample((3,), key=KEY))


@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix", "scale_tril"])
@pytest.mark.parametrize(("batch", "of_loc"), [((), ()), ((3,), (3,)), ((3, 1), (2,))])
def test_gradients_equal_torchs(name, batch, of_loc):
    factor = tril(*batch, 4, 4)
    matrix = (factor if name == "scale_tril" else factor @ factor.mT).requires_grad_()
    loc = random(*of_loc, 4).requires_grad_()
    d, theirs = (m.MultivariateNormal(loc, **{name: matrix}) for m in (dist, td))
    x, log_prob = d.sample_with_log_prob((5,), key=KEY)
    assert not x.requires_grad
    torch.testing.assert_close(log_prob, theirs.log_prob(x))
    weight = random(*x.shape, seed=9)
    score, expected = (
        torch.autograd.grad((value * weight[..., 0]).sum(), (loc, matrix), retain_graph=True)
        for value in (log_prob, theirs.log_prob(x))
    )
    torch.testing.assert_close(score, expected)

    y, log_prob = d.rsample_with_log_prob((5,), key=KEY)
    z = d.rsample((5,), key=KEY)
    assert torch.equal(x, y)
    assert torch.equal(x, z)
    plain = theirs.loc + times(theirs._unbroadcasted_scale_tril, noise(KEY, x.shape, torch.float64))
    torch.testing.assert_close(x, plain)
    torch.testing.assert_close(log_prob, theirs.log_prob(plain))

    def lower(grads):
        return grads[0], grads[1].tril() if name == "scale_tril" else grads[1]

    for ours, others in (
        ((z * weight).sum(), (plain * weight).sum()),
        (log_prob.sum(), theirs.log_prob(plain).sum()),
        ((y * weight).sum() + log_prob.sum(), (plain * weight).sum() + theirs.log_prob(plain).sum()),
    ):
        pathwise, expected = (
            lower(torch.autograd.grad(value, (loc, matrix), retain_graph=True)) for value in (ours, others)
        )
        torch.testing.assert_close(pathwise, expected)


@pytest.mark.parametrize(("batch", "of_loc", "sample_shape"), [((), (), (3,)), ((2,), (2,), ()), ((2, 1), (3,), (2,))])
def test_every_derivative(batch, of_loc, sample_shape):
    factor, loc = tril(*batch, 3, 3).requires_grad_(), random(*of_loc, 3).requires_grad_()

    def draw(loc, factor):
        return make(loc, factor, validate_args=False).rsample_with_log_prob(sample_shape, key=KEY)

    checks = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert gradcheck(draw, (loc, factor), **checks)
    # The density is constant in loc.
    assert gradgradcheck(lambda loc, factor: draw(loc, factor)[0], (loc, factor), check_fwd_over_rev=True)
    assert gradgradcheck(lambda factor: draw(loc, factor)[1], (factor,))


def test_backward_keeps_neither_noise_nor_parameters():
    kept = []

    def pack(x):
        kept.append(x)
        return x

    loc, factor = torch.zeros(64, requires_grad=True), tril(64, 64, dtype=torch.float32).requires_grad_()
    d = make(loc, factor)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        d.rsample((500,))
    assert sum(x.numel() for x in kept) <= 2


@pytest.mark.parametrize("mapped", ["loc", "factor", "both"])
@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap_and_per_example_gradients(mapped, randomness):
    loc, factor = random(3, 2, 4), tril(3, 4, 4)
    dims = (0 if mapped != "factor" else None, 0 if mapped != "loc" else None)
    args = (loc if dims[0] == 0 else loc[0], factor if dims[1] == 0 else factor[0])

    def loss(loc, factor):
        x, log_prob = make(loc, factor, validate_args=False).rsample_with_log_prob((5,), key=KEY)
        return (x**3).sum() + log_prob.sum(), x

    ours, x = vmap(torch.func.grad(loss, argnums=(0, 1), has_aux=True), in_dims=dims, randomness=randomness)(*args)
    full = [a.expand(3, *a.shape) if d is None else a for a, d in zip(args, dims, strict=True)]
    full = [a.clone().requires_grad_() for a in full]
    eps = noise(KEY, x.shape, torch.float64)
    eps = eps[:1] if randomness == "same" else eps
    plain = full[0][:, None] + times(full[1][:, None, None], eps)
    torch.testing.assert_close(x, plain)
    log_det = 10 * full[1].diagonal(dim1=-2, dim2=-1).log().sum()
    expected = torch.autograd.grad((plain**3).sum() - log_det, full)
    torch.testing.assert_close(ours, (expected[0], expected[1].tril()))


def test_vmap_over_keys_and_modes():
    d = make(torch.zeros(3), tril(3, 3, dtype=torch.float32), validate_args=False)
    keys = torch.stack([KEY, packed()])
    for randomness in ("error", "same", "different"):
        x = vmap(lambda k: d.rsample((4,), key=k), randomness=randomness)(keys)
        assert torch.equal(x, torch.stack([d.sample((4,), key=k) for k in keys]))
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda x: d.sample() + x)(torch.zeros(3))
    assert torch.equal(torch.get_rng_state(), state)
    x = vmap(lambda x: d.sample(key=KEY) + x, randomness="different")(torch.zeros(3))
    assert torch.equal(x, d.sample((3,), key=KEY))


def draws(loc, factor, key=None):
    d = make(loc, factor, validate_args=False)
    return (d.sample(key=key), d.rsample((2,), key=key), *d.rsample_with_log_prob(key=key), *d.sample_with_log_prob())


def test_compiled_draws_equal_eager_ones():
    torch._dynamo.reset()
    loc, factor = torch.zeros(4, 7, requires_grad=True), tril(7, 7, dtype=torch.float32).requires_grad_()
    results = []
    for function in (draws, torch.compile(draws, fullgraph=True)):
        torch.manual_seed(3)
        outputs = function(loc, factor, KEY)
        assert [o.requires_grad for o in outputs] == [False, True, True, True, False, True]
        loss = (outputs[1] * torch.arange(7.0)).sum() + outputs[3].sum() + outputs[2].square().sum()
        results.append((*outputs[:4], *torch.autograd.grad(loss, (loc, factor))))
    for compiled_result, eager in zip(*results, strict=True):
        torch.testing.assert_close(compiled_result, eager, rtol=1e-4, atol=1e-5)


def test_tracing_on_fake_cuda_tensors():
    with FakeTensorMode(allow_non_fake_inputs=True):
        loc, factor = torch.empty(4, 7, device="cuda"), torch.empty(7, 7, device="cuda")
        outputs = draws(loc, factor)
        assert all(x.device.type == "cuda" for x in outputs)
        assert [x.shape for x in outputs] == [(4, 7), (2, 4, 7), (4, 7), (4,), (4, 7), (4,)]


@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(requires_grad):
    loc = torch.zeros(3, requires_grad=requires_grad)
    factor = tril(2, 1, 3, 3, dtype=torch.float32).requires_grad_(requires_grad)
    for name in ("multivariate_normal", "multivariate_normal_with_norm"):
        operator = getattr(torch.ops.rsample, name).default
        torch.library.opcheck(operator, ([KEY], loc, factor, (2, 4, 3), torch.float32))


def test_everything_else_is_torchs():
    loc, factor = random(3, 4), tril(4, 4)
    ours, theirs = (m.MultivariateNormal(loc, scale_tril=factor) for m in (dist, td))
    assert isinstance(ours, td.MultivariateNormal)
    for attribute in ("mean", "mode", "variance", "covariance_matrix", "precision_matrix"):
        assert torch.equal(getattr(ours, attribute), getattr(theirs, attribute))
    for attribute in ("batch_shape", "event_shape", "has_rsample", "support"):
        assert str(getattr(ours, attribute)) == str(getattr(theirs, attribute))
    x = theirs.sample()
    assert torch.equal(ours.log_prob(x), theirs.log_prob(x))
    assert torch.equal(ours.entropy(), theirs.entropy())
    other = dist.MultivariateNormal(loc + 1, covariance_matrix=torch.eye(4, dtype=torch.float64))
    assert torch.equal(td.kl_divergence(ours, other), td.kl_divergence(theirs, other))
    sample = ours.sample(key=KEY)
    for same in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), ours.expand((3,))):
        assert torch.equal(same.sample(key=KEY), sample)
    expanded = ours.expand((5, 3))
    assert type(expanded) is dist.MultivariateNormal
    assert torch.equal(expanded.sample(key=KEY), ours.sample((5,), key=KEY))
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(ours.sample(generator=one), ours.sample(generator=two))
    assert not torch.equal(ours.sample(generator=one), ours.sample(generator=one))
    assert torch.equal(dist.Independent(ours, 1).sample(key=KEY), sample)
    assert ours.sample((0,)).shape == (0, 3, 4)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="Expected parameter covariance_matrix"):
        dist.MultivariateNormal(torch.zeros(2), covariance_matrix=-torch.eye(2))
    with pytest.raises(ValueError, match="Expected parameter loc"):
        make(torch.full((2,), torch.nan), torch.eye(2))
    with pytest.raises(ValueError, match="Exactly one of covariance_matrix"):
        dist.MultivariateNormal(torch.zeros(2))
    with pytest.raises(ValueError, match="scale_tril matrix must be"):
        make(torch.zeros(2), torch.ones(2))
    for loc, factor in ((torch.zeros(3), torch.eye(2)), (torch.zeros(3, 2), torch.eye(2).expand(4, 2, 2))):
        with pytest.raises(RuntimeError, match=r"loc of shape \(3.*scale_tril of shape"):
            make(loc, factor)
    with pytest.raises(RuntimeError, match=r"precision_matrix of shape \(2, 3\)"):
        dist.MultivariateNormal(torch.zeros(2), precision_matrix=torch.ones(2, 3))
    state = torch.get_rng_state()
    d = make(torch.zeros(2), torch.eye(2))
    with pytest.raises(TypeError, match="sample_shape"):
        d.sample(3)
    with pytest.raises(ValueError, match="key and generator exclude each other"):
        d.rsample(key=KEY, generator=torch.Generator())
    with pytest.raises(ValueError, match="key has shape"):
        d.sample(key=torch.zeros(3, dtype=torch.uint64))
    with pytest.raises(TypeError, match="loc must be float16"):
        make(torch.zeros(2, dtype=torch.complex64), torch.eye(2), validate_args=False).sample()
    assert torch.equal(torch.get_rng_state(), state)


def test_mean_and_covariance():
    """n = 2**16 at a fixed key: 5 and 15 moments within 5 standard errors (chance: 20 * 5.7e-7), and a KS test."""
    n, loc, factor = 2**16, random(5).float(), tril(5, 5, dtype=torch.float32)
    d = make(loc, factor)
    x = d.sample((n,), key=KEY).double()
    sigma = (factor.double() @ factor.double().T).numpy()
    error = (x.mean(0) - loc).numpy() / np.sqrt(np.diag(sigma) / n)
    assert np.abs(error).max() < 5
    found = torch.cov(x.T).numpy()
    spread = np.sqrt((sigma**2 + np.outer(np.diag(sigma), np.diag(sigma))) / n)
    assert (np.abs(found - sigma) / spread).max() < 5
    distance = torch.linalg.solve_triangular(factor.double(), (x - loc).T, upper=False).square().sum(0)
    assert stats.kstest(distance.numpy(), stats.chi2(5).cdf).pvalue > 1e-4


# -- layouts


def test_the_run_is_the_longest_dimension_that_shares_a_factor():
    # Samples (7, 2) of a batch (3, 5) whose factor has a batch (3, 1): 5 rows lie side by side, 14 are 15 apart.
    layout = describe_batch((7, 2, 3, 5), (False, False, True, False), [(30, 15, 5, 1), (0, 0, 16, 0)])
    assert (layout.rows, layout.steps) == (14, (15, 0))
    assert (layout.own.count, layout.shared.count) == (3, 5)
    layout = describe_batch((3,), (True,), [(1,), (16,)])
    assert (layout.rows, layout.own.count, layout.shared.count) == (1, 3, 1)
    layout = describe_batch((), (), [(), ()])
    assert (layout.rows, layout.own.count, layout.shared.count) == (1, 1, 1)
    # A factor of one batch dimension whose stride is that of a dense one, but which is shared along the first.
    layout = describe_batch((2, 3), (False, True), [(3, 1), (0, 16)])
    assert (layout.rows, layout.own.count) == (2, 3)


# -- kernels


@pytest.fixture
def poisoned(monkeypatch):
    def full_of_nan(shape, dtype, device):
        return torch.full(tuple(shape), torch.nan, dtype=dtype, device=device)

    monkeypatch.setattr(product, "device_empty", full_of_nan)


def parameters(kind, shape, of_factor, of_loc, dtype, device, rank=3):
    n = shape[-1]
    loc = random(*of_loc, n).to(dtype).to(device)
    if kind is LOW_RANK_MULTIVARIATE_NORMAL:
        factor = random(*of_factor, n, rank, seed=3).to(dtype).to(device)
        return loc, factor, (random(*of_loc, n, seed=4).abs() + 0.1).to(dtype).to(device)
    return loc, tril(*of_factor, n, n).to(dtype).to(device)


def check_kernels(kind, shape, params, *, grad=None, key=None, **options):
    """Forward and backward against the reference in the compute dtype."""
    key = packed() if key is None else key
    dtype = params[0].dtype
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    full = [p.cpu().to(compute) for p in params]
    ours = product.forward(kind, (key,), params, shape, dtype, **options)
    expected = reference.forward(kind, "reference", key, full, shape, compute)
    eps = torch.finfo(dtype).eps
    # A number of noise is within 2e-5 (float32), and a row has sqrt(n) of them; the interpreter truncates halves.
    close = {"rtol": 2 * eps, "atol": max(2 * eps, 2e-5 * math.sqrt(shape[-1]) if eps > 1e-10 else 1e-13)}
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(
            a.cpu().to(compute), b, **(close if a is ours[0] else {**close, "rtol": 1e-4 + 2 * eps})
        )
    if grad is None:
        grad = random(*shape, seed=5).to(dtype).to(params[0].device)
    needs = [True] * len(params)
    grads = product.backward(kind, (key,), grad, params, needs)
    wanted = reference.backward(kind, "reference", key, grad.cpu().to(compute), full, needs)
    for a, b in zip(grads, wanted, strict=True):
        scale = max(b.abs().max().item(), 1.0)
        assert a.dtype == dtype
        torch.testing.assert_close(
            a.cpu().to(compute), b, rtol=2 * eps, atol=scale * max(2 * eps, 2e-5 if eps > 1e-10 else 1e-13)
        )
    return ours, grads


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("n", [1, 3, 16, 33, 64, 130])
def test_kernels_at_every_event(n, device):
    for rows in {3: (1, 70), 16: (70,), 33: (1, 70), 130: (1, 5)}.get(n, (5,)):
        shape = (rows, n)
        check_kernels(MULTIVARIATE_NORMAL, shape, parameters(MULTIVARIATE_NORMAL, shape, (), (), torch.float32, device))


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("kind", [MULTIVARIATE_NORMAL_WITH_NORM, LOW_RANK_MULTIVARIATE_NORMAL], ids=lambda k: k.name)
@pytest.mark.parametrize(("shape", "of_factor", "of_loc"), LAYOUTS[:-1])
def test_kernels_of_batches(kind, shape, of_factor, of_loc, device):
    check_kernels(kind, shape, parameters(kind, shape, of_factor, of_loc, torch.float32, device))


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_kernels_of_other_dtypes(dtype, device):
    for n in (5, 32) if dtype == torch.float64 else (10,) if dtype == torch.float16 else (32,):
        kind, shape = MULTIVARIATE_NORMAL_WITH_NORM, (19, n)
        check_kernels(kind, shape, parameters(kind, shape, (), (), dtype, device))
    kind, shape = LOW_RANK_MULTIVARIATE_NORMAL, (9, 12)
    check_kernels(kind, shape, parameters(kind, shape, (), (), dtype, device))


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
def test_kernels_on_any_strides(device, monkeypatch):
    kind, shape = MULTIVARIATE_NORMAL, (3, 4, 18)
    loc, factor = parameters(kind, shape, (4,), (4,), torch.float32, device)
    column_major = factor.mT.contiguous().mT
    strided = torch.zeros(4, 18, 40, device=device)[..., ::2][..., :18].copy_(factor)
    (expected,), _ = check_kernels(kind, shape, (loc, factor))
    for other in (column_major, strided):
        grad = torch.ones((), device=device).expand(shape)
        assert torch.equal(check_kernels(kind, shape, (loc.t().contiguous().t(), other), grad=grad)[0][0], expected)
    one = parameters(kind, shape, (), (), torch.float32, device)[1]
    expanded = check_kernels(kind, shape, (loc, one.expand(4, 18, 18)))[0][0]
    assert torch.equal(expanded, check_kernels(kind, shape, (loc, one))[0][0])
    grad = random(18, 3, 4, seed=5).float().to(device).permute(1, 2, 0)
    check_kernels(kind, shape, (loc, factor), grad=grad)
    monkeypatch.setattr("rsample.kernels.engines.product_layout.INT31", 1)
    assert torch.equal(check_kernels(kind, shape, (loc, factor))[0][0], expected)


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
def test_the_sample_does_not_depend_on_tiles_nor_the_gradient_on_parts(device):
    kind, shape = MULTIVARIATE_NORMAL, (150, 40)
    params = parameters(kind, shape, (), (), torch.float32, device)
    grad = random(*shape, seed=5).float().to(device)
    outputs = [
        product.forward(kind, (packed(),), params, shape, torch.float32, tile)[0]
        for tile in (product.Tile(16, 16, 16), product.Tile(64, 64, 32), product.Tile(32, 16, 32, 8))
    ]
    grads = [
        product.backward(kind, (packed(),), grad, params, (False, True), product.Tile(16, 32, 32), parts)[0]
        for parts in (1, 3, 4)
    ]
    for a in outputs[1:]:
        torch.testing.assert_close(a, outputs[0], rtol=1e-6, atol=2e-6)
    for a in grads[1:]:
        torch.testing.assert_close(a, grads[0], rtol=1e-5, atol=2e-5)


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("seed", "offset"), [(0, 2**32 - 5), (2**64 - 1, 2**64 - 3)])
def test_kernels_of_any_key(seed, offset, device, monkeypatch):
    kind, shape = MULTIVARIATE_NORMAL, (9, 6)
    params = parameters(kind, shape, (), (), torch.float32, device)
    key = packed(seed, offset)
    (expected,), (_, grad) = check_kernels(kind, shape, params, key=key)
    monkeypatch.setattr(launch, "on_device", lambda tensor: True)
    held = key.to(device)
    assert torch.equal(product.forward(kind, (held,), params, shape, torch.float32)[0], expected)
    ones = random(*shape, seed=5).float().to(device)
    assert torch.equal(product.backward(kind, (held,), ones, params, (False, True))[0], grad)


@pytest.mark.kernel
def test_nothing_is_launched_for_an_empty_draw(device, monkeypatch):
    monkeypatch.setattr(product, "product_forward_kernel", None)
    monkeypatch.setattr(product, "product_backward_kernel", None)
    loc, factor = torch.zeros(3, device=device, requires_grad=True), torch.eye(3, device=device, requires_grad=True)
    with use_backend("triton"):
        x, log_prob = make(loc, factor).rsample_with_log_prob((0,), key=packed())
        grads = torch.autograd.grad(x.sum(), (loc, factor))
    assert (x.shape, log_prob.shape) == ((0, 3), (0,))
    assert all(not g.any() for g in grads)


@pytest.mark.kernel
@pytest.mark.usefixtures("poisoned")
def test_the_class_draws_by_the_kernels(device):
    loc, factor = torch.zeros(6, device=device, requires_grad=True), tril(6, 6, dtype=torch.float32).to(device)
    factor.requires_grad_()
    with use_backend("triton"):
        x, log_prob = make(loc, factor).rsample_with_log_prob((5,), key=packed())
        ours = torch.autograd.grad(x.square().sum() + log_prob.sum(), (loc, factor))
    y, density = make(loc, factor).rsample_with_log_prob((5,), key=packed())
    theirs = torch.autograd.grad(y.square().sum() + density.sum(), (loc, factor))
    torch.testing.assert_close((x, log_prob, *ours), (y, density, *theirs), rtol=1e-4, atol=1e-4)
