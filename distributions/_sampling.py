"""sample() and rsample(), once for every distribution."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property
from torch.nn import Parameter

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.draws.keys import watched
from rsample.kernels.stream.noise import compute_dtype

from ._alternatives import Alternative, settle
from ._arguments import unexpanded
from ._examples import Example
from ._validation import CheckedArguments, raise_pending

if TYPE_CHECKING:
    from typing_extensions import Self


# Draws of fewer numbers have gradients of their own size of parameters that were broadcast, as torch's do.
WHOLE_GRADIENTS = 2**15


def is_overridden(cls: type[Distribution], name: str) -> bool:
    """Whether a class that is neither ours nor torch's defines an attribute."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), Distribution)
    return not owner.__module__.startswith(("torch.", f"{__name__.partition('.')[0]}."))


def _samples_by_rsample(cls: type[Distribution]) -> bool:
    """Whether `sample` of torch's class, as most do, calls `rsample`."""
    torchs = next(base for base in cls.__mro__ if base.__module__.startswith("torch."))
    owner = next(base for base in torchs.__mro__ if "sample" in vars(base))
    return owner in (Distribution, torch.distributions.Gamma)


def _sample_by_rsample(self: Any, sample_shape: Sequence[int] = torch.Size(), **source: Any) -> Tensor:
    with torch.no_grad():
        x: Tensor = self.rsample(sample_shape, **source)
        return x


class KeyedSampling(CheckedArguments):
    """Mixin: `sample` and `rsample` take `generator=` and `key=`. Stands before the torch.distributions class.

    Subclasses implement `_draw`.

    A subclass may override `sample`, `rsample` and `log_prob` as one of torch's class may: whatever calls another of
    them there calls the override here.
    """

    _examples: ClassVar[tuple[Example, ...]] = ()
    _overrides: ClassVar[bool] = False  # `sample`, `rsample` or `log_prob`

    def __init__(self, *args: Any, **options: Any) -> None:
        # Where `super(Normal, self).__init__` of a subclass of our Normal arrives, to leave Normal's constructor out.
        # It goes on behind torch's Normal, where it would have arrived in a subclass of that one. So our constructors
        # call torch's by name.
        following = type(self).__mro__[type(self).__mro__.index(KeyedSampling) :]
        torchs: Any = next(base for base in following if base.__module__.startswith("torch."))
        if torchs is Distribution:
            Distribution.__init__(self, *args, **options)
        else:
            super(torchs, self).__init__(*args, **options)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._overrides = any(is_overridden(cls, name) for name in ("sample", "rsample", "log_prob"))
        if is_overridden(cls, "rsample") and not is_overridden(cls, "sample") and _samples_by_rsample(cls):
            cls.sample = _sample_by_rsample  # type: ignore[method-assign]

    def sample(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
    ) -> Tensor:
        """Draw without gradient: the result never requires grad. This is what score-function estimators use.

        Args:
            sample_shape: leading dimensions; the sample has shape `sample_shape + batch_shape + event_shape`.
            generator: take the random bits from this generator of the parameters' device instead of the default one.
            key: draw exactly the sample of this key, a uint64 tensor (seed, offset) as `torch.func._random.key` makes
                it; the same on every device. Excludes `generator`.

        Returns:
            A contiguous tensor of the parameters' promoted dtype.

        Raises:
            TypeError: sample_shape, generator or key of the wrong type; parameters that are not floating-point.
            ValueError: a negative size, a key of the wrong shape or dtype, or both key and generator.
            RuntimeError: generator, key or parameters on different devices.
        """
        raise_pending()
        return self._draw(sample_shape, generator, key, differentiable=False, log_prob=False)[0]

    def rsample(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
    ) -> Tensor:
        """Draw with pathwise gradients to every parameter (Kingma and Welling 2014, section 2.4).

        With the same key it returns the same numbers as :meth:`sample`. Arguments, result and errors are those of
        :meth:`sample`; in addition:

        Raises:
            NotImplementedError: the distribution has no reparameterisation (`has_rsample` is False).
        """
        raise_pending()
        self._check_reparameterised()
        return self._draw(sample_shape, generator, key, differentiable=True, log_prob=False)[0]

    def sample_with_log_prob(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw without gradient, with the sample's log-density from the same kernel: what REINFORCE needs.

        Gradients reach the parameters through the log-density alone, at a constant sample (the score function):
        `x, log_prob = d.sample_with_log_prob()` is `x = d.sample(); log_prob = d.log_prob(x)`. Arguments and errors are
        those of :meth:`sample`.

        Returns:
            The sample, and its log-density of shape `sample_shape + batch_shape`.
        """
        raise_pending()
        if self._overrides:
            x = self.sample(sample_shape, **source(generator, key))
            return x, self.log_prob(x)
        return self._with_log_prob(*self._draw(sample_shape, generator, key, differentiable=False, log_prob=True))

    def rsample_with_log_prob(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw with pathwise gradients, with the sample's log-density from the same kernel.

        `x, log_prob = d.rsample_with_log_prob()` is `x = d.rsample(); log_prob = d.log_prob(x)`: the gradient of the
        log-density counts how the sample moves with the parameters. Arguments and errors are those of :meth:`rsample`.

        Returns:
            The sample, and its log-density of shape `sample_shape + batch_shape`.
        """
        raise_pending()
        self._check_reparameterised()
        if self._overrides:
            x = self.rsample(sample_shape, **source(generator, key))
            return x, self.log_prob(x)
        return self._with_log_prob(*self._draw(sample_shape, generator, key, differentiable=True, log_prob=True))

    def _with_log_prob(self, sample: Tensor, log_prob: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The sample and its log-density, which is computed where the draw has not made it."""
        if log_prob is None:
            # A draw is inside of the support, and looking would wait for a GPU. torch.compile cannot trace copy.copy.
            unchecked = object.__new__(type(self))
            unchecked.__dict__.update(self.__dict__, _validate_args=False)
            # Contiguous as from a kernel, whatever the strides of parameters.
            log_prob = unchecked.log_prob(sample).contiguous()
        return sample, log_prob

    def _check_reparameterised(self) -> None:
        if not self.has_rsample:
            raise NotImplementedError(
                f"{type(self).__name__} has no reparameterised draw; use sample() with a score-function estimator"
            )

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        """The sample and, where asked for and cheaper than `log_prob` of it, its log-density.

        Both with gradients, or the latter at a constant sample.
        """
        raise NotImplementedError


class FusedSampling(KeyedSampling):
    """Mixin: draws through one kernel. Stands before the torch.distributions class among the bases.

    A class sets `_samplers`, has torch's constructor initialise it unchecked, and calls `_accept` at the end of its
    own, so that gradients are reduced to the parameters' own shapes inside the kernel: torch.distributions broadcasts
    parameters against each other, and the backward of that broadcast would want a gradient of the sample's size.
    """

    # One for each choice of parameters, such as probs or logits.
    _samplers: ClassVar[tuple[Sampler, ...]]
    _overrides_parameters: ClassVar[bool]
    # For each parameter that the draw takes, by its name: the attribute as the constructor made it, and what of.
    _given: dict[str, tuple[Any, Any]]  # tensors
    _broadcasts = False  # whether the two differ, of some parameter

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names = {name for sampler in cls._samplers for name in sampler.law.parameters}
        cls._overrides_parameters = any(hasattr(cls, name) and is_overridden(cls, name) for name in names)
        if FusedSampling in cls.__bases__ and len(cls._samplers) > 1:
            one, other = ({*sampler.law.parameters} for sampler in cls._samplers)
            (one_name,), (other_name,) = one - other, other - one
            for name, partner in ((one_name, other_name), (other_name, one_name)):
                torchs = inspect.getattr_static(cls, name)
                if isinstance(torchs, lazy_property):
                    setattr(cls, name, Alternative(torchs.wrapped, name, partner))

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        if self._is_of_given_transforms():
            return super()._draw(sample_shape, generator, key, differentiable=differentiable, log_prob=log_prob)
        shape = self._batch_shape + self._event_shape if self._event_shape else self._batch_shape
        if sample_shape or not isinstance(sample_shape, torch.Size):
            shape = checked_sample_shape(sample_shape) + shape
        sampler, params = self._draw_with()
        attributes = self._attributes(params, shape) if differentiable or log_prob else None
        joint = (sampler.with_log_prob if differentiable else sampler.with_score) if log_prob else None
        if joint is None:
            sample = sampler(
                params, shape, generator=generator, key=key, differentiable=differentiable, attributes=attributes
            )
            return (sample,)
        sample, log_density = joint(
            params, shape, generator=generator, key=key, differentiable=True, attributes=attributes
        )
        return sample, log_density

    def _attributes(self, params: list[Tensor], shape: torch.Size) -> dict[int, Tensor] | None:
        """Of the parameters that are recorded by autograd, by position, the attributes that are others than these.

        Such an attribute takes the parameter's place where its graph is another one: it was made where none was
        recorded, or has been told to require a gradient. It does so in small draws, too: there a gradient of the
        sample's size costs less than the choice.
        """
        # torch.jit.trace checks itself by a second trace, in which no gradient is recorded.
        if not self._broadcasts or not torch.is_grad_enabled() or torch._C._get_tracing_state():
            return None
        found = {}
        plain = all(type(p) in (Tensor, Parameter) for p in params)
        small = plain and not watched() and shape.numel() < WHOLE_GRADIENTS
        for i, (attribute, given) in enumerate(self._given.values()):
            if attribute is given or params[i] is not given:
                continue
            if given.requires_grad and attribute.requires_grad and not attribute.is_leaf and not small:
                found[i] = attribute
            elif given.requires_grad or attribute.requires_grad:
                params[i] = attribute
        return found

    def _is_of_given_transforms(self) -> bool:
        """Whether a subclass of a transformed distribution has left its constructor out, to give a base and transforms.

        These need not be those of the class.
        """
        return "_given" not in self.__dict__ and isinstance(self, torch.distributions.TransformedDistribution)

    def _draw_with(self) -> tuple[Sampler, list[Tensor]]:
        """The sampler and its parameters, each in the shape it was given in."""
        own = self.__dict__
        if "_derived" in own:
            settle(own)
        if self._overrides_parameters or "_given" not in own:
            return self._draw_with_attributes()
        params = []
        for name, (broadcast, given) in self._given.items():
            current = getattr(self, name)
            # An attribute that has been set since then counts, not what the constructor was given.
            kept = current is broadcast and (type(given) is not Parameter or _is_of(current, given))
            params.append(given if kept else current)
        sampler = self._samplers[0]
        return sampler if name in sampler.law.parameters else self._samplers[1], params

    def _draw_with_attributes(self) -> tuple[Sampler, list[Tensor]]:
        """As torch's draw reads them, which takes probs rather than logits: of a subclass that gives its own."""
        sampler, own = self._samplers[0], self.__dict__
        name = sampler.law.parameters[-1]
        if len(self._samplers) > 1 and not is_overridden(type(self), name):
            made = "_derived" in own and own["_derived"].name == name
            if made or name not in own:
                sampler = self._samplers[1]
        return sampler, [getattr(self, name) for name in sampler.law.parameters]

    @property
    def _from_logits(self) -> bool:
        """Whether draws and densities are of `logits` rather than `probs`."""
        return "logits" in self._draw_with()[0].law.parameters

    def _checked_log_prob_at(self, value: Tensor) -> Tensor:
        """`log_prob` of a class whose law's formula is right wherever `value` may be."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob_at(value)

    def _log_prob_at(self, value: Tensor) -> Tensor:
        """The log-density at `value` by the law's own formula, from the attributes: what a fused draw gives as well.

        Computed in float32 where `value` and the parameters are narrower.
        """
        if self._is_of_given_transforms():
            return super().log_prob(value)
        law = self._draw_with()[0].law
        assert law.density is not None
        return widened(law.density.at, value, *(getattr(self, name) for name in law.parameters))

    def _accept(self, validate_args: bool | None, **given: object) -> None:
        """Check the parameters; remember each as it was before the constructor broadcast it, in a sampler's order."""
        self._check_arguments(validate_args)
        self._given, self._broadcasts = {}, False
        for name, value in given.items():
            broadcast = getattr(self, name)
            if value is not broadcast:
                self._broadcasts = True
                if not isinstance(value, Tensor):
                    value = unexpanded(broadcast)
            self._given[name] = (broadcast, value)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        fused = next(cls for cls in type(self).__mro__ if "_samplers" in vars(cls))
        new: Self = self._get_checked_instance(fused, _instance)
        params = self._draw_with()[1]
        own = self.__dict__
        # torch expands each alternative that is there, and the one that was made of the other does not count.
        derived = own.pop("_derived", None)
        if derived is not None:
            del own[derived.name]
        super().expand(torch.Size(batch_shape), _instance=new)
        if derived is not None:
            own["_derived"], own[derived.name] = derived, derived.value
        if "_given" in own:
            new._broadcasts = True
            new._given = {name: (getattr(new, name), param) for name, param in zip(self._given, params, strict=False)}
        return new


def source(generator: torch.Generator | None, key: Tensor | None) -> dict[str, Any]:
    """The arguments that a caller has given: a method that overrides a draw need not know the others."""
    given: dict[str, Any] = {}
    if generator is not None:
        given["generator"] = generator
    if key is not None:
        given["key"] = key
    return given


def _is_of(attribute: Tensor, given: Parameter) -> bool:
    """Whether an attribute is still what a constructor made of a Parameter, to which `Module.double()` gives memory of
    another dtype, and `Module.to` of another device."""
    if attribute is given:
        return True
    if attribute.dtype != given.dtype or attribute.device != given.device:
        return False
    return watched() or type(attribute) is not Tensor or given.data_ptr() == attribute.data_ptr()


def checked_sample_shape(sample_shape: Sequence[int]) -> torch.Size:
    """`sample_shape` as a torch.Size, or an error that names it."""
    try:
        shape = sample_shape if isinstance(sample_shape, torch.Size) else torch.Size(sample_shape)
    except TypeError as error:
        raise TypeError(f"sample_shape must be a sequence of integers, got {sample_shape!r}") from error
    if shape and min(shape) < 0:
        raise ValueError(f"sample_shape must not have negative sizes, got {tuple(shape)}")
    return shape


def widened(function: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """A function of tensors, in float32 where all are narrower; the result is rounded to the dtype they promote to."""
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in operands))
    wide = compute_dtype(dtype)
    return function(*(t.to(wide) for t in operands)).to(dtype)
