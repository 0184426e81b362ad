"""An independent oracle in numpy: Philox, the uniform grid and Box-Muller in float64. Imports nothing of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def philox4x32(counter, key, rounds=10):
    """Four uint64 arrays of 32-bit words; `counter` four arrays of words, `key` two numbers."""
    c = [np.asarray(word, np.uint64) for word in counter]
    k0, k1 = (int(word) for word in key)
    for _ in range(rounds):
        p0, p1 = c[0] * _M0, c[2] * _M1
        c = [(p1 >> _32) ^ c[1] ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c[3] ^ np.uint64(k1), p0 & _LOW]
        k0, k1 = (k0 + _W0) % 2**32, (k1 + _W1) % 2**32
    return c


def words(seed, offset, blocks):
    """(blocks, 4) uint64: the words of blocks offset, offset + 1, ... of a seed's stream."""
    number = [(offset + i) % 2**64 for i in range(blocks)]
    low = np.array([n % 2**32 for n in number], np.uint64)
    high = np.array([n >> 32 for n in number], np.uint64)
    zero = np.zeros(blocks, np.uint64)
    return np.stack(philox4x32((low, high, zero, zero), (seed % 2**32, seed >> 32)), -1)


def uniform(words, bits):
    """float64 u in [0, 1): the low bits of every word, or for 53 bits of every pair of words, high word first."""
    if bits == 53:
        pairs = words.reshape(-1, 2)
        whole = ((pairs[:, 0] & np.uint64(0x1FFFFF)) << _32) | pairs[:, 1]
    else:
        whole = words.reshape(-1) & np.uint64(2**bits - 1)
    return whole.astype(np.float64) * 2.0**-bits


def normal32(words):
    """float64 standard normals of a float32 draw; radius of the even word, angle of the odd one.

    The radius takes u as a float32 stream rounds it: word * 2**-32 + 2**-33 with both roundings to float32.
    """
    pairs = words.reshape(-1, 2)
    even = (pairs[:, 0].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)).astype(np.float64)
    angle = 2 * np.pi * ((pairs[:, 1].astype(np.float64) + 0.5) * 2.0**-32)
    radius = np.sqrt(-2 * np.log(even))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(-1)


def normal64(words):
    """float64 standard normals of a float64 draw; two words make a number."""
    w = words.astype(np.float64)
    even = (w[:, 0] * 2.0**-32 + w[:, 1] * 2.0**-64) + 2.0**-65
    angle = 2 * np.pi * ((w[:, 2] * 2.0**-32 + w[:, 3] * 2.0**-64) + 2.0**-65)
    radius = np.sqrt(-2 * np.log(even))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).reshape(-1)


def signed(words, bits):
    """int64 of each word (32 bits), or of each pair of words, the high one first (64 bits)."""
    if bits == 64:
        pairs = words.reshape(-1, 2)
        return ((pairs[:, 0] << _32) | pairs[:, 1]).view(np.int64)
    return words.reshape(-1).astype(np.uint32).view(np.int32).astype(np.int64)


def centered(words, bits):
    """float64 numbers in [-1/2, 1/2] that are never 0."""
    return signed(words, bits).astype(np.float64) * 2.0**-bits + 2.0 ** -(bits + 1)


def exponential(words, bits):
    """float64 standard exponentials: -log(u), u = t or 1 + t; exact also where 1 - u is small."""
    t = centered(words, bits)
    return np.where(t > 0, -np.log(np.where(t > 0, t, 1.0)), -np.log1p(np.where(t > 0, 0.0, t)))


def known_answers():
    """(rounds, counter, key, output) for every line of kat_vectors.txt."""
    for line in (Path(__file__).parent / "kat_vectors.txt").read_text().splitlines():
        if line.startswith("philox4x32 "):
            _, rounds, *hexadecimal = line.split()
            numbers = [int(word, 16) for word in hexadecimal]
            yield int(rounds), numbers[:4], numbers[4:6], numbers[6:]
