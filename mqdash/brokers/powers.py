"""Wrappers that have exactly the extra powers of what they wrap, so that `isinstance(broker, CanSubscribe)` stays true or false."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

Wrapper = TypeVar("Wrapper")


def with_powers(base: type[Wrapper], inner: object, powers: Mapping[Any, type]) -> type[Wrapper]:
    """`base` plus the mixins of those protocols that `inner` has; `powers` maps a runtime-checkable protocol to its mixin."""
    return cast(
        "type[Wrapper]",
        _combined(base, tuple(mixin for protocol, mixin in powers.items() if isinstance(inner, protocol))),
    )


@lru_cache(maxsize=64)
def _combined(base: Any, mixins: tuple[type, ...]) -> Any:
    return type(base.__name__, (*mixins, base), {}) if mixins else base
