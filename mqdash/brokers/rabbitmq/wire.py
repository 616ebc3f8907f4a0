"""pika's AsyncioConnection with five private hooks replaced, and content frames read by us.

Stock pika makes three objects and one `send()` per frame and re-slices its receive buffer per frame. Here frames of one
loop turn leave in one write, frames are read in place, and deliveries, returns, gets and confirms of a channel that has
a `Sink` go straight to it with their properties still encoded (see `codec`). pika keeps the handshake, heartbeats, RPCs
and the life of channels. `tests/brokers/rabbitmq/test_hooks.py` fails when pika moves what is replaced here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol

from pika import exceptions, frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.io_services_utils import _AsyncTransportBase

from mqdash.brokers.rabbitmq.codec import Unsendable, short_string

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from pika.connection import Parameters

RECEIVE_BYTES = 65536
_AsyncTransportBase._MAX_RECV_BYTES = RECEIVE_BYTES  # noqa: SLF001 - stock reads 4 KiB at a time

_FRAME, _HEADER = struct.Struct(">BHI"), struct.Struct(">HHQ")
_ACK = struct.Struct(">BHIIQBB")
_TAG_FLAG = struct.Struct(">QB")
_SIZE = struct.Struct(">Q")
_END = b"\xce"
_METHOD, _CONTENT_HEADER, _BODY = 1, 2, 3
_DELIVER, _GET_OK, _RETURN = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x47", b"\x00\x3c\x00\x32"
_CONFIRMED, _REFUSED = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
_BASIC_ACK, _BASIC_NACK = 0x003C0050, 0x003C0078
_FIRST_OCTETS = frozenset({1, 2, 3, 8, 65})
_CACHED_METHODS = 512


class Sink(Protocol):
    """What a channel's owner gets, called inline: raw properties, no pika objects."""

    def on_deliver(self, tag: int, redelivered: bool, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """A delivery, or the answer to a get."""

    def on_return(self, code: int, text: str, exchange: str, key: str, properties: bytes, body: bytes) -> None:
        """A mandatory message that no queue took (R7)."""

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """The broker's ack or nack of our publishes (R11)."""


class WireConnection(AsyncioConnection):
    """A connection whose content frames are ours. `first_octets`: what the peer said, when it was no AMQP."""

    def __init__(
        self,
        parameters: Parameters,
        *,
        loop: asyncio.AbstractEventLoop,
        on_open: Callable[[Any], None],
        on_open_error: Callable[[Any, BaseException], None],
        on_close: Callable[[Any, BaseException], None],
    ) -> None:
        self.first_octets = b""
        self.sinks: dict[int, Sink] = {}
        self._running = loop
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._publish_frames: dict[tuple[int, str, str, bool], bytes] = {}
        self._contents: dict[int, _Content] = {}
        super().__init__(
            parameters,
            on_open_callback=on_open,
            on_open_error_callback=on_open_error,
            on_close_callback=on_close,
            custom_ioloop=loop,
        )

    # --- sending -----------------------------------------------------------------------------------------------------

    def publish(self, channel: int, exchange: str, key: str, mandatory: bool, properties: bytes, body: bytes) -> None:
        """Write one message of already encoded properties.

        Raises:
            Unsendable: a name is too long, or the properties do not fit a frame (they cannot be split).
        """
        if len(properties) + 12 > self._body_max_length:
            raise Unsendable(
                f"properties and headers are {len(properties)} bytes; a frame holds {self._body_max_length - 12}"
            )
        method = self._publish_frames.get((channel, exchange, key, mandatory))
        if method is None:
            method = self._cache_publish(channel, exchange, key, mandatory)
        size = len(body)
        parts = [method, _FRAME.pack(_CONTENT_HEADER, channel, 12 + len(properties)), _HEADER.pack(60, 0, size)]
        parts += (properties, _END)
        for start in range(0, size, self._body_max_length):
            piece = body if size <= self._body_max_length else body[start : start + self._body_max_length]
            parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, _END)
        self._output_marshaled_frames(parts)

    def _cache_publish(self, channel: int, exchange: str, key: str, mandatory: bool) -> bytes:
        for text, what in ((exchange, "the exchange name"), (key, "the routing key")):
            short_string(text, what)
        if len(self._publish_frames) >= _CACHED_METHODS:
            self._publish_frames.clear()
        method = spec.Basic.Publish(exchange=_wire_text(exchange), routing_key=_wire_text(key), mandatory=mandatory)
        marshaled: bytes = frame.Method(channel, method).marshal()
        self._publish_frames[channel, exchange, key, mandatory] = marshaled
        return marshaled

    def ack(self, channel: int, tag: int, *, multiple: bool = False) -> None:
        """Write basic.ack."""
        self._output_marshaled_frames([_ACK.pack(_METHOD, channel, 13, _BASIC_ACK, tag, multiple, 0xCE)])

    def give_back(self, channel: int, tag: int, *, multiple: bool = False) -> None:
        """Write basic.nack with requeue."""
        self._output_marshaled_frames([_ACK.pack(_METHOD, channel, 13, _BASIC_NACK, tag, multiple | 2, 0xCE)])

    def get(self, channel: int, queue: str) -> None:
        """Write basic.get (manual ack); the answer is a delivery to the sink, or Basic.GetEmpty."""
        self._send_method(channel, spec.Basic.Get(queue=queue, no_ack=False))

    @property
    def unwritten_bytes(self) -> int:
        """What was handed to us and has not reached the socket."""
        return self._unsent_bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        if not self._unsent:
            self._running.call_soon(self._flush)
        self._unsent += marshaled_frames
        self._unsent_bytes += sum(map(len, marshaled_frames))
        self.frames_sent += len(marshaled_frames)

    def _flush(self) -> None:
        data, self._unsent, self._unsent_bytes = b"".join(self._unsent), [], 0
        self.bytes_sent += len(data)
        if data and self._transport is not None:
            self._transport.write(data)

    def _adapter_disconnect_stream(self) -> None:
        self._flush()
        super()._adapter_disconnect_stream()

    def cut(self, cause: str) -> None:
        """Drop the socket without a goodbye; on_close gets a StreamLostError. Nothing happens when it is down."""
        if self._opened and not self.is_closed and self._transport is not None:
            self._unsent.clear()
            self._terminate_stream(exceptions.StreamLostError(cause))

    def forget(self, channel: int) -> None:
        """A channel has ended: what was under way on it will not go on."""
        self.sinks.pop(channel, None)
        self._contents.pop(channel, None)
        self._publish_frames.clear()

    # --- receiving ---------------------------------------------------------------------------------------------------

    def _on_data_available(self, data_in: bytes) -> None:
        data = self._frame_buffer + data_in if self._frame_buffer else data_in
        if not self._opened and data[0] not in _FIRST_OCTETS:
            self.first_octets = data[:32]
            raise exceptions.InvalidFrameError("the peer does not speak AMQP")
        at, end = 0, len(data)
        try:
            while end - at >= 7:
                kind, channel, size = _FRAME.unpack_from(data, at)
                start = at
                stop = at + (8 if kind == 65 else size + 8)
                if stop > end:
                    break
                at = stop
                self.bytes_received += stop - start
                if (
                    channel not in self.sinks
                    or kind > _BODY
                    or not self._content(kind, channel, data, start + 7, stop - 1)
                ):
                    decoded = frame.decode_frame(data[start:stop])[1]
                    assert decoded is not None  # the whole frame is here
                    self._process_frame(decoded)
        finally:  # a callback that raises must not lose the rest
            self._frame_buffer = data[at:]

    def _content(self, kind: int, channel: int, data: bytes, at: int, stop: int) -> bool:
        """Take a frame that belongs to content or a confirm; False leaves it to pika."""
        if data[stop] != 0xCE:
            raise exceptions.InvalidFrameError("a frame does not end where it says")
        if kind == _METHOD:
            return self._method(channel, data[at : at + 4], data, at + 4)
        content = self._contents.get(channel)
        if content is None:
            return False
        self.frames_received += 1
        if kind == _CONTENT_HEADER:
            content.missing = _SIZE.unpack_from(data, at + 4)[0]
            content.properties = data[at + 12 : stop]
        else:
            content.missing -= stop - at
            content.pieces.append(data[at:stop])
        if content.missing <= 0:
            del self._contents[channel]
            content.deliver(self.sinks[channel])
        return True

    def _method(self, channel: int, method: bytes, data: bytes, at: int) -> bool:
        if method == _DELIVER:
            at += 1 + data[at]
            tag, redelivered = _TAG_FLAG.unpack_from(data, at)
            exchange, at = _short(data, at + 9)
            self._contents[channel] = _Delivered(tag, bool(redelivered & 1), exchange, _short(data, at)[0])
        elif method in {_CONFIRMED, _REFUSED}:
            tag, multiple = _TAG_FLAG.unpack_from(data, at)
            self.sinks[channel].on_confirm(tag, bool(multiple & 1), method == _CONFIRMED)
        elif method == _GET_OK:
            tag, redelivered = _TAG_FLAG.unpack_from(data, at)
            exchange, at = _short(data, at + 9)
            self._contents[channel] = _Delivered(tag, bool(redelivered & 1), exchange, _short(data, at)[0])
        elif method == _RETURN:
            text, after = _short(data, at + 2)
            exchange, after = _short(data, after)
            code = int.from_bytes(data[at : at + 2], "big")
            self._contents[channel] = _Returned(code, text, exchange, _short(data, after)[0])
        else:
            return False
        self.frames_received += 1
        return True


class _Content:
    """A message under way on one channel: its method has come, its header and body frames follow."""

    __slots__ = ("exchange", "key", "missing", "pieces", "properties")

    def __init__(self, exchange: str, key: str) -> None:
        self.exchange = exchange
        self.key = key
        self.missing = 0
        self.properties = b""
        self.pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    def deliver(self, sink: Sink) -> None:
        raise NotImplementedError


class _Delivered(_Content):
    __slots__ = ("redelivered", "tag")

    def __init__(self, tag: int, redelivered: bool, exchange: str, key: str) -> None:
        super().__init__(exchange, key)
        self.tag = tag
        self.redelivered = redelivered

    def deliver(self, sink: Sink) -> None:
        sink.on_deliver(self.tag, self.redelivered, self.exchange, self.key, self.properties, self.body)


class _Returned(_Content):
    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str, exchange: str, key: str) -> None:
        super().__init__(exchange, key)
        self.code = code
        self.text = text

    def deliver(self, sink: Sink) -> None:
        sink.on_return(self.code, self.text, self.exchange, self.key, self.properties, self.body)


def _short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _wire_text(text: str) -> str | bytes:
    """Pika takes bytes where a name is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text
