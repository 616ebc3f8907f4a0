"""Stream rules that the port does not show, by bare commands on the model and on real Redis."""

import threading

import pytest
import redis

from tests.conformance.streams import NoGroup, RealStreams, Streams, streams_natively, streams_really


@streams_natively
def test_S1_ids_only_grow_also_behind_one_from_the_future(streams: Streams) -> None:
    first = streams.add()
    future = "99999999999999-5"
    assert streams.add(at=future) == future
    assert streams.add() == "99999999999999-6"  # the clock is far behind: the sequence grows
    for too_low in (future, first):
        with pytest.raises(ValueError, match="equal or smaller than"):
            streams.add(at=too_low)


@streams_natively
def test_S2_an_entry_keeps_its_fields_in_order_with_repeats(streams: Streams) -> None:
    fields = ((b"b", b"1"), (b"a", b"\x00\xff"), (b"b", b"2"), (b"", b""))
    added = streams.add(fields=fields)
    assert streams.entries() == [(added, fields)]


@streams_natively
def test_S3_each_entry_goes_to_one_consumer_in_order_and_is_pending_once(streams: Streams) -> None:
    ids = [streams.add(b"%d" % n) for n in range(4)]
    assert streams.read("w1", 1) == [(ids[0], b"0")]
    assert streams.read("w2", 2) == [(ids[1], b"1"), (ids[2], b"2")]
    assert streams.read("w1") == [(ids[3], b"3")]
    assert streams.read("w2") == []
    assert streams.pending() == {ids[0]: ("w1", 1), ids[1]: ("w2", 1), ids[2]: ("w2", 1), ids[3]: ("w1", 1)}


@streams_natively
def test_S4_rereading_gives_only_ones_own_counts_up_and_resets_idle(streams: Streams) -> None:
    mine, theirs = streams.add(b"mine"), streams.add(b"theirs")
    streams.read("w1", 1)
    streams.read("w2", 1)
    streams.pass_s(0.1)
    assert streams.reread("w1") == [(mine, b"mine")]
    assert streams.pending() == {mine: ("w1", 2), theirs: ("w2", 1)}
    assert streams.claim("w3", mine, min_idle_s=0.09) == []
    assert streams.claim("w3", theirs, min_idle_s=0.09) == [theirs]


@streams_natively
def test_S5_noack_skips_the_pending_list(streams: Streams) -> None:
    streams.add()
    assert len(streams.read("w", noack=True)) == 1
    assert streams.pending() == {}
    assert streams.read("w") == []


@streams_natively
def test_S7_an_ack_answers_one_then_nothing_and_deletes_no_entry(streams: Streams) -> None:
    added = streams.add()
    streams.read("w")
    assert [streams.ack(added), streams.ack(added)] == [1, 0]
    assert len(streams.entries()) == 1


@streams_natively
def test_S8_S9_a_claim_needs_a_pending_idle_entry_and_resets_its_idle_time(streams: Streams) -> None:
    held = streams.add()
    streams.read("w1")
    unread = streams.add()
    assert streams.claim("w2", unread) == []
    assert streams.claim("w2", held, min_idle_s=5.0) == []
    streams.pass_s(0.1)
    assert streams.claim("w2", held, min_idle_s=0.09) == [held]
    assert streams.claim("w3", held, min_idle_s=0.09) == []
    assert streams.pending() == {held: ("w2", 2)}


@streams_natively
def test_S10_autoclaim_goes_on_by_its_cursor_and_drops_ids_without_an_entry(streams: Streams) -> None:
    ids = [streams.add() for _ in range(5)]
    streams.read("w1")
    streams.delete(ids[3])
    first, cursor, gone = streams.autoclaim("w2", 2)
    assert (first, gone) == (ids[:2], [])
    assert cursor == ids[2]
    rest, cursor, gone = streams.autoclaim("w2", 10, start=cursor)
    assert (rest, cursor, gone) == ([ids[2], ids[4]], "0-0", [ids[3]])
    assert ids[3] not in streams.pending()


@streams_natively
def test_S11_deleting_leaves_the_pending_id_and_reads_back_as_nothing(streams: Streams) -> None:
    gone, kept = streams.add(b"gone"), streams.add(b"kept")
    streams.read("w")
    assert [streams.delete(gone), streams.delete(gone)] == [1, 0]
    assert set(streams.pending()) == {gone, kept}
    assert streams.reread("w") == [(gone, None), (kept, b"kept")]


@streams_natively
def test_S12_deleting_a_consumer_loses_what_it_had_pending(streams: Streams) -> None:
    streams.add()
    streams.add()
    streams.read("w1")
    assert streams.delete_consumer("w1") == 2
    assert streams.pending() == {}
    assert streams.read("w2") == []
    assert len(streams.entries()) == 2


@streams_natively
def test_S13_setting_the_id_back_delivers_everything_again_and_counts_anew(streams: Streams) -> None:
    ids = [streams.add(), streams.add()]
    streams.read("w1")
    streams.reread("w1")
    streams.ack(ids[1])
    streams.set_id("0")
    assert [one for one, _ in streams.read("w2")] == ids
    assert streams.pending() == {ids[0]: ("w2", 1), ids[1]: ("w2", 1)}


@streams_natively
def test_S14_without_its_group_a_reader_is_told_so(streams: Streams) -> None:
    streams.add()
    streams.read("w")
    streams.destroy_group()
    with pytest.raises(NoGroup):
        streams.read("w")
    assert len(streams.entries()) == 1


@streams_natively
def test_S16_trimming_takes_unread_and_pending_alike(streams: Streams) -> None:
    ids = [streams.add() for _ in range(10)]
    streams.read("w", 5)
    assert streams.trim(2) == 8
    assert [one for one, _ in streams.entries()] == ids[8:]
    assert list(streams.pending()) == ids[:5]
    assert [body for _, body in streams.reread("w")] == [None] * 5
    assert [one for one, _ in streams.read("w")] == ids[8:]


@streams_natively
def test_S17_lag_is_wrong_after_a_trim_and_not_known_after_a_delete(streams: Streams) -> None:
    ids = [streams.add() for _ in range(10)]
    streams.read("w", 5)
    assert streams.lag() == 5
    streams.delete(ids[7])
    assert streams.lag() is None


@streams_natively
def test_S19_reading_on_from_the_end_misses_what_came_meanwhile(streams: Streams) -> None:
    last = streams.add(b"seen")
    streams.read("w")
    missed = streams.add(b"meanwhile")
    streams.set_id("$")
    assert streams.read("w") == []
    streams.set_id(last)  # the last one seen
    assert streams.read("w") == [(missed, b"meanwhile")]


@streams_natively
def test_S18_looking_has_no_side_effects(streams: Streams) -> None:
    streams.add()
    streams.read("w")
    before = streams.pending()
    for _ in range(3):
        streams.entries()
        streams.lag()
    assert streams.pending() == before


# --- on real ones only: the port shows the model's side of these ----------------------------------------------------------


@streams_really
def test_S6_killing_a_client_moves_nothing(streams: RealStreams) -> None:
    held = streams.add()
    dying = redis.Redis(connection_pool=streams.client.connection_pool, single_connection_client=True)
    dying.execute_command("XREADGROUP", "GROUP", "g", "w1", "STREAMS", streams.key, ">")
    streams.ask("CLIENT", "KILL", "ID", dying.execute_command("CLIENT", "ID"))
    assert streams.pending() == {held: ("w1", 1)}
    assert streams.read("w2") == []


@streams_really
def test_S15_deleting_the_key_ends_a_blocked_reader(streams: RealStreams) -> None:
    ended: list[str] = []

    def block() -> None:
        try:
            streams.ask("XREADGROUP", "GROUP", "g", "w", "BLOCK", 10_000, "STREAMS", streams.key, ">")
        except (redis.ResponseError, NoGroup) as error:
            ended.append(f"{type(error).__name__} {error}")

    reader = threading.Thread(target=block)
    reader.start()
    while b"cmd=xreadgroup" not in streams.ask("CLIENT", "LIST"):
        streams.pass_s(0.01)
    streams.client.delete(streams.key)
    reader.join(5)
    assert len(ended) == 1
    assert ended[0].startswith(("ResponseError UNBLOCKED", "NoGroup"))
    with pytest.raises(NoGroup):
        streams.read("w")


@streams_really
def test_S19_reading_from_the_end_misses_what_came_before(streams: RealStreams) -> None:
    last = streams.add(b"seen")
    missed = streams.add(b"meanwhile")
    assert not streams.ask("XREAD", "STREAMS", streams.key, "$")
    [[_, found]] = streams.ask("XREAD", "STREAMS", streams.key, last)
    assert [one.decode() for one, _ in found] == [missed]


@streams_really
def test_S21_a_transaction_does_not_roll_back(streams: RealStreams) -> None:
    held = streams.add()
    streams.read("w")
    other = f"{streams.key}-string"
    streams.client.set(other, "no stream")
    pipe = streams.client.pipeline(transaction=True)
    pipe.execute_command("XADD", other, "*", "body", "x")
    pipe.execute_command("XACK", streams.key, "g", held)
    results = pipe.execute(raise_on_error=False)
    streams.client.delete(other)
    assert "WRONGTYPE" in str(results[0])
    assert results[1] == 1
    assert streams.pending() == {}  # the copy failed and the original went: why moves are scripts (F6)
