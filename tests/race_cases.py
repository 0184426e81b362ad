"""What the tests of draws over rows share: oracles of the race and of inversion in float64, and weights."""

import numpy as np
import oracle
import torch
from kernel_cases import packed

# Who wins may differ where the two best scores are closer than this: E has a relative error of at most 1.5e-5 on the
# hardware, and of some units in the last place where logarithms are correctly rounded, as in the emulator.
NEAR_TIE = 1e-4 if torch.cuda.is_available() else 1e-5


def exponential(key, n, dtype):
    """float64 standard exponentials of elements 0 .. n of a draw of `dtype`."""
    seed, offset = (int(x) % 2**64 for x in key.view(torch.int64))
    per_block = 2 if dtype == torch.float64 else 4
    words = oracle.words(seed, offset, -(-n // per_block)).reshape(-1)
    if per_block == 4:
        t = (words.astype(np.uint32).view(np.int32).astype(np.float64) + 0.5) * 2.0**-32
    else:
        whole = ((words[0::2] << np.uint64(32)) | words[1::2]).view(np.int64)
        t = whole.astype(np.float64) * 2.0**-64 + 2.0**-65
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(t > 0, -np.log(t), -np.log1p(t))[:n]


def scores(weights, shape, *, from_probs, key=None):
    """float64 scores of a race, of `shape`."""
    w = weights.detach().cpu().expand(shape).double().numpy()
    e = exponential(packed() if key is None else key, w.size, weights.dtype).reshape(w.shape)
    with np.errstate(divide="ignore"):
        return (np.log(w) if from_probs else w) - np.log(e)


def check_winners(index, weights, shape, *, from_probs=False, key=None):
    """Each row's winner is the oracle's, unless the two best are a near tie. Returns how many rows were that."""
    expected = scores(weights, shape, from_probs=from_probs, key=key)
    best = np.sort(expected, -1)[..., -2:]
    clear = np.ones(best.shape[:-1], bool) if best.shape[-1] < 2 else best[..., 1] - best[..., 0] > NEAR_TIE
    ours = index.cpu().numpy()
    assert ours.shape == tuple(shape[:-1])
    assert (ours[clear] == expected.argmax(-1)[clear]).all()
    assert ((ours >= 0) & (ours < shape[-1])).all()
    return int((~clear).sum())


def check_inversions(index, weights, shape, *, from_probs=False, key=None):
    """Each draw is the category whose stretch of [0, 1) its number of 64 bits lies in, except for roundings."""
    *batch, k = shape
    w = weights.detach().cpu().double().numpy()
    with np.errstate(invalid="ignore"):
        p = np.nan_to_num(w) if from_probs else np.nan_to_num(np.exp(w - np.nanmax(w, -1, keepdims=True)))
    ends = np.broadcast_to((p / p.sum(-1, keepdims=True)).cumsum(-1), shape).reshape(-1, k)
    seed, offset = (int(x) % 2**64 for x in (packed() if key is None else key).view(torch.int64))
    words = oracle.words(seed, offset, -(-len(ends) // 2)).astype(np.float64).reshape(-1, 2)[: len(ends)]
    u = (words[:, 0] + words[:, 1] * 2.0**-32) * 2.0**-32
    ours = index.cpu().numpy().reshape(-1)
    assert index.shape == tuple(batch)
    end = ends[np.arange(len(ends)), ours]
    begin = np.where(ours > 0, ends[np.arange(len(ends)), ours - 1], 0.0)
    # Roundings of the weights in float32, which add up at random.
    slack = 1e-6 if weights.dtype != torch.float64 else 1e-13
    assert ((u >= begin - slack) & (u <= end + slack)).all()
    assert (end > begin).all()  # of a category that has a probability


def check_drawn(index, weights, shape, **options):
    """By inversion where a row is drawn from more than once, else by a race."""
    repeated = weights.shape[:-1].numel() < torch.Size(shape[:-1]).numel()
    (check_inversions if repeated else check_winners)(index, weights, shape, **options)


def weights(shape, dtype, device="cpu", seed=0, from_probs=False):
    """Normal logits, or their exponentials."""
    logits = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (logits.exp() if from_probs else logits).to(dtype).to(device)
