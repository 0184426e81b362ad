"""Soft actor-critic on point masses: actions and their log-density from one draw of a squashed normal policy.

python bench/models/soft_actor_critic.py [--library rsample|torch] [--steps STEPS]

Forces of at most 1 are to bring a mass to the middle of a box in eight dimensions and to hold it there. So many masses
are simulated side by side that where they are is the batch of each step; there is no replay.

Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications" (2018).
"""

from __future__ import annotations

import argparse
import copy
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform, TransformedDistribution
from torch.nn import functional as F

import rsample.distributions

MASSES = 4096
DIMENSIONS = 8
HIDDEN = 64
EPISODE = 20  # steps, in the mean, until a mass is put somewhere else
DISCOUNT = 0.8
ENTROPY_WEIGHT = 0.05
TARGET_RATE = 0.1  # at which the target critics follow the critics


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)
    )


class Actor(nn.Module):
    """loc and scale of the policy, each of shape (masses, DIMENSIONS), from the states."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network(2 * DIMENSIONS, 2 * DIMENSIONS)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = self.network(states).chunk(2, dim=-1)
        return loc, log_scale.clamp(-5, 2).exp()


class Critics(nn.Module):
    """Two estimates of the return of an action in a state, of shape (2, masses)."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network(3 * DIMENSIONS, 1) for _ in range(2))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        inputs = torch.cat((states, actions), dim=-1)
        return torch.stack([network(inputs).squeeze(-1) for network in self.networks])


def draw(dist: Any, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Actions and their log-densities, both of shape (masses, DIMENSIONS). Gradients go through both."""
    if dist is rsample.distributions:
        return dist.TanhNormal(loc, scale).rsample_with_log_prob()
    policy = TransformedDistribution(Normal(loc, scale), TanhTransform(cache_size=1))
    actions = policy.rsample()
    return actions, policy.log_prob(actions)


def move(states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Where the masses are after a step, as (positions, velocities), and what it costs each."""
    positions, velocities = states.chunk(2, dim=-1)
    velocities = 0.7 * velocities + 0.3 * actions
    positions = (positions + 0.5 * velocities).clamp(-2, 2)
    cost = (positions.square() + 0.1 * velocities.square() + 0.1 * actions.square()).mean(-1)
    return torch.cat((positions, velocities), dim=-1), cost


def train(dist: Any, device: torch.device | str = "cpu", seed: int = 0) -> Iterator[Tensor]:
    """Train without end.

    Args:
        dist: `rsample.distributions` or `torch.distributions`.

    Yields:
        The mean cost of the masses in each step, after it.
    """
    torch.manual_seed(seed)
    actor, critics = Actor().to(device), Critics().to(device)
    targets = copy.deepcopy(critics).requires_grad_(False)
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    critic_optimizer = torch.optim.Adam(critics.parameters(), lr=1e-2)
    states = torch.randn(MASSES, 2 * DIMENSIONS, device=device)
    while True:
        # The actor: more return and more entropy, by the gradient of the critics with respect to the action.
        actions, log_probs = draw(dist, *actor(states))
        returns = critics(states, actions).amin(0)
        actor_optimizer.zero_grad()
        (ENTROPY_WEIGHT * log_probs.sum(-1) - returns).mean().backward()
        actor_optimizer.step()

        # The critics: what the step cost, and what the targets expect of the next one.
        with torch.no_grad():
            next_states, cost = move(states, actions)
            next_actions, next_log_probs = draw(dist, *actor(next_states))
            next_returns = targets(next_states, next_actions).amin(0) - ENTROPY_WEIGHT * next_log_probs.sum(-1)
            wanted = DISCOUNT * next_returns - cost
        estimates = critics(states, actions.detach())
        critic_optimizer.zero_grad()
        F.mse_loss(estimates, wanted.expand_as(estimates)).backward()
        critic_optimizer.step()

        with torch.no_grad():
            for target, parameter in zip(targets.parameters(), critics.parameters(), strict=True):
                target.lerp_(parameter, TARGET_RATE)
            elsewhere = torch.rand(MASSES, 1, device=device) < 1 / EPISODE
            states = torch.where(elsewhere, torch.randn_like(states), next_states)
        yield cost.mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=("rsample", "torch"), default="rsample")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    costs = train(importlib.import_module(f"{options.library}.distributions"))
    for step in track(range(1, options.steps + 1), "training"):
        cost = next(costs)
        if step == 1 or step % 50 == 0:
            print(f"step {step:4}: mean cost {cost:.3f}")


if __name__ == "__main__":
    main()
