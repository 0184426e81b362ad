"""A sample that the caller overwrites: through `.data`, which autograd does not hear of, or in place, which it does."""

import pytest
import torch

import rsample.distributions as dist
from rsample.kernels import use_backend

KEY = torch.tensor([20_26, 9], dtype=torch.uint64)


def p(low, high, *shape):
    return torch.linspace(low, high, max(1, torch.Size(shape).numel())).reshape(shape).requires_grad_()


MAKE = {
    "Normal": lambda n: dist.Normal(p(-1, 1, n), p(0.5, 2, n)),
    "LogNormal": lambda n: dist.LogNormal(p(-1, 1, n), p(0.5, 2, n)),
    "TanhNormal": lambda n: dist.TanhNormal(p(-1, 1, n), p(0.5, 2, n)),
    "Exponential": lambda n: dist.Exponential(p(0.5, 2, n)),
    "Gamma": lambda n: dist.Gamma(p(0.5, 2, n), p(0.5, 2, n)),
    "Beta": lambda n: dist.Beta(p(0.5, 2, n), p(0.5, 2, n)),
    "Kumaraswamy": lambda n: dist.Kumaraswamy(p(0.5, 2, n), p(0.5, 2, n)),
    "RelaxedBernoulli": lambda n: dist.RelaxedBernoulli(torch.tensor(0.5), logits=p(-1, 1, n)),
    "Dirichlet": lambda n: dist.Dirichlet(p(0.5, 2, n, 3)),
    "LogisticNormal": lambda n: dist.LogisticNormal(p(-1, 1, n, 3), p(0.5, 2, n, 3)),
    "MultivariateNormal": lambda n: dist.MultivariateNormal(p(-1, 1, n, 3), scale_tril=p(1, 2, 3, 3).tril()),
    "RelaxedOneHotCategorical": lambda n: dist.RelaxedOneHotCategorical(p(0.5, 0.5), logits=p(-1, 1, n, 3)),
    "ExpRelaxedCategorical": lambda n: dist.ExpRelaxedCategorical(p(0.5, 0.5), probs=p(0.1, 1, n, 3)),
    "RelaxedOneHotCategorical, a temperature a row": lambda n: dist.RelaxedOneHotCategorical(
        p(0.5, 1, n, 1), logits=p(-1, 1, n, 3)
    ),
    "ExpRelaxedCategorical, a temperature a row": lambda n: dist.ExpRelaxedCategorical(
        p(0.5, 1, n, 1), logits=p(-1, 1, n, 3)
    ),
    "OneHotCategoricalStraightThrough": lambda n: dist.OneHotCategoricalStraightThrough(logits=p(-1, 1, n, 3)),
    "Categorical": lambda n: dist.Categorical(logits=p(-1, 1, n, 3)),
    "Bernoulli": lambda n: dist.Bernoulli(logits=p(-1, 1, n)),
    "Wishart": lambda n: dist.Wishart(p(4, 5, n), scale_tril=torch.eye(3) + p(0.1, 0.2, 3, 3).tril()),
}
DENSITIES_OF_THE_FINISHED_SAMPLE = {"Beta", "Dirichlet", "Gamma", "LogisticNormal"}


def leaves(output):
    """The tensors at the ends of a graph."""
    found, seen, todo = [], set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
            found += [node.variable] if hasattr(node, "variable") else []
    return found


# Few elements and many, of which other code keeps other things.
@pytest.mark.parametrize(("n", "backend"), [(4, "reference"), (1100, "compiled")])
@pytest.mark.parametrize("method", ["rsample", "rsample_with_log_prob", "sample_with_log_prob"])
@pytest.mark.parametrize("family", MAKE)
def test_gradients_are_those_of_the_sample_that_was_drawn(family, method, n, backend):
    d = MAKE[family](n)
    if method.startswith("r") and not d.has_rsample:
        pytest.skip("has no rsample")
    if method != "rsample" and family in DENSITIES_OF_THE_FINISHED_SAMPLE:
        pytest.skip("its density is log_prob, which keeps the value it is given as torch's does")

    def gradients(overwrite):
        with use_backend(backend):
            outputs = getattr(d, method)((2,), key=KEY)
            outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
            wanted = [x for x in outputs if x.requires_grad]
            weights = [torch.linspace(0.5, 1.5, x.numel()).reshape(x.shape) for x in wanted]
            if overwrite:
                for x in outputs:
                    x.data.zero_()
            inputs = leaves(sum((x * w).sum() for x, w in zip(wanted, weights, strict=True)))
            return torch.autograd.grad(wanted, inputs, weights)

    torch.testing.assert_close(gradients(True), gradients(False), rtol=0, atol=0)


@pytest.mark.parametrize(("n", "backend"), [(4, "reference"), (1100, "compiled")])
@pytest.mark.parametrize("family", [name for name in MAKE if MAKE[name](4).has_rsample])
def test_editing_a_sample_in_place_is_an_operation_like_any_other(family, n, backend):
    d = MAKE[family](n)

    def gradients(doubled):
        with use_backend(backend):
            x = d.rsample((2,), key=KEY)
            y = doubled(x)
            weights = torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
            return torch.autograd.grad(y, leaves(y), weights)

    torch.testing.assert_close(gradients(lambda x: x.mul_(2)), gradients(lambda x: 2 * x), rtol=0, atol=0)
