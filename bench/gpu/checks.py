"""Draws on the GPU against the reference's on the CPU from the same key, gradients too; and the bandwidth of a copy.

Each check has a process of its own, as most of its time goes into compiling.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import rsample.distributions as dist
from gpu.bandwidth import copy_bandwidth
from gpu.part_options import DEVICE, part_options
from gpu.pool import results_of
from rsample.kernels import use_backend

LIMIT = 50.0
KEY = torch.tensor([2026, 2**32 - 1000], dtype=torch.uint64)
# The stream contract's bound of standard normal noise between devices.
NOISE = 2e-5
NOISE_REASON = "log, sin and cos of devices differ: the noise by less than 2e-5, here times a scale below 1"


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        quantity: what was measured: "worst error", "differing" (samples, of n), "GB/s", or "raised".
        allowed: the most that passes; empty where nothing is compared.
        passed: "yes" or "no"; "" where nothing is judged.
        reason: why so much is allowed, or the error.
    """

    check: str
    quantity: str
    measured: float | str
    allowed: float | str
    passed: str
    n: int
    reason: str


def compared(check: str, quantity: str, measured: float, allowed: float, n: int, reason: str) -> Check:
    return Check(check, quantity, measured, allowed, "yes" if measured <= allowed else "no", n, reason)


def worst(check: str, pair: Sequence[Tensor], allowed: float, reason: str) -> Check:
    """The largest absolute difference; NaN does not pass."""
    ours, expected = pair
    error = (ours.double() - expected.double()).abs().max().item()
    return compared(check, "worst error", error, allowed, ours.numel(), reason)


def differing(check: str, different: Tensor, allowed: int, reason: str) -> Check:
    return compared(check, "differing", int(different.sum()), allowed, different.numel(), reason)


def both(
    draw: Callable[..., Sequence[Tensor]], params: Sequence[Tensor], device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Pairs of results on the CPU: of the kernels on a device, and of the reference for the same parameters."""
    results = []
    for backend, place in (("triton", device), ("reference", torch.device("cpu"))):
        with use_backend(backend):
            leaves = [p.to(place).detach().requires_grad_() for p in params]
            results.append([x.detach().cpu() for x in draw(*leaves)])
    return list(zip(*results, strict=True))


def random(*shape: int, low: float = 0.1, high: float = 0.9, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def off(pair: Sequence[Tensor], tolerance: float) -> Tensor:
    """Where two results differ by more than `tolerance` relative, or relative to the median where they are smaller."""
    ours, expected = pair
    scale = torch.clamp(expected.abs(), min=expected.abs().median().item())
    return ~((ours - expected).abs() <= tolerance * scale)


def normal(n: int, device: torch.device) -> Iterator[Check]:
    grad = random(n, low=-1.0, high=1.0, seed=2)

    def draw(loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        x = dist.Normal(loc, scale).rsample(key=KEY)
        return x, *torch.autograd.grad(x, (loc, scale), grad.to(x.device))

    x, loc_grad, scale_grad = both(draw, [random(n), random(n, seed=1)], device)
    yield worst("Normal.rsample", x, NOISE, NOISE_REASON)
    yield worst("Normal.rsample, gradient of loc", loc_grad, 0.0, "it is the sample's")
    yield worst("Normal.rsample, gradient of scale", scale_grad, NOISE, NOISE_REASON)


def normal_sum(n: int, device: torch.device) -> Iterator[Check]:
    def draw(loc: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        x = dist.Normal(loc, scale).rsample(key=KEY)
        loc_grad, scale_grad = torch.autograd.grad(x.mean(), (loc, scale))
        return x.to(torch.bfloat16), loc_grad * n, scale_grad

    x, loc_grad, scale_grad = both(draw, [random(n), torch.tensor(0.5)], device)
    # Two bfloat16 numbers next to each other are up to 2**-7 of the larger apart, which is below 8.
    yield worst("Normal.rsample, one scale, as bfloat16", x, 2.0**-5, "rounded to bfloat16, whose neighbours differ")
    yield worst("Normal.rsample, one scale, gradient of loc", loc_grad, 1e-6, "1 except for the rounding of 1 / n")
    yield worst("Normal.rsample, one scale, its gradient", scale_grad, NOISE, "a mean of noise within 2e-5")


def uniform(n: int, device: torch.device) -> Iterator[Check]:
    draw = lambda low, high: (dist.Uniform(low, high).sample(key=KEY),)  # noqa: E731
    ((ours, expected),) = both(draw, [random(n), random(n, low=1.1, high=1.9, seed=1)], device)
    yield differing("Uniform.sample", ours != expected, 0, "the contract: the same bits")


def bernoulli_probs(n: int, device: torch.device) -> Iterator[Check]:
    ((ours, expected),) = both(lambda probs: (dist.Bernoulli(probs).sample(key=KEY),), [random(n)], device)
    yield differing("Bernoulli(probs).sample", ours != expected, 0, "the contract: the same bits")


def bernoulli_logits(n: int, device: torch.device) -> Iterator[Check]:
    def draw(logits: Tensor) -> tuple[Tensor, ...]:
        x, log_prob = dist.Bernoulli(logits=logits).sample_with_log_prob(key=KEY)
        return x, *torch.autograd.grad(log_prob.sum(), logits)

    x, grad = both(draw, [random(n, low=-4.0, high=4.0)], device)
    flipped = x[0] != x[1]
    yield differing("Bernoulli(logits).sample", flipped, 3, "exp differs: about one in ten million flips")
    grad = (torch.where(flipped, grad[1], grad[0]), grad[1])
    yield worst("Bernoulli(logits), gradient of log_prob", grad, 1e-5, "the sigmoid of the hardware's exp")


def categorical(n: int, device: torch.device) -> Iterator[Check]:
    k = 250

    def draw(logits: Tensor) -> tuple[Tensor, ...]:
        x, log_prob = dist.Categorical(logits=logits).sample_with_log_prob(key=KEY)
        return x, *torch.autograd.grad(log_prob.sum(), logits)

    x, grad = both(draw, [random(max(n // k, 1), k, low=-3.0, high=3.0)], device)
    other = x[0] != x[1]
    yield differing("Categorical.sample", other, 3, "scores within 3e-5 of each other: one row in 1e4 at most")
    grad = (torch.where(other[:, None], grad[1], grad[0]), grad[1])
    yield worst("Categorical, gradient of log_prob", grad, 1e-5, "the softmax of the hardware's exp")


def gamma(n: int, device: torch.device) -> Iterator[Check]:
    n //= 4  # the reference makes some hundred operations of each round

    def draw(concentration: Tensor, rate: Tensor) -> tuple[Tensor, ...]:
        x = dist.Gamma(concentration, rate).rsample(key=KEY)
        return x, *torch.autograd.grad(x.sum(), (concentration, rate))

    x, concentration, rate = both(draw, [random(n, low=0.3, high=9.0), random(n, low=0.5, high=2.0, seed=1)], device)
    few = "a rejection decided otherwise: about one sample in a million"
    yield differing("Gamma.rsample, 1e-4 off", off(x, 1e-4), 4, few)
    yield differing("Gamma.rsample, gradient of rate, 1e-4 off", off(rate, 1e-4), 4, few)
    implicit = "implicit gradients are within 1e-4 in each implementation, except for those few"
    yield differing("Gamma.rsample, gradient of concentration, 1e-3 off", off(concentration, 1e-3), 4, implicit)


def multivariate_normal(n: int, device: torch.device) -> Iterator[Check]:
    k = 64
    grad = random(max(n // k, 1), k, low=-1.0, high=1.0, seed=2)
    # Rows whose absolute sum is below 2.
    factor = torch.tril(random(k, k, low=-1.0, high=1.0, seed=1) / k, -1) + torch.eye(k)

    def draw(loc: Tensor, scale_tril: Tensor) -> tuple[Tensor, ...]:
        x = dist.MultivariateNormal(loc, scale_tril=scale_tril).rsample(grad.shape[:1], key=KEY)
        return x, *torch.autograd.grad(x, (loc, scale_tril), grad.to(x.device))

    x, loc, scale_tril = both(draw, [random(k), factor], device)
    yield worst("MultivariateNormal.rsample", x, 2 * NOISE + 1e-5, "noise within 2e-5 times a row below 2; roundings")
    # Errors of as many terms as there are rows add up like a random walk; products in tf32 would err by three times it.
    allowed = 4 * NOISE * math.sqrt(grad.shape[0])
    yield worst("MultivariateNormal.rsample, gradient of loc", loc, allowed, "the order of a float32 sum")
    yield worst("MultivariateNormal.rsample, gradient of scale_tril", scale_tril, allowed, "noise; order of a sum")


CHECKS = {
    function.__name__: function
    for function in (
        normal,
        bernoulli_probs,
        categorical,
        gamma,
        multivariate_normal,
        uniform,
        bernoulli_logits,
        normal_sum,
    )
}


def run_check(name: str, n: int, device: torch.device) -> list[Check]:
    torch.set_num_threads(1)  # others run beside it
    return list(CHECKS[name](n, device))


def main() -> None:
    options = part_options(__doc__)
    start = time.monotonic()
    table = options.table("checks", Check)
    failed = 0

    def add(check: Check) -> None:
        table.add(check)
        allowed = f" of {check.allowed:.3g}" if isinstance(check.allowed, float | int) else ""
        measured = check.measured if isinstance(check.measured, str) else f"{check.measured:.3g}"
        verdict = {"yes": "passed", "no": "FAILED"}.get(check.passed, "")
        print(f"{check.check:52} {check.quantity:12} {measured}{allowed} {verdict}", flush=True)

    def bandwidth() -> None:
        speed = copy_bandwidth(DEVICE, options.plan.copy_bytes)
        add(Check("copy, read and written", "GB/s", speed * 1e-9, "", "", options.plan.copy_bytes, "a median"))

    bandwidth()
    function = functools.partial(run_check, n=options.plan.check_numel, device=DEVICE)
    limit = LIMIT if not options.rehearsing else 10 * LIMIT
    for name, checks, error in results_of(function, list(CHECKS), options.plan.workers, limit):
        if error:
            print(error, file=sys.stderr, flush=True)
            add(Check(name, "raised", "", "", "no", 0, error.strip().splitlines()[-1][:300]))
            failed += 1
        for check in checks or ():
            if options.rehearsing:
                check = Check(**{**vars(check), "passed": ""})
            add(check)
            failed += check.passed == "no"
    print(f"{failed} failed; {time.monotonic() - start:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
