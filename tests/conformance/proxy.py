"""A TCP proxy that can be cut, slowed and made to lie: the faults of every network, without touching the broker."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65536
SLICE_S = 0.05
"""Under a limit on the rate so much passes at once."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards to `host:port`; `cut()` drops all connections and refuses new ones, `silence()` forwards nothing until `speak()`.

    `mute()`: what is sent arrives, the answers do not; `muted` counts their bytes.
    `reset()`: all connections end by a reset, new ones are welcome, as after the idle time of a load balancer.
    `delay_s`: how long each answer is on its way. `bytes_per_s`: so many pass each way of each connection (0 = no limit).
    `rewrite`: what becomes of the bytes of the answers. `opened` counts the connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._muted = False
        self.muted = 0
        self.opened = 0
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.rewrite: Callable[[bytes], bytes] = _as_it_is
        self._server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def reset(self) -> None:
        for writer in self._writers:
            if not writer.transport.is_closing():
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        self._writers.clear()

    def silence(self) -> None:
        self._flowing.clear()

    def speak(self) -> None:
        """End a silence; what was kept back goes on its way."""
        self._flowing.set()

    def mute(self) -> None:
        self._muted = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._writers.add(writer)
        try:
            onward, back = await asyncio.open_connection(*self._there)
        except OSError:
            writer.close()
            return
        self._writers.add(back)
        for source, sink, answers in ((reader, back, False), (onward, writer, True)):
            line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
            for forwarding in (self._read(source, line, answers=answers), self._write(line, sink, answers=answers)):
                task = asyncio.create_task(forwarding)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _read(
        self, source: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]], *, answers: bool
    ) -> None:
        clock = asyncio.get_running_loop().time
        data = b"begun"
        while data:
            data = b""
            with contextlib.suppress(OSError):
                data = await source.read(max(int(self.bytes_per_s * SLICE_S), 1) if self.bytes_per_s else CHUNK_BYTES)
            line.put_nowait((clock() + (self.delay_s if answers else 0.0), data))
            if self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)

    async def _write(
        self, line: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while True:
                due_s, data = await line.get()
                await asyncio.sleep(max(due_s - clock(), 0.0))
                if not data:
                    break
                await self._flowing.wait()
                if answers and self._muted:
                    self.muted += len(data)
                    continue
                sink.write(self.rewrite(data) if answers else data)
                await sink.drain()
        sink.close()


def _as_it_is(data: bytes) -> bytes:
    return data


def advertised(there: int, here: int) -> Callable[[bytes], bytes]:
    """A rewrite for Kafka, which names its own port in its answers: clients come back through the proxy."""
    old, new = (b"127.0.0.1" + struct.pack(">i", port) for port in (there, here))
    return lambda data: data.replace(old, new)
