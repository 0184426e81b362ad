"""Subclasses of this package's classes behave as the same subclasses of torch's do: what they override counts."""

import pytest
import torch
import torch.distributions as td
from torch.distributions import constraints
from torch.distributions.utils import lazy_property, logits_to_probs, probs_to_logits

import rsample.distributions as dist

P = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
BOTH = [dist, td]
either_library = pytest.mark.parametrize("library", BOTH, ids=["ours", "torchs"])


def lazy(library):
    """As TorchRL's OneHotCategorical and MaskedCategorical override them."""

    class Lazy(library.Categorical):
        @lazy_property
        def logits(self):
            return probs_to_logits(self.probs)

        @lazy_property
        def probs(self):
            return logits_to_probs(self.logits)

    return Lazy


def masked(library):
    """The first category is left out of the parameters that the class shows."""

    class Masked(library.Categorical):
        @property
        def probs(self):
            probs = self._given_probs.clone()
            probs[..., 0] = 0
            return probs / probs.sum(-1, keepdim=True)

        @probs.setter
        def probs(self, value):
            self._given_probs = value

        @property
        def logits(self):
            return self.probs.log()

    return Masked


def half(library):
    """Half of its logits, which torch's constructor sets."""

    class Half(library.Categorical):
        @property
        def logits(self):
            return self._halved

        @logits.setter
        def logits(self, value):
            self._halved = value / 2

    return Half


def own_parameter(library):
    class OwnParameter(library.Categorical):
        @property
        def _param(self):
            return self.__dict__["_own_param"]

        @_param.setter
        def _param(self, value):
            self.__dict__["_own_param"] = value

        @property
        def param_shape(self):
            return self._param.shape

        def _new(self, *args, **options):
            return self._param.new(*args, **options)

    return OwnParameter


def own_expand(library):
    """With torch's method, copied."""

    class OwnExpand(library.Categorical):
        def __init__(self, *args, label="", **options):
            super().__init__(*args, **options)
            self.label = label

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(OwnExpand, _instance)
            shape = torch.Size(batch_shape) + torch.Size((self._num_events,))
            if "probs" in self.__dict__:
                new._param = new.probs = self.probs.expand(shape)
            if "logits" in self.__dict__:
                new._param = new.logits = self.logits.expand(shape)
            new._num_events, new.label = self._num_events, self.label
            td.Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
            return new

    return OwnExpand


@pytest.mark.parametrize("make", [lazy, masked, half, own_parameter, own_expand])
@pytest.mark.parametrize("name", ["probs", "logits"])
def test_a_categorical_that_overrides_what_it_is_made_of(make, name):
    if (make, name) in ((masked, "logits"), (half, "probs")):
        pytest.skip("torch's constructor cannot set them")
    value = P if name == "probs" else P.log()
    ours, theirs = (make(library)(**{name: value}) for library in BOTH)
    for d in (ours,) if make in (masked, half) else (ours, ours.expand((3, 2))):  # torch's cannot be expanded
        reference = theirs if d is ours else theirs.expand(d.batch_shape)
        torch.testing.assert_close(d.probs, reference.probs)
        torch.testing.assert_close(d.logits, reference.logits)
        x = d.sample((20_000,))
        # Of a share of 20,000 draws: six standard deviations.
        share = torch.nn.functional.one_hot(x, 4).double().mean(0)
        torch.testing.assert_close(share, reference.probs.double(), atol=0.02, rtol=0)
        torch.testing.assert_close(d.log_prob(x), reference.log_prob(x))
        torch.testing.assert_close(d.entropy(), reference.entropy())
        x, log_prob = d.sample_with_log_prob((3,))
        torch.testing.assert_close(log_prob, reference.log_prob(x))
        assert d.param_shape == reference.param_shape
        assert d.enumerate_support().shape == reference.enumerate_support().shape
        assert repr(d) == repr(reference)


@either_library
def test_attributes_that_the_constructor_sets_can_be_set(library):
    d = library.Categorical(P)
    d._param = d._param.double()
    d._num_events = 4
    assert d._new((2,)).dtype == torch.float64
    assert d.enumerate_support().shape == (4, 2)


def ordered(library):
    """As Pyro's OrderedLogistic: a Categorical of other parameters."""

    class Ordered(library.Categorical):
        arg_constraints = {"predictor": constraints.real, "cutpoints": constraints.real_vector}  # noqa: RUF012

        def __init__(self, predictor, cutpoints, validate_args=None):
            q = torch.sigmoid(cutpoints - predictor.unsqueeze(-1))
            self.predictor, self.cutpoints = predictor, cutpoints
            one, zero = torch.ones_like(q[..., :1]), torch.zeros_like(q[..., :1])
            super().__init__(torch.cat((q, one), -1) - torch.cat((zero, q), -1), validate_args=validate_args)

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(Ordered, _instance)
            new.predictor, new.cutpoints = self.predictor.expand(batch_shape), self.cutpoints
            return super().expand(batch_shape, new)

    return Ordered


def test_a_categorical_of_other_parameters():
    predictor, cutpoints = torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 0.5, 2.0])
    ours, theirs = (ordered(library)(predictor, cutpoints) for library in BOTH)
    assert repr(ours) == repr(theirs)
    torch.testing.assert_close(ours.expand((3, 2)).probs, theirs.expand((3, 2)).probs)
    assert ours.expand((3, 2)).sample((5,)).shape == (5, 3, 2)
    for library in BOTH:
        with pytest.raises(ValueError, match="predictor"):
            ordered(library)(torch.tensor([torch.nan, 1.0]), cutpoints)
        with pytest.raises(ValueError, match="cutpoints"):
            ordered(library)(predictor, cutpoints * torch.nan)


@pytest.mark.parametrize("family", ["OneHotCategorical", "OneHotCategoricalStraightThrough"])
def test_constraints_of_a_subclasss_own_are_checked(family):
    for library in BOTH:
        base = getattr(library, family)

        class Tempered(base):
            arg_constraints = {**base.arg_constraints, "temperature": constraints.positive}  # noqa: RUF012

            def __init__(self, temperature, *args, **options):
                self.temperature = temperature
                super().__init__(*args, **options)

        Tempered(torch.tensor(1.0), P)
        with pytest.raises(ValueError, match="temperature"):
            Tempered(torch.tensor(-1.0), P)


@pytest.mark.parametrize("family", ["OneHotCategorical", "OneHotCategoricalStraightThrough", "Multinomial"])
@pytest.mark.parametrize("inner", [td.Categorical, lazy(dist), masked(dist)], ids=["torchs", "lazy", "masked"])
def test_another_categorical_in_its_place(family, inner):
    d = getattr(dist, family)(*((5,) if family == "Multinomial" else ()), probs=P)
    d._categorical = inner(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2))
    x = d.sample((40,))
    assert x.sum((0, 1))[:2].sum() == 0
    assert x.shape == (40, 2, 4) if family == "Multinomial" else x.shape[::2] == (40, 4)
    if d.has_rsample:
        assert d.rsample((40,)).sum((0, 1))[:2].sum() == 0


def test_a_relaxed_categorical_that_overrides_its_logits():
    class Reversed(dist.ExpRelaxedCategorical):
        @property
        def logits(self):
            return super().logits.flip(-1)

    x = Reversed(torch.tensor(0.1), logits=torch.tensor([0.0, 0.0, 100.0])).sample((50,))
    assert (x.argmax(-1) == 0).all()


# -- expand, integers


FAMILIES = {
    "Categorical": lambda library, **w: library.Categorical(**w),
    "OneHotCategorical": lambda library, **w: library.OneHotCategorical(**w),
    "OneHotCategoricalStraightThrough": lambda library, **w: library.OneHotCategoricalStraightThrough(**w),
    "Multinomial": lambda library, **w: library.Multinomial(3, **w),
    "RelaxedOneHotCategorical": lambda library, **w: library.RelaxedOneHotCategorical(torch.tensor(0.5), **w),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
@pytest.mark.parametrize("batch", [(), (1,), (2, 1), (0,)])
@pytest.mark.parametrize("then", [[(4,), (3,)], [(4,), (1,)], [(4,), ()], [(0,), (0,)], [(2, 1), (2, 0)], [(5, 2, 3)]])
@pytest.mark.parametrize("used", [False, True])
def test_expand_is_torchs(family, batch, then, used):
    td.Distribution.set_default_validate_args(False)  # torch's own checks of no rows fail
    results = []
    for library in BOTH:
        d = FAMILIES[family](library, probs=torch.ones(*batch, 6) / 6)
        if used:
            _ = d.probs, d.logits
        try:
            for shape in then:
                d = d.expand(shape)
            results.append((d.batch_shape, d.sample((2,)).shape, d.logits.shape, d.probs.shape))
            assert library is td or d.log_prob(d.sample()).shape == d.batch_shape
        except RuntimeError as error:
            results.append(str(error))
    if "0 elements" in str(results[1]):  # torch's own check of a sample without elements
        assert isinstance(results[0], tuple)
    else:
        assert results[0] == results[1]


@every_family
@pytest.mark.parametrize("name", ["probs", "logits"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
def test_integers_are_promoted(family, name, dtype):
    weights = torch.tensor([1, 0, 1]) if dtype == torch.bool else torch.tensor([1, 0, 3])
    made, errors = [], []
    for library in BOTH:
        try:
            made.append(FAMILIES[family](library, **{name: weights.to(dtype)}))
        except Exception as error:
            errors.append(type(error))
    if errors:
        assert errors[0] == errors[1]
        return
    ours, theirs = made
    x = ours.sample((40,))
    assert x.dtype == theirs.sample().dtype
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.probs, theirs.probs)
    with dist.accelerate():
        assert theirs.sample((40,)).dtype == x.dtype
    if name == "probs" and family != "RelaxedOneHotCategorical":
        assert not (x[..., 1].any() if x.dim() > 1 else (x == 1).any())


def leaving_out_normal(library):
    class Skipping(library.Normal):
        def __init__(self, loc, scale):
            self.loc, self.scale = loc, scale
            super(library.Normal, self).__init__(loc.shape, validate_args=False)

    return Skipping(torch.zeros(3), torch.ones(3))


def leaving_out_multivariate_normal(library):
    """As GPyTorch's, whose covariance need not be a matrix in memory."""

    class Skipping(library.MultivariateNormal):
        def __init__(self, loc):
            self.loc = loc
            super(library.MultivariateNormal, self).__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

        def rsample(self, sample_shape=(), base_samples=None):
            return self.loc.expand(*sample_shape, *self.loc.shape)

    return Skipping(torch.zeros(2, 3))


def leaving_out_log_normal(library):
    class Skipping(library.LogNormal):
        def __init__(self, loc, scale):
            super(library.LogNormal, self).__init__(
                library.Normal(loc, scale), [library.ExpTransform(), library.AffineTransform(10.0, 1.0)]
            )

        def expand(self, batch_shape, _instance=None):
            return super().expand(batch_shape, self._get_checked_instance(Skipping, _instance))

    return Skipping(torch.zeros(3), torch.ones(3))


def leaving_out_chi2(library):
    class Skipping(library.Chi2):
        def __init__(self, df, rate):
            super(library.Chi2, self).__init__(df / 2, rate)

    return Skipping(torch.full((3,), 200.0), torch.full((3,), 5.0))


def leaving_out_independent(library):
    class Skipping(library.Independent):
        def __init__(self, base):
            self.base_dist, self.reinterpreted_batch_ndims = base, 1
            super(library.Independent, self).__init__(torch.Size(), base.batch_shape, validate_args=False)

    return Skipping(library.Normal(torch.zeros(3), 1.0))


@pytest.mark.parametrize(
    "make",
    [
        leaving_out_normal,
        leaving_out_multivariate_normal,
        leaving_out_log_normal,
        leaving_out_chi2,
        leaving_out_independent,
    ],
)
def test_a_constructor_that_leaves_out_that_of_the_class_it_names(make):
    """As with torch's classes, what it calls is the constructor behind."""
    ours, theirs = (make(library) for library in BOTH)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    x = ours.rsample((1000,))
    assert x.shape == theirs.rsample((1000,)).shape
    if make is not leaving_out_multivariate_normal:
        torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
        torch.testing.assert_close(ours.rsample_with_log_prob((2,))[1].shape, theirs.log_prob(x[:2]).shape)
        # Both are means of 3,000 numbers of a deviation below 2: within five standard errors of each other.
        a, b = theirs.log_prob(x).mean(), theirs.log_prob(theirs.sample((1000,))).mean()
        torch.testing.assert_close(a, b, atol=0.2, rtol=0)
    if make is leaving_out_log_normal:
        assert (x > 10).all()
        assert (ours.expand((2, 3)).sample() > 10).all()


@pytest.mark.parametrize("name", sorted(n for n in dist.__all__ if isinstance(getattr(td, n, None), type)))
def test_classes_are_derived_as_torchs_are(name):
    ours, theirs = getattr(dist, name), getattr(td, name)
    for base in theirs.__mro__:
        if base is getattr(td, base.__name__, None):
            assert issubclass(ours, getattr(dist, base.__name__))
