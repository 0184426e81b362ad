"""The classes on the triton backend, whole: sample, gradients, transforms and keys through the kernels."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws import keys
from rsample.kernels.engines.triton import launch
from rsample.kernels.stream.philox_key import packed_key

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("short_loops")]

KEY = torch.tensor([77, 2**32 - 100], dtype=torch.uint64)


def both_backends(device, function):
    """`function(device)` through the kernels and through the reference, on the CPU."""
    with use_backend("triton"):
        ours = function(device)
    with use_backend("reference"):
        expected = function(torch.device("cpu"))
    return ours, expected


@pytest.mark.parametrize("sample_shape", [(), (5,), (0,)])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: dist.Normal(p, p.abs() + 1),
        lambda p: dist.Normal(p[:, :1], 2.0),
        lambda p: dist.Uniform(p, p + 3),
        lambda p: dist.Bernoulli(p.sigmoid()),
        lambda p: dist.Bernoulli(logits=p.T),
    ],
    ids=["normal", "normal-broadcast", "uniform", "bernoulli-probs", "bernoulli-logits"],
)
def test_samples_equal_the_reference(device, make, sample_shape):
    def draw(device):
        return make(torch.linspace(-2, 2, 33 * 31, device=device).reshape(33, 31)).sample(sample_shape, key=KEY).cpu()

    ours, expected = both_backends(device, draw)
    torch.testing.assert_close(ours, expected, rtol=0, atol=6e-5)  # 2e-5 of noise, scale up to 3


def test_gradients_equal_the_reference(device):
    def gradients(device):
        loc = torch.linspace(-1, 1, 60, device=device).reshape(3, 1, 20).requires_grad_()
        scale = torch.linspace(1, 2, 4, device=device).reshape(4, 1).requires_grad_()
        z = dist.Normal(loc, scale).rsample((6,), key=KEY)
        u = dist.Uniform(loc, loc + scale).rsample((6,), key=KEY)
        return [g.cpu() for g in torch.autograd.grad((z * u).sum(), (loc, scale))]

    ours, expected = both_backends(device, gradients)
    # Sums of up to 360 products below 20, of noise within 2e-5.
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-2)


def test_second_order_and_forward_mode(device):
    with use_backend("triton"):
        loc = torch.zeros(5, dtype=torch.float64, device=device, requires_grad=True)
        scale = torch.ones((), dtype=torch.float64, device=device, requires_grad=True)

        def draw(loc, scale):
            return dist.Normal(loc, scale, validate_args=False).rsample((2,), key=KEY)

        assert torch.autograd.gradcheck(draw, (loc, scale), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(draw, (loc, scale))


def test_vmap_is_one_launch(device):
    with use_backend("triton"):
        loc = torch.zeros(4, 7, device=device)
        drawn = torch.func.vmap(
            lambda x: dist.Normal(x, 1.0, validate_args=False).sample(key=KEY), randomness="different"
        )(loc)
        assert torch.equal(drawn, dist.Normal(loc, 1.0).sample(key=KEY))


def test_a_strided_key_in_device_memory(device, monkeypatch):
    pairs = torch.tensor([[5, 6], [7, 8]], dtype=torch.uint64, device=device)
    with use_backend("triton"):
        expected = dist.Uniform(torch.zeros(9, device=device), 1.0).sample(key=torch.tensor([5, 7], dtype=torch.uint64))
        monkeypatch.setattr(launch, "on_device", lambda tensor: True)
        assert torch.equal(dist.Uniform(torch.zeros(9, device=device), 1.0).sample(key=pairs[:, 0]), expected)


def test_manual_seed(device):
    with use_backend("triton"):
        d = dist.Normal(torch.zeros(9, device=device), 1.0)
        torch.manual_seed(1)
        first, second = d.sample(), d.sample()
        torch.manual_seed(1)
        assert torch.equal(first, d.sample())
        assert not torch.equal(first, second)


@pytest.mark.parametrize("in_memory", [False, True], ids=["numbers", "pointers"])
def test_a_reservation_is_packed_on_the_device(device, monkeypatch, in_memory):
    # As Generator.philox_state returns it: bits of uint64 numbers, offsets in 32-bit words.
    reservation = (torch.tensor([-5]), torch.tensor([-16]), torch.tensor([8]))
    expected = packed_key(reservation)
    assert expected.tolist() == [2**64 - 5, 2**62 - 2]
    if in_memory:
        monkeypatch.setattr(launch, "on_device", lambda tensor: True)
        reservation = (*(t.to(device) for t in reservation[:2]), reservation[2])
    packed, _ = keys.packed_on_device(reservation, device)
    assert torch.equal(packed.cpu(), expected)
