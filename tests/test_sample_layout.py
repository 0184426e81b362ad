"""A sample and its log-density are contiguous whatever the parameters' strides, as the operators' fake kernels say."""

import pytest
import torch
from every_class import EVERY_CLASS, params

import rsample.distributions as dist
from rsample.kernels import use_backend
from rsample.kernels.draws.matrices.ops import OPERATORS
from rsample.kernels.engines.matrix_product import KINDS

KEY = torch.tensor([3, 4], dtype=torch.uint64)

LAYOUTS = {
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "first dimension innermost": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "expanded": lambda x: x[:, :1].movedim(0, -1).contiguous().movedim(-1, 0).expand(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["reference", "compiled"])
@pytest.mark.parametrize("family", EVERY_CLASS)
def test_samples_and_densities_are_contiguous(family, backend, layout):
    def dense(x):
        return LAYOUTS[layout](x).contiguous()

    results = []
    for laid_out in (LAYOUTS[layout], dense):
        with use_backend(backend):
            d = EVERY_CLASS[family](params((2, 3), layout=laid_out, requires_grad=True))
            results.append([d.sample(key=KEY), d.sample((4,), key=KEY), *d.sample_with_log_prob(key=KEY)])
            if d.has_rsample:
                results[-1] += d.rsample_with_log_prob((4,), key=KEY)
    for strided, expected in zip(*results, strict=True):
        assert strided.is_contiguous()
        torch.testing.assert_close(strided, expected)


@pytest.mark.kernel
@pytest.mark.usefixtures("short_loops")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["Normal", "Gamma", "Categorical", "OneHotCategorical", "MultivariateNormal"])
def test_samples_of_kernels_are_contiguous(family, layout, device):
    with use_backend("triton"):
        d = EVERY_CLASS[family](params((2, 3), layout=LAYOUTS[layout], device=device))
        assert d.sample((4,), key=KEY).is_contiguous()
        assert all(x.is_contiguous() for x in d.sample_with_log_prob(key=KEY))


def transposed(*shape):
    return (torch.rand(*shape[:-2], shape[-1], shape[-2]) + 0.5).mT


BACKENDS = pytest.mark.parametrize("backend", ["reference", "compiled"])
# What does not depend on how the kernels were called.
CHECKS = ("test_schema", "test_faketensor")


@BACKENDS
@pytest.mark.parametrize("name", ["normal", "laplace", "gamma", "normal_with_log_prob", "uniform"])
def test_elementwise_operators_do_as_their_fakes_say(name, backend):
    ops, given, shape = torch.ops.rsample, [transposed(3, 4), 2 + transposed(3, 4)], (2, 3, 4)
    backward = getattr(ops, f"{name}_backward").default
    grads = [transposed(2, 3, 4)] * (1 + name.endswith("log_prob"))
    with use_backend(backend):
        torch.library.opcheck(getattr(ops, name).default, ([KEY], *given, shape, torch.float32), test_utils=CHECKS)
        torch.library.opcheck(backward, ([KEY], *grads, *given, [True, True]), test_utils=CHECKS)
        # Gradients that nothing is summed to.
        grads = [g[0] for g in grads]
        torch.library.opcheck(backward, ([KEY], *grads, *given, [True, True]), test_utils=CHECKS)


@BACKENDS
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_product_operators_do_as_their_fakes_say(kind, backend):
    own = {0: transposed(3, 4), 1: transposed(3, 4, 4), 2: transposed(3, 4)}
    given = [own[i] for i in range(len(kind.parameters))]
    backward = getattr(torch.ops.rsample, f"{kind.name}_backward").default
    with use_backend(backend):
        torch.library.opcheck(OPERATORS[kind].forward_op, ([KEY], *given, (3, 4), torch.float32), test_utils=CHECKS)
        torch.library.opcheck(backward, ([KEY], transposed(3, 4), *given, [True] * len(given)), test_utils=CHECKS)


@BACKENDS
def test_row_operators_do_as_their_fakes_say(backend):
    weights, shape, temperature = transposed(3, 4), (2, 3, 4), torch.tensor(0.5)
    with use_backend(backend):
        for one_hot in (False, True):
            options = (True, one_hot, True, False)
            torch.library.opcheck(
                torch.ops.rsample.categorical.default, ([KEY], weights, shape, *options), test_utils=CHECKS
            )
        torch.library.opcheck(
            torch.ops.rsample.relaxed_categorical.default,
            ([KEY], weights, temperature, shape, True, True, True),
            test_utils=CHECKS,
        )


def test_compiled_code_may_rely_on_the_layout():
    # What follows the draw is compiled for the strides that its fake kernel has told.
    loc = torch.arange(12.0).reshape(3, 4)

    def column_sums(loc):
        return dist.Normal(loc.t(), 1e-6).sample().sum(0)

    expected = loc.t().sum(0)
    torch.testing.assert_close(torch.compile(column_sums)(loc), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "make", [dist.Normal, dist.Gamma, lambda loc, factor: dist.MultivariateNormal(loc, scale_tril=factor.tril())]
)
def test_compiled_gradients_may_rely_on_the_layout(make):
    def total(*given):
        return (make(*given).rsample(key=KEY) ** 2).sum()

    given = [transposed(3, 3).requires_grad_(), transposed(3, 3).requires_grad_()]
    expected = torch.autograd.grad(total(*given), given)
    actual = torch.autograd.grad(torch.compile(total)(*given), given)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e)
