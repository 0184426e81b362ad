"""A 0-dim CPU tensor goes with parameters on a GPU, as everywhere in torch: it is copied once, at construction."""

import pytest
import torch

import rsample.distributions as dist


def test_no_draw_copies_a_scalar_to_the_gpu(on_a_stub_gpu):
    lines = on_a_stub_gpu("""
        import rsample.distributions as dist

        x, scalar = torch.ones(4, device="cuda"), torch.tensor(0.5)
        makers = (
            lambda: dist.Normal(x, scalar),
            lambda: dist.Normal(scalar, x),
            lambda: dist.LogNormal(x, scalar),
            lambda: dist.Gamma(scalar, x),
            lambda: dist.StudentT(scalar, x, scalar),
            lambda: dist.NegativeBinomial(scalar, logits=x),
            lambda: dist.RelaxedBernoulli(scalar, logits=x),
            lambda: dist.RelaxedOneHotCategorical(scalar, logits=x),
            lambda: dist.Normal(torch.ones((), device="cuda"), scalar),
        )
        for make in makers:
            d = make()
            counts = stub.counts(d.sample)
            print({k: v for k, v in counts.items() if k in ("memcpy", "toHost", "streamSync")})
        print(all(p.is_cuda for p in (dist.Normal(x, scalar).scale, dist.LogNormal(x, scalar).scale)))
    """)
    assert lines == ["{}"] * 9 + ["True"]


@pytest.mark.cuda
def test_gradients_reach_the_scalar():
    scale = torch.tensor(0.5, requires_grad=True)
    sample = dist.Normal(torch.ones(4, device="cuda"), scale).rsample()
    sample.sum().backward()
    torch.testing.assert_close(scale.grad, ((sample - 1) / 0.5).sum().cpu().detach())
