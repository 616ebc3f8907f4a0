"""Events in, frozen views out."""

from mqdash.store.store import Store

__all__ = ["Store"]
