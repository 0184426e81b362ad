"""The classes as torch.distributions users know them."""

import copy
import pickle

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist

KEY = torch.tensor([1, 2], dtype=torch.uint64)


def normal(batch=(2, 3)):
    return dist.Normal(torch.zeros(batch), torch.ones(batch))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(dist.Normal, td.Normal), (dist.Uniform, td.Uniform), (dist.Bernoulli, td.Bernoulli)]
)
def test_classes_are_torchs(ours, theirs):
    assert issubclass(ours, theirs)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.support is not None


@pytest.mark.parametrize("sample_shape", [(), (4,), torch.Size([2, 5]), [3], (0,)])
@pytest.mark.parametrize("batch", [(), (3,), (2, 1), (0, 2)])
def test_shapes_and_dtypes(sample_shape, batch):
    expected = torch.Size(sample_shape) + torch.Size(batch)
    for d in (
        normal(batch),
        dist.Uniform(torch.zeros(batch), torch.ones(batch)),
        dist.Bernoulli(torch.full(batch, 0.5)),
        dist.Bernoulli(logits=torch.zeros(batch)),
    ):
        assert d.sample(sample_shape).shape == expected
        assert d.sample(sample_shape).is_contiguous()
        if d.has_rsample:
            assert d.rsample(sample_shape).shape == expected
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert dist.Normal(torch.zeros(batch, dtype=dtype), 1.0).sample(sample_shape).dtype == dtype


def test_numbers_make_a_zero_dim_float_sample():
    for d in (
        dist.Normal(0, 1),
        dist.Normal(0.0, 1),
        dist.Uniform(0, 1),
        dist.Bernoulli(0.5),
        dist.Bernoulli(logits=0.0),
    ):
        assert d.sample().shape == ()
        assert d.sample().dtype == torch.get_default_dtype()


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.transpose(1, 2),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x[:, :1].expand_as(x),
        lambda x: x[..., ::2],
        lambda x: x.flip(0),
    ],
    ids=["contiguous", "transposed", "channels-last", "expanded", "strided", "flipped"],
)
def test_the_memory_layout_of_parameters_does_not_matter(layout):
    loc = layout(torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4))
    strided = dist.Normal(loc, 1.0).sample((2,), key=KEY)
    assert torch.equal(strided, dist.Normal(loc.contiguous(), 1.0).sample((2,), key=KEY))


@pytest.mark.parametrize("n", [100, 2**14])
def test_a_lazily_negated_parameter_counts_negated(n):
    loc = torch.complex(torch.zeros(n), torch.full((n,), 100.0)).conj().imag
    assert loc.is_neg()
    assert (dist.Normal(loc, 1.0).sample() < -50).all()
    assert (dist.Normal(loc, torch.ones(n, requires_grad=True)).rsample() < -50).all()


def test_expand_keeps_the_stream_and_reduces_gradients_to_the_original_shape():
    loc = torch.zeros(3, requires_grad=True)
    d = dist.Normal(loc, 2.0).expand((5, 3))
    assert type(d) is dist.Normal
    assert d.batch_shape == (5, 3)
    sample = d.rsample((2,), key=KEY)
    assert torch.equal(sample, dist.Normal(torch.zeros(2, 5, 3), 2.0).sample(key=KEY))
    sample.sum().backward()
    assert torch.equal(loc.grad, torch.full((3,), 10.0))
    again = d.expand((4, 5, 3))
    assert again.rsample(key=KEY).shape == (4, 5, 3)


def test_expand_of_the_others():
    assert dist.Uniform(0.0, 1.0).expand((4,)).rsample((2,)).shape == (2, 4)
    for bernoulli in (dist.Bernoulli(0.3), dist.Bernoulli(logits=0.3)):
        expanded = bernoulli.expand((4,))
        assert type(expanded) is dist.Bernoulli
        assert torch.equal(expanded.sample((2,), key=KEY), bernoulli.sample((2, 4), key=KEY))


def test_an_attribute_set_after_construction_counts():
    d = dist.Normal(torch.zeros(3), torch.ones(3))
    d.loc = torch.full((3,), 100.0)
    assert (d.sample() > 50).all()


def test_copies_and_pickles_draw_the_same():
    d = dist.Normal(torch.zeros(3), 2.0)
    for twin in (copy.deepcopy(d), copy.copy(d), pickle.loads(pickle.dumps(d))):
        assert torch.equal(twin.sample((4,), key=KEY), d.sample((4,), key=KEY))


def test_bernoulli_from_logits_never_makes_probs():
    d = dist.Bernoulli(logits=torch.zeros(4))
    d.sample()
    assert "probs" not in d.__dict__
    _ = d.probs  # torch computes it on demand, and the draw still goes from logits
    assert torch.equal(d.sample((3,), key=KEY), dist.Bernoulli(logits=torch.zeros(4)).sample((3,), key=KEY))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_bernoulli_extremes_are_certain(dtype):
    probs = torch.tensor([0.0, 1.0], dtype=dtype)
    drawn = dist.Bernoulli(probs).sample((2**15,), key=KEY)
    assert drawn.dtype == dtype
    assert drawn.sum(0).tolist() == [0, 2**15] or drawn.double().mean(0).tolist() == [0.0, 1.0]
    logits = torch.tensor([-torch.inf, torch.inf], dtype=dtype)
    certain = dist.Bernoulli(logits=logits, validate_args=False).sample((2**15,), key=KEY)
    assert certain.double().mean(0).tolist() == [0.0, 1.0]


def test_kl_divergence_and_log_prob_are_torchs():
    p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
    assert torch.equal(td.kl_divergence(p, q), td.kl_divergence(td.Normal(0.0, 1.0), td.Normal(1.0, 2.0)))
    assert torch.equal(p.log_prob(torch.tensor(0.3)), td.Normal(0.0, 1.0).log_prob(torch.tensor(0.3)))
    u = dist.Uniform(0.0, 2.0)
    assert torch.equal(td.kl_divergence(u, dist.Uniform(-1.0, 3.0)), torch.tensor(2.0).log())


def test_independent_transformed_and_mixture_draw_through_the_base():
    loc = torch.zeros(2, 3, requires_grad=True)
    independent = td.Independent(dist.Normal(loc, 1.0), 1)
    assert independent.rsample((4,)).shape == (4, 2, 3)
    independent.rsample((4,)).sum().backward()
    assert torch.equal(loc.grad, torch.full((2, 3), 4.0))

    log_normal = td.TransformedDistribution(dist.Normal(0.0, 1.0), td.ExpTransform())
    torch.manual_seed(0)
    drawn = log_normal.rsample((5,))
    torch.manual_seed(0)
    assert torch.equal(drawn, dist.Normal(0.0, 1.0).rsample((5,)).exp())

    mixture = td.MixtureSameFamily(td.Categorical(torch.ones(3)), dist.Normal(torch.tensor([-50.0, 0.0, 50.0]), 1.0))
    drawn = mixture.sample((300,))
    assert drawn.shape == (300,)
    # Three components 50 apart with weight 1/3: P(one of them is missed in 300 draws) = 3 (2/3)^300 < 1e-52.
    assert {round(v / 50) for v in drawn.tolist()} == {-1, 0, 1}


def test_expand_by_torch_classes_that_subclass_ours():
    class Shifted(dist.Normal):
        pass

    assert type(Shifted(0.0, 1.0).expand((3,))) is Shifted
    assert Shifted(0.0, 1.0).expand((3,)).sample().shape == (3,)


def test_inference_mode_and_no_grad():
    loc = torch.zeros(3, requires_grad=True)
    with torch.inference_mode():
        assert dist.Normal(loc, 1.0).rsample((2**14,)).is_inference()
    with torch.no_grad():
        assert not dist.Normal(loc, 1.0).rsample().requires_grad
