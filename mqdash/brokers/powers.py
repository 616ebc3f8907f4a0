"""Wrappers that have exactly the extra powers of what they wrap, so that `isinstance(broker, CanSubscribe)` stays true or false."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Wrapper = TypeVar("Wrapper")
_made: dict[tuple[type, ...], Any] = {}


def with_powers(base: type[Wrapper], inner: object, powers: Mapping[Any, type]) -> type[Wrapper]:
    """`base` plus the mixins of those protocols that `inner` has; `powers` maps a runtime-checkable protocol to its mixin."""
    bases = (*(mixin for protocol, mixin in powers.items() if isinstance(inner, protocol)), base)
    if bases not in _made:
        _made[bases] = type(base.__name__, bases, {})
    made: type[Wrapper] = _made[bases]
    return made
