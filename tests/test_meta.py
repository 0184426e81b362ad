"""Parameters on the meta device have no values: a draw of them is a tensor's shape and dtype."""

import pytest
import torch
from class_parameters import EVERY_CLASS, identifiers, tensors_and_rest

import rsample.distributions as dist
from rsample.kernels import use_backend


@pytest.mark.parametrize(("name", "params"), EVERY_CLASS, ids=identifiers(EVERY_CLASS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_class_draws_a_meta_sample(name, params, dtype):
    tensors, rest = tensors_and_rest(params)
    cls = getattr(dist, name)
    real = cls(**{n: p.to(torch.float32) for n, p in tensors.items()}, **rest)
    dtype_of_sample = torch.int64 if real.sample().dtype == torch.int64 else dtype
    for validate_args in (None, True, False):
        leaves = {n: p.to("meta", dtype).requires_grad_() for n, p in tensors.items()}
        d = cls(**leaves, **rest, validate_args=validate_args)
        for shape in ((), (5,), (2**14,)):
            for method in ("sample", "rsample")[: 1 + d.has_rsample]:
                x = getattr(d, method)(shape)
                assert x.is_meta
                assert x.dtype == dtype_of_sample
                assert x.shape == (*shape, *real.batch_shape, *real.event_shape)
                assert x.requires_grad == (method == "rsample")
        if d.has_rsample:
            grads = torch.autograd.grad(x.sum(), leaves.values(), allow_unused=True)
            for leaf, grad in zip(leaves.values(), grads, strict=True):
                assert grad is None or (grad.is_meta and grad.shape == leaf.shape and grad.dtype == dtype)
        if name != "Wishart" or dtype == torch.float32:  # torch has no determinant of bfloat16
            x, log_prob = d.sample_with_log_prob((5,))
            assert x.shape == (5, *real.batch_shape, *real.event_shape)
            assert log_prob.shape == (5, *real.batch_shape)


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_no_backend_is_asked(backend):
    concentration = torch.ones(3, device="meta")
    with use_backend(backend):
        assert dist.Gamma(concentration, 1.0).sample((2**14,)).is_meta
        assert dist.Normal(concentration, 1.0).sample((2**14,)).is_meta
