"""TorchRL: actors with a TanhNormal, an IndependentNormal and a categorical policy."""

import pytest
import torch
import torch.distributions as td

import rsample.distributions as dist

OBSERVED = 3


@pytest.fixture
def modules(torchrl):
    return torchrl


def actor(modules, policy, **options):
    """A policy of one action on a linear loc and scale of the observation."""
    from tensordict.nn import NormalParamExtractor, TensorDictModule

    network = torch.nn.Sequential(torch.nn.Linear(OBSERVED, 2), NormalParamExtractor())
    parameters = TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"])
    return modules.ProbabilisticActor(
        parameters, in_keys=["loc", "scale"], distribution_class=getattr(modules, policy), **options
    )


def observations(n):
    from tensordict import TensorDict

    return TensorDict({"observation": torch.randn(n, OBSERVED)}, batch_size=[n])


def reward(batch):
    """The action should be half of the first observation."""
    return -(batch["action"].squeeze(-1) - 0.5 * batch["observation"][:, 0].clamp(-1, 1)).square()


def explores():
    from torchrl.envs.utils import ExplorationType, set_exploration_type

    return set_exploration_type(ExplorationType.RANDOM)


@pytest.mark.parametrize("policy", ["TanhNormal", "IndependentNormal"])
def test_an_actor_learns_by_the_pathwise_gradient(modules, laws, policy):
    policy = actor(modules, policy)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.05)
    rewards = []
    with dist.accelerate(), explores():
        for _ in range(120):
            score = reward(policy(observations(64))).mean()
            rewards.append(score.item())
            optimizer.zero_grad()
            (-score).backward()
            optimizer.step()
    assert laws == {"normal": 120}
    # The best that a policy without a scale could get is 0.
    assert sum(rewards[-10:]) / 10 > -0.1 > -0.2 > sum(rewards[:3]) / 3


def test_an_actor_learns_by_the_score_function(modules, laws):
    policy = actor(modules, "IndependentNormal")
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.05)
    rewards = []
    with dist.accelerate(), explores():
        for _ in range(150):
            batch = observations(128)
            with torch.no_grad():
                score = reward(policy(batch))
            rewards.append(score.mean().item())
            log_prob = policy.get_dist(batch.exclude("action")).log_prob(batch["action"])
            optimizer.zero_grad()
            (-(score - score.mean()) * log_prob).mean().backward()
            optimizer.step()
    assert laws == {"normal": 150}
    assert sum(rewards[-10:]) / 10 > -0.15 > -0.2 > sum(rewards[:3]) / 3


@pytest.mark.parametrize("method", ["sample", "rsample"])
def test_torchrls_classes_draw_as_ours_and_then_as_torch(modules, method):
    loc, scale = torch.linspace(-1, 1, 6).reshape(2, 3), torch.full((2, 3), 0.5)
    logits = torch.linspace(-1, 1, 6).reshape(2, 3)

    def drawn():
        made = [
            modules.TanhNormal(loc, scale),
            modules.IndependentNormal(loc, scale),
            modules.OneHotCategorical(logits=logits),
        ]
        samples = []
        for d in made:
            torch.manual_seed(5)
            samples.append(getattr(d, method)(torch.Size([40])))
        return samples

    before = drawn()
    with dist.accelerate():
        tanh, normal, one_hot = drawn()
    torch.manual_seed(5)
    expected = dist.Normal(loc, scale).sample((40,))
    assert torch.equal(normal, expected)
    torch.testing.assert_close(tanh, expected.tanh())
    torch.manual_seed(5)
    category = dist.Categorical(probs=logits.softmax(-1)).sample((40,))
    assert torch.equal(one_hot.argmax(-1), category)
    assert not any(torch.equal(a, b) for a, b in zip((tanh, normal, one_hot), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(drawn(), before, strict=True))


def test_a_masked_categorical_never_draws_what_is_masked(modules):
    mask = torch.tensor([True, False, True, True])
    with dist.accelerate():
        drawn = modules.MaskedCategorical(logits=torch.zeros(4), mask=mask).sample((1000,))
    # Each of three is missed with probability (2/3)^1000.
    assert drawn.unique().tolist() == [0, 2, 3]


def test_its_classes_are_torchs(modules):
    assert issubclass(modules.TanhNormal, td.TransformedDistribution)
    assert issubclass(modules.IndependentNormal, td.Independent)
    assert issubclass(modules.OneHotCategorical, td.Categorical)
