"""The ratios that the CPU backends have to reach on two threads, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from results import Pair

# torch's time over ours, at least; float32 samples.
LARGE = (2**20, 2**22)
AT_LARGE = {
    "Normal.rsample": 2.5,
    "Normal.rsample, backward": 1.5,
    "Uniform.rsample": 3.5,
    "Bernoulli(probs).sample": 10.0,
    "Bernoulli(logits).sample": 10.0,
}

# Where one call is all overhead: our time is at most this many times torch's.
SMALL = 2**10
AT_SMALL = {
    "Normal.rsample": 2.5,
    "Normal.sample": 2.5,
    "Uniform.rsample": 2.5,
    "Bernoulli(probs).sample": 2.5,
    "Bernoulli(logits).sample": 2.5,
    "Normal.rsample, graph": 4.0,
    "Uniform.rsample, graph": 4.0,
}


@dataclass(frozen=True)
class Verdict:
    """One requirement and the pair that it is about. `required` is a ratio, torch's time over ours."""

    pair: Pair
    required: float

    @property
    def met(self) -> bool:
        return self.pair.rsample.ratio >= self.required


def verdicts(pairs: list[Pair]) -> list[Verdict]:
    """A verdict for every requirement whose case was measured."""
    found = []
    for pair in pairs:
        row = pair.rsample
        if row.dtype != "float32":
            continue
        if row.n in LARGE and row.draw in AT_LARGE:
            found.append(Verdict(pair, AT_LARGE[row.draw]))
        elif row.n == SMALL and row.draw in AT_SMALL:
            found.append(Verdict(pair, 1 / AT_SMALL[row.draw]))
    return found
