"""The most instructions per sample that a law may compile to, on the machine code of sm_90."""

from __future__ import annotations

# (law, dtype, layout of the parameters): of the forward kernel's hot loop, in the default launch configuration.
FORWARD = {
    ("normal", "float32", "dense"): 20,
    ("normal", "float32", "scalar"): 19,
    ("normal", "bfloat16", "dense"): 21.5,
    ("normal", "bfloat16", "scalar"): 19,
    ("normal", "float16", "dense"): 21.5,
    ("normal", "float16", "scalar"): 19,
    ("uniform", "float32", "scalar"): 14,
    ("uniform", "bfloat16", "scalar"): 15,
    ("uniform", "float16", "scalar"): 15,
    ("bernoulli_probs", "float32", "dense"): 14,
    ("bernoulli_logits", "float32", "dense"): 18,
    ("normal_with_log_prob", "float32", "dense"): 27,
    **{
        (name, "float32", kind): budget
        for name, budget in {
            "laplace": 20,
            "exponential": 21,
            "gumbel": 22,
            "logistic": 23,
            "cauchy": 23,
            "half_normal": 25,
            "log_normal": 25,
            "geometric_probs": 26,
            "geometric_logits": 26,
            "weibull": 32,
            "pareto": 32,
        }.items()
        for kind in ("dense", "scalar")
    },
}

# (dtype, parameter, kernel): a category of a row.
RACE = {
    ("float32", "logits", "forward"): 22.5,
    ("float32", "probs", "forward"): 22.5,
    ("bfloat16", "logits", "forward"): 23.5,
    ("float32", "logits", "joint"): 30,
}

# (law, dtype): a sample of dense parameters whose first round is accepted at once.
LOOPS = {("gamma", "float32"): 140}
# A float32 number of a function for other people's kernels, drawn and stored.
DEVICE = {"bits": 13, "uniform": 14.5, "normal": 20, "exponential": 23, "gumbel": 25, "rademacher": 17.5}
# The kernels of the examples of fused draws, by module and kernel, the whole of them.
FUSED = {
    ("dropout_add", "forward"): 29,
    ("dropout_add", "backward"): 27,
    ("langevin", "forward"): 33,
    ("langevin", "backward"): 41,
    ("stochastic_rounding", "forward"): 25,
}
# A Normal sample of two dense parameters in a generated kernel, with what reads it, by dtype: all of the kernel's
# instructions.
COMPILED = {"float32": 30, "float16": 33, "bfloat16": 35}
# An attempt of gamma noise, of which a round makes two.
GAMMA_ATTEMPT = 60
