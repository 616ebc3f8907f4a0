"""Exchanges and bindings of the embedded RabbitMQ: which queues a message goes to (R1-R6, R8). Pure, no time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mqdash.model.message import Wire
from mqdash.model.routing import headers_match, topic_matches
from mqdash.model.topology import Destination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mqdash.model.message import Headers, HeaderValue
    from mqdash.model.topology import Binding

KINDS: Final = frozenset({"direct", "fanout", "topic", "headers"})
PREDECLARED: Final = tuple(f"amq.{kind}" for kind in ("direct", "fanout", "topic", "headers", "match"))
CACHE_LIMIT: Final = 4096


class Exchanges:
    """All exchanges of a server and what is bound to them. Destinations and bindings are the port's own records."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Destination] = {}
        self._bindings: dict[str, dict[Binding, None]] = {}
        self._routes: dict[tuple[str, str], tuple[str, ...]] = {}
        self._by_headers = False
        for name in PREDECLARED:
            kind = "headers" if name == "amq.match" else name.removeprefix("amq.")
            self.add(Destination(name=name, kind=kind))

    def get(self, name: str) -> Destination | None:
        """The exchange of that name."""
        return self._exchanges.get(name)

    def add(self, exchange: Destination) -> None:
        """Create it (the caller has checked name and kind)."""
        self._exchanges[exchange.name] = exchange
        self._bindings[exchange.name] = {}
        self._changed()

    def delete(self, name: str) -> None:
        """Delete it with the bindings from it and to it."""
        self._exchanges.pop(name, None)
        self._bindings.pop(name, None)
        self._unbind(lambda binding: binding.destination == name)

    def bind(self, binding: Binding) -> None:
        """Add a binding; the same one twice is one."""
        self._bindings[binding.source][binding] = None
        self._changed()

    def unbind_queue(self, queue: str) -> None:
        """Remove every binding to a queue that is gone."""
        self._unbind(lambda binding: binding.queue is not None and binding.queue.name == queue)

    def forget_transient(self) -> None:
        """The server restarted: exchanges that are not durable are gone."""
        for name in [name for name, exchange in self._exchanges.items() if not exchange.durable]:
            self.delete(name)

    def _unbind(self, goes: Callable[[Binding], bool]) -> None:
        for bound in self._bindings.values():
            for binding in [binding for binding in bound if goes(binding)]:
                del bound[binding]
        self._changed()

    def _changed(self) -> None:
        self._routes.clear()
        self._by_headers = any(
            exchange.kind == "headers" and self._bindings[name] for name, exchange in self._exchanges.items()
        )

    def all(self) -> Iterator[Destination]:
        """Every exchange but the default and the predeclared ones, in order of name."""
        return (found for name, found in sorted(self._exchanges.items()) if name not in PREDECLARED)

    def bindings(self) -> Iterator[Binding]:
        """Every binding, in order of source, then of creation."""
        return (binding for _, bound in sorted(self._bindings.items()) for binding in bound)

    def route(self, exchange: str, keys: Sequence[str], headers: Headers) -> tuple[str, ...]:
        """Names of the queues the message goes to, each once (R4), in a fixed order; the exchange must exist.

        The default exchange "" is not asked for here: its key is the queue's name (R1).
        """
        if len(keys) == 1 and not self._by_headers:
            known = self._routes.get((exchange, keys[0]))
            if known is None:
                if len(self._routes) >= CACHE_LIMIT:
                    self._routes.clear()
                known = self._routes[exchange, keys[0]] = self._walk(exchange, keys, ())
            return known
        return self._walk(exchange, keys, headers)

    def _walk(self, first: str, keys: Sequence[str], headers: Headers) -> tuple[str, ...]:
        queues: dict[str, None] = {}
        tried = {first}
        todo = [first]
        while todo:
            name = todo.pop(0)
            exchange = self._exchanges.get(name)
            if exchange is None:
                continue
            hits = [found for found in self._bindings[name] if matches(exchange.kind, found, keys, headers)]
            queues |= dict.fromkeys(found.queue.name for found in hits if found.queue is not None)
            onward = [found.destination for found in hits if found.destination is not None]
            if not hits and exchange.alternate is not None:
                onward = [exchange.alternate]
            todo += [found for found in onward if found not in tried]
            tried.update(onward)
        return tuple(queues)


def matches(kind: str, binding: Binding, keys: Sequence[str], headers: Headers) -> bool:
    """Whether an exchange of this kind passes a message with these keys and headers along the binding (R2, R3)."""
    match kind:
        case "fanout":
            return True
        case "direct":
            return binding.key in keys
        case "topic":
            return any(topic_matches(binding.key, key) for key in keys)
        case _:
            return headers_match(dict(binding.headers), {name: _text(value) for name, value in headers})


def _text(value: HeaderValue) -> str:
    """Bindings of the port carry text; a number matches its decimal text."""
    if isinstance(value, Wire):
        value = value.value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
