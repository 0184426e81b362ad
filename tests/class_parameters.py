"""For each class and choice of parameters its arguments: of those that torch.distributions has too, and of all."""

import torch
from every_class import examples


def spread(low, high, *shape):
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


REAL, POSITIVE, OTHER_POSITIVE = spread(-2, 2, 2, 3), spread(0.5, 3, 2, 3), spread(2, 0.7, 2, 3)
PROBS, LOGITS = spread(0.1, 0.9, 2, 3), spread(-2, 2, 2, 3)
TEMPERATURE = torch.tensor(0.7)
TRIANGLE = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.1, 0.4]])
SIMPLEX = PROBS / PROBS.sum(-1, keepdim=True)


def two_by_three(low, high):
    return spread(low, high, 2, 3)


def tensors(example):
    """The arguments of an example, of batch shape (2, 3), or (2,) where events have a shape."""
    param = (lambda low, high, *event: spread(low, high, 2, *event)) if example.has_rows else two_by_three
    given = example.arguments(param)
    # One for all: others are left to torch where its classes are accelerated.
    return given | ({"temperature": TEMPERATURE} if "temperature" in given else {})


def torchs(cls):
    """torch's class that one of ours stands for."""
    bases = (base for base in cls.__mro__ if base.__module__.startswith("torch.distributions."))
    return next((base for base in bases if base.__name__ == cls.__name__), None)


COMBINATORS = {"Independent", "MixtureSameFamily", "TransformedDistribution"}
_TABLE = [(cls, tensors(example)) for _, cls, example in examples() if cls.__name__ not in COMBINATORS]
# The names are those of both libraries.
CASES = [(cls.__name__, given) for cls, given in _TABLE if torchs(cls)]
CASES += [
    ("Binomial", {"total_count": torch.tensor([4.0, 5.0, 60.0]), "logits": LOGITS}),
    ("MultivariateNormal", {"loc": REAL, "scale_tril": TRIANGLE}),
    ("MultivariateNormal", {"loc": REAL, "covariance_matrix": TRIANGLE @ TRIANGLE.T}),
    ("Wishart", {"df": 3 + POSITIVE[:, 0], "scale_tril": TRIANGLE}),
]
EVERY_CLASS = CASES + [(cls.__name__, given) for cls, given in _TABLE if not torchs(cls)]


def identifiers(cases):
    return [f"{name}-{list(params)[-1]}" for name, params in cases]


def tensors_and_rest(params):
    """The parameters that are tensors, and the others."""
    tensors = {name: p for name, p in params.items() if isinstance(p, torch.Tensor)}
    return tensors, {name: p for name, p in params.items() if name not in tensors}


def doubled(tensors):
    """The same parameters for a batch of twice the size; matrices have none."""
    return [torch.cat((p, p)) if p.shape[:1] == (2,) else p for p in tensors.values()]
