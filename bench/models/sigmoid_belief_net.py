"""A sigmoid belief net of handwritten digits: discrete hidden units, by the score function or relaxed.

python bench/models/sigmoid_belief_net.py [--library rsample|torch] [--relaxed] [--steps STEPS]

A Bernoulli draw has no derivative. The score function gets the gradient of its expectation from the draw's
log-probability; a baseline from the other draws of the same image, which leaves it unbiased, takes most of the noise
away. The relaxed net replaces the units by numbers between 0 and 1 with a pathwise gradient; it trains another model,
so that the two losses are not to be compared.

Sources: Mnih and Gregor, "Neural Variational Inference and Learning in Belief Networks" (2014); Kool, van Hoof and
Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019); Maddison, Mnih and Teh, "The Concrete
Distribution" (2017), with the KL of the discrete units as Jang, Gu and Poole have it.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

import torch
from rich.progress import track
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn import functional as F

import rsample.distributions

PIXELS = 64
HIDDEN = 128  # of the network that infers units
UNITS = 64
SAMPLES = 4  # of each image's units, at each step
TEMPERATURE = 0.5  # of relaxed units


class SigmoidBeliefNet(nn.Module):
    """Units h with independent Bernoulli priors, pixels that are Bernoulli given h, and a Bernoulli q(h | x)."""

    def __init__(self) -> None:
        super().__init__()
        self.prior_logits = nn.Parameter(torch.zeros(UNITS))
        self.pixel_logits = nn.Linear(UNITS, PIXELS)
        self.posterior_logits = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, UNITS))


def draw(dist: Any, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Units of shape (SAMPLES, images, UNITS), and their log-probabilities, which the gradient goes through."""
    units = dist.Bernoulli(logits=logits)
    if dist is rsample.distributions:
        return units.sample_with_log_prob((SAMPLES,))
    sample = units.sample((SAMPLES,))
    return sample, units.log_prob(sample)


def draw_relaxed(dist: Any, logits: Tensor) -> Tensor:
    """Relaxed units of shape (SAMPLES, images, UNITS). Gradients go through them to the logits."""
    return dist.RelaxedBernoulli(logits.new_tensor(TEMPERATURE), logits=logits).rsample((SAMPLES,))


def negative_elbo(dist: Any, net: SigmoidBeliefNet, images: Tensor, relaxed: bool) -> tuple[Tensor, Tensor]:
    """-E[log p(x | h)] + KL(q(h | x) || p(h)), in nats per image, and what to differentiate in place of it."""
    logits = net.posterior_logits(images)
    units, log_prob = (draw_relaxed(dist, logits), None) if relaxed else draw(dist, logits)
    pixels = net.pixel_logits(units)
    log_likelihood = -F.binary_cross_entropy_with_logits(pixels, images.expand_as(pixels), reduction="none").sum(-1)
    prior_logits = net.prior_logits.expand_as(logits)
    kl = kl_divergence(dist.Bernoulli(logits=logits), dist.Bernoulli(logits=prior_logits)).sum(-1)
    loss = (kl - log_likelihood.mean(0)).mean()
    if log_prob is None:
        return loss, loss
    reward = log_likelihood.detach()
    baseline = (reward.sum(0) - reward) / (SAMPLES - 1)
    score_function = ((reward - baseline) * log_prob.sum(-1)).mean()
    return loss, loss - score_function


def train(dist: Any, device: torch.device | str = "cpu", seed: int = 0, relaxed: bool = False) -> Iterator[Tensor]:
    """Train without end, on all images at each step.

    Args:
        dist: `rsample.distributions` or `torch.distributions`.
        relaxed: whether units are relaxed.

    Yields:
        The loss of each step, after it.
    """
    torch.manual_seed(seed)
    images = torch.tensor(load_digits().data > 7, dtype=torch.float32, device=device)
    net = SigmoidBeliefNet().to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    while True:
        loss, surrogate = negative_elbo(dist, net, images, relaxed)
        optimizer.zero_grad()
        surrogate.backward()
        optimizer.step()
        yield loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=("rsample", "torch"), default="rsample")
    parser.add_argument("--relaxed", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    losses = train(importlib.import_module(f"{options.library}.distributions"), relaxed=options.relaxed)
    for step in track(range(1, options.steps + 1), "training"):
        loss = next(losses)
        if step == 1 or step % 50 == 0:
            print(f"step {step:4}: negative ELBO {loss:.2f} nats per image")


if __name__ == "__main__":
    main()
