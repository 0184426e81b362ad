"""The recipes of distributions/README.md, as they stand there, do what they are said to do.

Statistical tests draw from fixed seeds and fail at p < 1e-4.
"""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_bytes import saved_for_backward
from scipy import stats
from torch.utils.checkpoint import checkpoint

PAGE = Path(__file__).parents[1] / "distributions" / "README.md"
(SECTION,) = re.findall(r"\n## Recipes\n(.*?)\n## ", PAGE.read_text(encoding="utf-8"), re.DOTALL)
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
P = 1e-4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def recipes():
    """Everything that the blocks define."""
    defined = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), defined)
    return defined


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean(recipes, dtype):
    p, n = 0.2, 2**16
    y = recipes["Dropout"](p)(torch.ones(n, dtype=dtype))
    assert y.dtype == dtype
    kept = y != 0
    # With what is kept multiplied by 1 / (1 - p), the mean is 1 if and only if a share of 1 - p is kept.
    assert torch.equal(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    assert stats.binomtest(int(kept.sum()), n, 1 - p).pvalue > P


@pytest.mark.parametrize("checkpointed", [False, True])
def test_dropout_multiplies_the_gradient_by_the_mask_of_the_forward_pass(recipes, checkpointed):
    layer = recipes["Dropout"](0.3)
    x = torch.randn(1000, requires_grad=True)
    y = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert 0 < int((grad == 0).sum()) < 1000
    assert torch.equal(grad * x, y)


def test_dropout_does_nothing_in_evaluation(recipes):
    x = torch.randn(4)
    assert recipes["Dropout"](0.5).eval()(x) is x


def test_gaussian_noise_is_normal_with_the_scale_of_its_feature(recipes):
    layer = recipes["GaussianNoise"](3)
    scale = torch.tensor([0.1, 1.0, 10.0])
    layer.log_scale.data = scale.log()
    x = torch.randn(5000, 3)
    eps = (layer(x) - x).detach() / scale
    for feature in eps.T:
        assert stats.kstest(feature, "norm").pvalue > P
    assert layer.eval()(x) is x


def test_gaussian_noise_reaches_both_gradients_and_keeps_the_key_alone(recipes):
    layer = recipes["GaussianNoise"](3)
    x = torch.randn(500, 3, requires_grad=True)
    weight = torch.randn(500, 3)
    y = None

    def forward():
        nonlocal y
        y = layer(x)
        return (y,)

    # exp keeps its result, a number a feature. A key is two numbers of 8 bytes, a tensor in nodes of Python's alone.
    assert saved_for_backward(forward, [x, *layer.parameters()]) - 3 * 4 in (0, 16)
    of_x, of_log_scale = torch.autograd.grad(y, [x, layer.log_scale], weight)
    assert torch.equal(of_x, weight)
    # Rounding: y - x is off by 2**-23 of numbers below 8, and 500 of them add up, times weights of about 1.
    torch.testing.assert_close(of_log_scale, (weight * (y - x)).sum(0).detach(), rtol=0, atol=500 * 8 * 2**-23)


def test_noised_has_the_mean_and_the_variance_of_each_example(recipes):
    alpha_bar = torch.linspace(0.999, 0.001, 10).sqrt()
    x0, t = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 6, 9])
    x_t, eps = recipes["noised"](x0, t, alpha_bar, torch.tensor([1, 0], dtype=torch.uint64))
    n = x0[0].numel()
    for x, start, signal, noise in zip(x_t, x0, alpha_bar[t], eps, strict=True):
        rest, variance = x.double() - signal.sqrt() * start, 1 - signal.double()
        assert 2 * stats.norm.sf(abs(rest.mean()) / (variance / n).sqrt()) > P
        squares = stats.chi2(n).cdf(rest.square().sum() / variance)
        assert P / 2 < squares < 1 - P / 2
        # float32: a few roundings of numbers below 8.
        torch.testing.assert_close(rest, variance.sqrt() * noise.double(), rtol=0, atol=8 * 2**-21)


def test_thompson_sampling_finds_the_best_arm(recipes):
    payout, rounds = torch.tensor([0.3, 0.5, 0.2, 0.7]), 400
    wins, losses = recipes["thompson"](payout, rounds)
    plays = wins + losses
    assert plays.sum() == rounds
    assert plays.argmax() == payout.argmax()
    assert plays.max() > 0.7 * rounds
    assert wins.sum() > 0.6 * rounds  # playing at random wins 0.425 of them, the best arm alone 0.7


@pytest.mark.parametrize("k", [1, 2, 3])
def test_topk_follows_the_law_of_drawing_one_after_the_other(recipes, k):
    probs, rows = np.array([0.05, 0.1, 0.15, 0.3, 0.4]), 40_000
    # Logits need not be normalised.
    logits = torch.from_numpy(np.log(probs)).float().add(3.0).expand(rows, -1)
    drawn = recipes["sample_without_replacement"](logits, k)
    assert drawn.shape == (rows, k)
    orders = list(itertools.permutations(range(len(probs)), k))
    counts = [int((drawn == torch.tensor(order)).all(-1).sum()) for order in orders]
    law = [np.prod([probs[j] / (1 - probs[list(order[:i])].sum()) for i, j in enumerate(order)]) for order in orders]
    expected = rows * np.array(law)
    assert expected.min() > 5  # few enough categories for the statistic to follow chi-squared
    assert stats.chisquare(counts, expected).pvalue > P
    # Which categories are there, in whatever order: the sum over the orders that hold one.
    included = [sum(e for order, e in zip(orders, expected, strict=True) if j in order) for j in range(len(probs))]
    for j, mean in enumerate(included):
        assert stats.binomtest(int((drawn == j).any(-1).sum()), rows, mean / rows).pvalue > P
