"""A variational autoencoder of handwritten digits: the pathwise gradient through a draw of a normal distribution.

python bench/models/vae.py [--library rsample|torch] [--steps STEPS]

Source: Kingma and Welling, "Auto-Encoding Variational Bayes" (2014).
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

PIXELS = 64
HIDDEN = 128
LATENT = 32
SAMPLES = 4  # of each image's code, at each step


class VAE(nn.Module):
    """Codes z with a standard normal prior, pixels that are Bernoulli given z, and a normal q(z | x) to infer them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """loc and scale of q(z | x), each of shape (images, LATENT)."""
        loc, raw_scale = self.encoder(images).chunk(2, dim=-1)
        return loc, F.softplus(raw_scale)


def draw(dist: Any, loc: Tensor, scale: Tensor) -> Tensor:
    """Codes of shape (SAMPLES, images, LATENT). Gradients go through them to loc and scale."""
    return dist.Normal(loc, scale).rsample((SAMPLES,))


def negative_elbo(dist: Any, model: VAE, images: Tensor) -> Tensor:
    """-E[log p(x | z)] + KL(q(z | x) || p(z)), in nats per image."""
    loc, scale = model.posterior(images)
    logits = model.decoder(draw(dist, loc, scale))
    # Grey values count as probabilities of white.
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, images.expand_as(logits), reduction="none").sum(-1)
    kl = kl_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.0)).sum(-1)
    return (kl - log_likelihood.mean(0)).mean()


def train(dist: Any, device: torch.device | str = "cpu", seed: int = 0) -> Iterator[Tensor]:
    """Train without end, on all images at each step.

    Args:
        dist: `rsample.distributions` or `torch.distributions`.

    Yields:
        The loss of each step, after it.
    """
    torch.manual_seed(seed)
    images = torch.tensor(load_digits().data, dtype=torch.float32, device=device) / 16
    model = VAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    while True:
        loss = negative_elbo(dist, model, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=("rsample", "torch"), default="rsample")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    losses = train(importlib.import_module(f"{options.library}.distributions"))
    for step in track(range(1, options.steps + 1), "training"):
        loss = next(losses)
        if step == 1 or step % 50 == 0:
            print(f"step {step:4}: negative ELBO {loss:.2f} nats per image")


if __name__ == "__main__":
    main()
