"""One row per class that torch.distributions has too, and per choice of parameters; and the classes it has not."""

import torch


def spread(low, high, *shape):
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


REAL, POSITIVE, OTHER_POSITIVE = spread(-2, 2, 2, 3), spread(0.5, 3, 2, 3), spread(2, 0.7, 2, 3)
PROBS, LOGITS = spread(0.1, 0.9, 2, 3), spread(-2, 2, 2, 3)
TEMPERATURE = torch.tensor(0.7)
TRIANGLE = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.1, 0.4]])
LOC_SCALE = {"loc": REAL, "scale": POSITIVE}
BETA = {"concentration1": POSITIVE, "concentration0": OTHER_POSITIVE}
SIMPLEX = PROBS / PROBS.sum(-1, keepdim=True)

# The names are those of both libraries.
CASES = [
    ("Bernoulli", {"probs": PROBS}),
    ("Bernoulli", {"logits": LOGITS}),
    ("Beta", BETA),
    ("Binomial", {"total_count": 7, "probs": PROBS}),
    ("Binomial", {"total_count": torch.tensor([4.0, 5.0, 60.0]), "logits": LOGITS}),
    ("Categorical", {"probs": SIMPLEX}),
    ("Categorical", {"logits": LOGITS}),
    ("Cauchy", LOC_SCALE),
    ("Chi2", {"df": POSITIVE}),
    ("ContinuousBernoulli", {"probs": PROBS}),
    ("ContinuousBernoulli", {"logits": LOGITS}),
    ("Dirichlet", {"concentration": POSITIVE}),
    ("ExpRelaxedCategorical", {"temperature": TEMPERATURE, "logits": LOGITS}),
    ("Exponential", {"rate": POSITIVE}),
    ("FisherSnedecor", {"df1": POSITIVE, "df2": OTHER_POSITIVE}),
    ("Gamma", {"concentration": POSITIVE, "rate": OTHER_POSITIVE}),
    ("GeneralizedPareto", {**LOC_SCALE, "concentration": REAL}),
    ("Geometric", {"probs": PROBS}),
    ("Geometric", {"logits": LOGITS}),
    ("Gumbel", LOC_SCALE),
    ("HalfCauchy", {"scale": POSITIVE}),
    ("HalfNormal", {"scale": POSITIVE}),
    ("InverseGamma", {"concentration": POSITIVE, "rate": OTHER_POSITIVE}),
    ("Kumaraswamy", BETA),
    ("LKJCholesky", {"dim": 3, "concentration": POSITIVE}),
    ("Laplace", LOC_SCALE),
    ("LogNormal", LOC_SCALE),
    ("LogisticNormal", LOC_SCALE),
    ("LogitRelaxedBernoulli", {"temperature": TEMPERATURE, "probs": PROBS}),
    ("LogitRelaxedBernoulli", {"temperature": TEMPERATURE, "logits": LOGITS}),
    ("LowRankMultivariateNormal", {"loc": REAL, "cov_factor": TRIANGLE[:, :2], "cov_diag": POSITIVE}),
    ("Multinomial", {"total_count": 9, "probs": SIMPLEX}),
    ("MultivariateNormal", {"loc": REAL, "scale_tril": TRIANGLE}),
    ("MultivariateNormal", {"loc": REAL, "covariance_matrix": TRIANGLE @ TRIANGLE.T}),
    ("NegativeBinomial", {"total_count": 4.0, "probs": PROBS}),
    ("NegativeBinomial", {"total_count": 4.0, "logits": LOGITS}),
    ("Normal", LOC_SCALE),
    ("OneHotCategorical", {"probs": SIMPLEX}),
    ("OneHotCategorical", {"logits": LOGITS}),
    ("OneHotCategoricalStraightThrough", {"logits": LOGITS}),
    ("Pareto", {"scale": POSITIVE, "alpha": OTHER_POSITIVE}),
    ("Poisson", {"rate": POSITIVE}),
    ("RelaxedBernoulli", {"temperature": TEMPERATURE, "probs": PROBS}),
    ("RelaxedBernoulli", {"temperature": TEMPERATURE, "logits": LOGITS}),
    ("RelaxedOneHotCategorical", {"temperature": TEMPERATURE, "logits": LOGITS}),
    ("StudentT", {"df": OTHER_POSITIVE, **LOC_SCALE}),
    ("Uniform", {"low": REAL, "high": REAL + POSITIVE}),
    ("VonMises", {"loc": REAL, "concentration": POSITIVE}),
    ("Weibull", {"scale": POSITIVE, "concentration": OTHER_POSITIVE}),
    ("Wishart", {"df": 3 + POSITIVE[:, 0], "scale_tril": TRIANGLE}),
]

ONLY_OURS = [
    ("BernoulliStraightThrough", {"probs": PROBS}),
    ("BernoulliStraightThrough", {"logits": LOGITS}),
    ("Logistic", LOC_SCALE),
    ("TanhNormal", LOC_SCALE),
    ("TruncatedNormal", {**LOC_SCALE, "low": REAL - 1, "high": REAL + 1}),
]
EVERY_CLASS = CASES + ONLY_OURS


def identifiers(cases):
    return [f"{name}-{list(params)[-1]}" for name, params in cases]


def tensors_and_rest(params):
    """The parameters that are tensors, and the others."""
    tensors = {name: p for name, p in params.items() if isinstance(p, torch.Tensor)}
    return tensors, {name: p for name, p in params.items() if name not in tensors}


def doubled(tensors):
    """The same parameters for a batch of twice the size; matrices have none."""
    return [torch.cat((p, p)) if p.shape[:1] == (2,) else p for p in tensors.values()]
