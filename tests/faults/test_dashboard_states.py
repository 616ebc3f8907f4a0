"""A broker that is not well is a state on the screen: address, cause in words, next try; the others work on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mqdash.config import Config, Profile
from mqdash.errors import ReadOnly
from mqdash.model.broker import LinkState
from mqdash.model.message import Draft
from mqdash.model.topology import Route
from mqdash.runtime import Target, attach_targets, lab_target
from tests.faults.command import CANARY
from tests.faults.dashboards import Board, board
from tests.faults.ports import Answer, hangs_up, make_certificate, serving, silent, unused
from tests.harness import Target as RealTarget
from tests.harness import broker_targets
from tests.support import until


def attach(url: str) -> Target:
    [target] = attach_targets([url], Config(), {}, write=False)
    return target


@asynccontextmanager
async def beside_a_lab(url: str, home: Path) -> AsyncIterator[Board]:
    """The embedded lab, and a broker attached beside it; afterwards the lab must have worked on all the time."""
    lab = await asyncio.to_thread(lab_target, "orders", None, None, {}, seed=7)  # reads its file
    async with board([lab, attach(url)], home) as shown:
        await until(lambda: shown.confirmed("orders") > 0)
        yield shown  # its Flow is of the lab, until a test turns it
        before = shown.confirmed("orders")
        await until(lambda: shown.confirmed("orders") > before, what="the lab works on")
        assert shown.state("orders") is LinkState.UP
        assert CANARY not in shown.text + shown.story


async def test_1_a_broker_that_is_not_there_is_a_state_beside_one_that_works(tmp_path: Path) -> None:
    port = unused()
    async with beside_a_lab(f"amqp://guest:{CANARY}@127.0.0.1:{port}/", tmp_path) as shown:
        await shown.shows("✗ 127.0.0.1", "down, again")
        assert "nothing here touches a real broker" not in shown.text
        await shown.tells(f"rabbitmq at 127.0.0.1:{port}", "cannot be reached", "nothing listens there", "trying again")
        first = shown.beside
        assert first.retry_at_s is not None
        await until(lambda: (shown.beside.retry_at_s or 0) > (first.retry_at_s or 0))
        assert shown.story.count("cannot be reached") == 1  # told once, not with each try
        await shown.turn_to_next()
        await shown.shows(f"amqp://guest@127.0.0.1:{port}", "nothing listens there", "down, again")


async def test_19_a_name_that_does_not_resolve_is_a_state(tmp_path: Path) -> None:
    async with beside_a_lab(f"amqp://guest:{CANARY}@no-such-host.invalid/", tmp_path) as shown:
        await shown.turn_to_next()
        await shown.shows("no-such-host.invalid:5672", "does not resolve", "down, again")


async def test_3_a_port_that_says_nothing_is_a_state_within_8_s(tmp_path: Path) -> None:
    async with serving(silent) as port, beside_a_lab(f"amqp://u:{CANARY}@127.0.0.1:{port}/", tmp_path) as shown:
        started_s = time.monotonic()
        assert shown.beside.state is LinkState.CONNECTING
        await shown.shows("connecting")
        await shown.turn_to_next()
        await shown.shows(f"127.0.0.1:{port}", "said nothing", "down, again", timeout_s=9)
        assert time.monotonic() - started_s < 8.5


@pytest.mark.parametrize(
    ("scheme", "answer", "says"),
    [("amqp", hangs_up, "closed the connection during the handshake"), ("redis", hangs_up, "took the connection")],
)
async def test_18_a_server_that_hangs_up_is_a_state(scheme: str, answer: Answer, says: str, tmp_path: Path) -> None:
    async with serving(answer) as port, beside_a_lab(f"{scheme}://u:{CANARY}@127.0.0.1:{port}", tmp_path) as shown:
        await shown.turn_to_next()
        await shown.shows(f"127.0.0.1:{port}", says)


async def test_16_a_certificate_nobody_vouches_for_is_refused_and_never_tried_in_plain_text(tmp_path: Path) -> None:
    context = make_certificate(tmp_path).context()
    async with (
        serving(hangs_up, context) as port,
        beside_a_lab(f"amqps://u:{CANARY}@localhost:{port}/", tmp_path) as shown,
    ):
        await shown.turn_to_next()
        await shown.shows(f"localhost:{port}", "certificate", "self-signed")
        assert shown.beside.state is LinkState.REFUSED


@asynccontextmanager
async def counted(there: str) -> AsyncIterator[tuple[int, list[int]]]:
    """A port that leads to `host:port` and counts the connections made."""
    host, _, port = there.rpartition(":")
    made: list[int] = []

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(1)
        onward, back = await asyncio.open_connection(host, int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, back), pump(onward, writer), return_exceptions=True)

    async with serving(lead) as own:
        yield own, made


@broker_targets("rabbitmq")
async def test_13_a_wrong_password_is_said_once_and_not_tried_again(target: RealTarget, tmp_path: Path) -> None:
    async with (
        counted(target.url.rpartition("@")[2].rstrip("/")) as (port, made),
        beside_a_lab(f"amqp://guest:{CANARY}@127.0.0.1:{port}/", tmp_path) as shown,
    ):
        await shown.turn_to_next()
        await shown.shows(f"127.0.0.1:{port}", "refused", "login refused for user 'guest'")
        await shown.tells("refuses us", "login refused", "not tried again until")
        tries = len(made)
        await asyncio.sleep(2)  # longer than the first two waits of a retry
        assert len(made) == tries
        assert shown.beside.retry_at_s is None
        shown.attachment(shown.beside.name).link.retry_now()
        await until(lambda: len(made) > tries)


@broker_targets("rabbitmq")
async def test_15_a_missing_vhost_is_a_state(target: RealTarget, tmp_path: Path) -> None:
    async with beside_a_lab(target.url.rstrip("/") + "/no-such", tmp_path) as shown:
        await shown.turn_to_next()
        await shown.shows("no vhost 'no-such'", "refused")


@broker_targets("redis", "kafka")
async def test_17_another_broker_on_the_port_is_a_state(target: RealTarget, tmp_path: Path) -> None:
    address = target.url.rpartition("//")[2].partition("/")[0]
    async with beside_a_lab(f"amqp://u:{CANARY}@{address}/", tmp_path) as shown:
        await shown.turn_to_next()
        await shown.shows(address, f"speaks {target.family.capitalize()}, not AMQP")


@broker_targets("rabbitmq")
async def test_read_only_is_said_and_nothing_can_be_written(target: RealTarget, tmp_path: Path) -> None:
    config = Config(profiles={"shop": Profile(url=target.url)})
    async with board(attach_targets(["@shop"], config, {}, write=False), tmp_path) as shown:
        await shown.shows("read-only", "shop")
        await until(lambda: shown.state("shop") is LinkState.UP)
        attachment = shown.attachment("shop")
        for writing in ("declare", "remove", "publisher", "consume", "requester", "lease"):
            assert not hasattr(attachment.life, writing)
        with pytest.raises(ReadOnly, match="--write"):
            await shown.runtime.control.publish("shop", Route("", "anything"), Draft(body=b"x"))
