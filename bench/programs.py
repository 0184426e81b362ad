"""Training loops that draw few numbers at a time, with and without `accelerate()`.

python bench/programs.py [--rounds N] [--require] [--results FOLDER]

A step of each, measured as host_time.py says. The programs are written on torch.distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import host_time
import torch
import torch.distributions as td
from markdown_table import pipe_table
from progress import tracked
from torch import Tensor, nn

import rsample.distributions

# Against the same program as it is, at most: 1, and room for the noise of a busy machine.
REQUIRED = 1.15


def policy(actions: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, actions))


def proximal_policy() -> Callable[[], object]:
    """A rollout of 16 steps in 8 environments with 4 actions, and an update by the likelihood ratio."""
    net = policy(4)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    observations = torch.randn(16, 8, 8)

    def step() -> None:
        actions, log_probs = [], []
        with torch.no_grad():
            for observation in observations:
                d = td.Categorical(logits=net(observation))
                actions.append(d.sample())
                log_probs.append(d.log_prob(actions[-1]))
        d = td.Categorical(logits=net(observations))
        ratio = (d.log_prob(torch.stack(actions)) - torch.stack(log_probs)).exp()
        optimiser.zero_grad()
        (-(ratio.clamp(0.8, 1.2)).mean() - 0.01 * d.entropy().mean()).backward()
        optimiser.step()

    return step


def masked_policy() -> Callable[[], object]:
    """The same with some actions forbidden at each step, as in games: logits of -1e8."""
    net = policy(6)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    observations, masks = torch.randn(16, 8, 8), torch.rand(16, 8, 6) < 0.7
    masks[..., 0] = True

    def step() -> None:
        total = torch.zeros(())
        for observation, mask in zip(observations, masks, strict=True):
            d = td.Categorical(logits=torch.where(mask, net(observation), -1e8))
            total = total - d.log_prob(d.sample()).mean()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()

    return step


def squashed_rollout() -> Callable[[], object]:
    """An actor of 2 numbers that acts once at a time, as when it collects data for soft actor-critic."""
    net = policy(4)
    observations = torch.randn(16, 1, 8)

    def step() -> None:
        with torch.no_grad():
            for observation in observations:
                loc, log_scale = net(observation).chunk(2, -1)
                base = td.Independent(td.Normal(loc, log_scale.clamp(-5, 2).exp()), 1)
                d = td.TransformedDistribution(base, [td.TanhTransform(cache_size=1)])
                d.log_prob(d.sample())

    return step


def autoencoder() -> Callable[[], object]:
    """A variational autoencoder of 16 latent numbers, a batch of 64."""
    encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    decoder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    batch = torch.rand(64, 64).round()

    def step() -> None:
        loc, log_scale = encoder(batch).chunk(2, -1)
        q = td.Normal(loc, log_scale.exp())
        x = td.Bernoulli(logits=decoder(q.rsample()))
        loss = td.kl_divergence(q, td.Normal(0.0, 1.0)).sum(-1) - x.log_prob(batch).sum(-1)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()

    return step


def eight_schools() -> Callable[[], object]:
    """Stochastic variational inference of Rubin's (1981) eight schools with a normal guide, as Pyro does it."""
    effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    guide = {name: torch.zeros(2, *shape).requires_grad_() for name, shape in (("mu", ()), ("tau", ()), ("eta", (8,)))}
    optimiser = torch.optim.Adam(guide.values(), 1e-2)

    def step() -> None:
        drawn: dict[str, Tensor] = {}
        elbo = torch.zeros(())
        for name, parameters in guide.items():
            q = td.Normal(parameters[0], parameters[1].exp())
            drawn[name] = q.rsample()
            elbo = elbo - q.log_prob(drawn[name]).sum()
        tau = drawn["tau"].exp()
        elbo = elbo + td.Normal(0.0, 5.0).log_prob(drawn["mu"]) + td.HalfCauchy(5.0).log_prob(tau) + drawn["tau"]
        elbo = elbo + td.Normal(0.0, 1.0).log_prob(drawn["eta"]).sum()
        elbo = elbo + td.Normal(drawn["mu"] + tau * drawn["eta"], errors).log_prob(effects).sum()
        optimiser.zero_grad()
        (-elbo).backward()
        optimiser.step()

    return step


PROGRAMS = {
    "policy of 4 actions (PPO)": proximal_policy,
    "masked policy of 6 actions": masked_policy,
    "eight schools (SVI)": eight_schools,
    "squashed normal rollout, one at a time": squashed_rollout,
    "variational autoencoder": autoencoder,
}


@dataclass(frozen=True)
class Program:
    """A program's times of a step; `ratio` is accelerated over as it is, the median of rounds."""

    program: str
    us: float
    torch_us: float
    ratio: float
    device: str
    torch: str
    triton: str
    rsample: str
    python: str

    @property
    def name(self) -> str:
        return self.program


def measure(number: int, rounds: int) -> list[Program]:
    names = host_time.names(torch.device("cpu"))
    programs = []
    for name, make in tracked("programs", list(PROGRAMS.items()), lambda program: program[0]):
        torch.manual_seed(0)
        step = make()
        times = host_time.paired_us(step, step, number, rounds, rsample.distributions.accelerate)
        programs.append(Program(name, *times, **names))
    return programs


def table(programs: Sequence[Program]) -> str:
    rows = [(p.program, f"{p.us:.0f}", f"{p.torch_us:.0f}", f"{p.ratio:.2f}") for p in programs]
    caption = (
        f"Programs on torch.distributions, with `accelerate()` and as they are: microseconds of CPU time per step "
        f"({programs[0].device}; torch {programs[0].torch}), measured in the same way."
    )
    return "\n".join([caption, "", *pipe_table(("program", "accelerated", "as it is", "ratio"), rows), ""])


def main() -> None:
    options = host_time.parser(__doc__, number=20, rounds=15).parse_args()
    host_time.run("programs", options, lambda: measure(options.number, options.rounds), table, lambda program: REQUIRED)


if __name__ == "__main__":
    main()
