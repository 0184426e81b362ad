"""Two parameters of which each follows from the other, such as `probs` and `logits`: one of them counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property


class Alternative(lazy_property[Any, Tensor]):
    """One of the two, in place of torch's lazy property, which computes it only once.

    The one that was given counts, until the other is assigned, or edited in place (`d.probs[0] = 0.0`); from then on
    that one does. What does not count is made of what does, and again where that has changed. So a draw and a density
    agree, whichever of the two each of them reads.
    """

    def __init__(self, derive: Callable[[Any], Tensor], name: str, other: str) -> None:
        super().__init__(derive)
        self._name, self._other = name, other
        self.__doc__ = f"As given or assigned, or else made of `{other}`."

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        own = instance.__dict__
        if "_derived" in own:
            settle(own)
        value = own.get(self._name)
        if value is None:
            if self._other not in own:
                raise AttributeError(f"{type(instance).__name__} has neither {self._name} nor {self._other}")
            value = _derived(self.wrapped, instance)
            own[self._name] = value
            own["_derived"] = Derived(self._name, value, self._other, own[self._other])
        return value

    def __set__(self, instance: Any, value: Tensor) -> None:
        # torch 2.11 does not trace `pop` of this dictionary.
        own = instance.__dict__
        own[self._name] = value
        if "_derived" in own:
            del own["_derived"]
        if self._other in own:
            del own[self._other]
            _prefer(own, self._name, self._other)


class Derived:
    """Which alternative was made of the other, and how often each had been edited in place at that time."""

    def __init__(self, name: str, value: Tensor, of: str, source: Tensor, since: tuple[int, int] = (0, 0)) -> None:
        self.name, self.value, self.of, self.source = name, value, of, source
        self._versions = _version(value) - since[0], _version(source) - since[1]

    def edits(self) -> tuple[int, int]:
        """How often each has been edited since."""
        return _version(self.value) - self._versions[0], _version(self.source) - self._versions[1]

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a tensor counts its edits from 0 again.
        return Derived, (self.name, self.value, self.of, self.source, self.edits())


def settle(own: dict[str, Any]) -> None:
    """Let the alternative that was edited count, of an instance's dictionary that has `_derived`."""
    derived = own["_derived"]
    of_value, of_source = derived.edits()
    if of_value:
        del own["_derived"], own[derived.of]
        _prefer(own, derived.name, derived.of)
    elif of_source:
        del own["_derived"], own[derived.name]


def _prefer(own: dict[str, Any], name: str, other: str) -> None:
    if "_param" in own:
        own["_param"] = own[name]
    if "_given" in own:
        own["_given"] = {name if n == other else n: _NOT_GIVEN if n == other else g for n, g in own["_given"].items()}


_NOT_GIVEN = (None, None)


def _derived(derive: Callable[[Any], Tensor], instance: Any) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        with torch.enable_grad():
            return derive(instance)
    # A tensor that is made in inference mode does not count its edits.
    with torch.inference_mode(False), torch.enable_grad():
        return derive(instance)


def _version(tensor: Tensor) -> int:
    """How often a tensor has been edited in place, where it is counted."""
    if torch.compiler.is_compiling() or tensor.is_inference():
        return 0
    return tensor._version
