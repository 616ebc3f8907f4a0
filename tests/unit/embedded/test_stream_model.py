"""Streams, groups and pending lists of the embedded Redis, directly on the model."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mqdash.brokers.embedded.kernel import Bounds
from mqdash.brokers.embedded.stream import Id, id_text, parse_id
from tests.unit.embedded.redis import Redis, entry


def test_S1_ids_only_grow_also_when_the_clock_steps_back() -> None:
    redis = Redis()
    first, second = redis.add("a", "b")
    redis.now -= 5
    (third,) = redis.add("c")
    redis.now += 6
    (fourth,) = redis.add("d")
    assert [first, second, third, fourth] == [(1_000_000, 0), (1_000_000, 1), (1_000_000, 2), (1_001_000, 0)]
    with pytest.raises(ValueError, match="equal or smaller"):
        redis.stream.add(entry(), redis.now, entry_id=(1_001_000, 0))
    assert parse_id(id_text(fourth)) == fourth


def test_S2_fields_keep_their_order_and_repeats() -> None:
    redis = Redis()
    fields = ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    (entry_id,) = [redis.stream.add(entry().__class__(content=fields), redis.now)]
    assert redis.stream.entries[entry_id].message.content == fields


def test_S3_each_entry_goes_to_one_consumer_in_id_order_with_count_1() -> None:
    redis = Redis()
    group = redis.group()
    ids = redis.add("a", "b", "c")
    assert redis.read("W1", 2) == ["a", "b"]
    assert redis.read("W2") == ["c"]
    assert redis.read("W1") == []
    assert group.last == ids[2]
    assert [(group.pending[key].owner, group.pending[key].count) for key in ids] == [("W1", 1), ("W1", 1), ("W2", 1)]


def test_S4_rereading_gives_only_ones_own_counts_up_and_resets_idle() -> None:
    redis = Redis()
    ids = redis.add("a", "b", "c")
    redis.read("W1", 2)
    redis.read("W2", 1)
    redis.now += 10
    given = redis.group().reread("W1", 10, redis.now)
    assert [(one.entry_id, one.count) for one in given] == [(ids[0], 2), (ids[1], 2)]
    assert redis.group().pending[ids[0]].given_s == redis.now
    assert [one.entry_id for one in redis.group().reread("W1", 10, redis.now, after=ids[0])] == [ids[1]]


def test_S5_noack_skips_the_pending_list() -> None:
    redis = Redis()
    redis.add("a")
    assert redis.read("W1", noack=True) == ["a"]
    assert redis.group().pending == {}
    redis.check_conserved()


def test_S7_ack_answers_1_then_0_and_the_entry_stays() -> None:
    redis = Redis()
    (entry_id,) = redis.add("a")
    redis.read("W1")
    assert [redis.group().ack(entry_id), redis.group().ack(entry_id)] == [True, False]
    assert entry_id in redis.stream.entries


def test_S7_an_ack_with_an_owner_leaves_what_somebody_else_claimed() -> None:
    redis = Redis()
    (entry_id,) = redis.add("a")
    redis.read("W1")
    redis.claim("W2", entry_id)
    assert not redis.group().ack(entry_id, "W1")
    assert redis.group().ack(entry_id, "W2")


def test_S8_claim_needs_a_pending_entry_that_is_idle_for_long_enough() -> None:
    redis = Redis()
    read, unread = redis.add("a", "b")
    redis.read("W1", 1)
    redis.now += 5
    assert redis.claim("W2", unread) == []
    assert redis.claim("W2", read, min_idle_s=6) == []
    assert redis.claim("W2", read, min_idle_s=5) == [read]
    pending = redis.group().pending[read]
    assert (pending.owner, pending.count, pending.given_s) == ("W2", 2, redis.now)


def test_S9_of_two_claimants_one_wins() -> None:
    redis = Redis()
    (entry_id,) = redis.add("a")
    redis.read("W1")
    redis.now += 5
    assert [redis.claim(name, entry_id, min_idle_s=5) for name in ("W2", "W3")] == [[entry_id], []]


def test_S10_autoclaim_scans_ten_times_the_count_and_drops_ids_whose_entry_is_gone() -> None:
    redis = Redis()
    ids = redis.add(*[str(number) for number in range(30)])
    redis.read("W1")
    redis.stream.delete(ids[0])
    redis.now += 5
    redis.claim("W2", *ids[1:25])  # these are not idle
    options = {"min_idle_s": 5.0, "now_s": redis.now}
    claimed, cursor, gone = redis.group().autoclaim("W3", limit=2, **options)  # type: ignore[arg-type]
    assert (claimed, cursor, gone) == ([], ids[20], [ids[0]])
    claimed, cursor, gone = redis.group().autoclaim("W3", limit=2, start=cursor, **options)  # type: ignore[arg-type]
    assert ([one.entry_id for one in claimed], cursor) == ([ids[25], ids[26]], ids[27])
    claimed, cursor, gone = redis.group().autoclaim("W3", limit=9, start=cursor, **options)  # type: ignore[arg-type]
    assert ([one.entry_id for one in claimed], cursor) == ([ids[27], ids[28], ids[29]], (0, 0))
    redis.check_conserved()


def test_S11_deleting_leaves_the_pending_id_which_reads_back_without_fields() -> None:
    redis = Redis()
    (entry_id,) = redis.add("a")
    redis.read("W1")
    assert redis.stream.delete(entry_id)
    assert not redis.stream.delete(entry_id)
    assert [(one.entry_id, one.kept) for one in redis.group().reread("W1", 10, redis.now)] == [(entry_id, None)]


def test_S12_deleting_a_consumer_loses_its_pending_entries_to_the_group() -> None:
    redis = Redis()
    redis.add("a", "b")
    redis.read("W1")
    assert redis.group().delete_consumer("W1") == 2
    assert redis.read("W2") == []
    assert len(redis.stream.ids) == 2
    redis.check_conserved()


def test_S13_setid_0_gives_everything_again_with_count_1() -> None:
    redis = Redis()
    ids = redis.add("a", "b")
    redis.read("W1")
    redis.group().ack(ids[0])
    redis.group().set_id((0, 0))
    redis.check_conserved()
    assert redis.read("W2") == ["a", "b"]
    pending = redis.group().pending
    assert [(pending[key].owner, pending[key].count) for key in ids] == [("W2", 1), ("W2", 1)]
    redis.check_conserved()


def test_S16_exact_trimming_takes_unread_and_pending_alike() -> None:
    redis = Redis()
    ids = redis.add(*"abcdefghij")
    redis.read("W1", 5)
    assert redis.stream.trim_to(2) == 8
    assert (redis.group().waiting, len(redis.group().pending), redis.group().dropped) == (2, 5, 3)
    assert redis.read("W2") == ["i", "j"]
    assert redis.group().ack(ids[0])  # a dangling id can still be acknowledged
    redis.check_conserved()


def test_S16_approximate_trimming_never_keeps_fewer_than_asked() -> None:
    redis = Redis(max_length=150)
    redis.add(*["m"] * 249)
    assert len(redis.stream.ids) == 249
    redis.add("m")
    assert len(redis.stream.ids) == 150


def test_S16_a_full_stream_forgets_its_oldest_and_counts_it() -> None:
    redis = Redis(bounds=Bounds(messages=3, size_bytes=None))
    redis.group()
    redis.add(*"abcde")
    assert redis.read("W1") == ["c", "d", "e"]
    assert (redis.stream.dropped, redis.group().dropped) == (2, 2)
    redis = Redis(bounds=Bounds(messages=None, size_bytes=20))
    redis.add(*"abcde")  # 5 bytes each with the field's name
    assert len(redis.stream.ids) == 4
    assert redis.stream.size_bytes == 20


def test_S17_lag_is_an_estimate_and_waiting_is_exact() -> None:
    redis = Redis()
    group = redis.group()
    redis.add(*"abcdefghij")
    assert (group.lag, group.waiting) == (10, 10)
    redis.read("W1", 5)
    redis.stream.trim_to(2)
    assert (group.lag, group.waiting) == (5, 2)
    redis.stream.delete(redis.stream.ids[-1])
    assert (group.lag, group.waiting) == (None, 1)


def test_S18_looking_has_no_side_effects() -> None:
    redis = Redis()
    ids = redis.add("a", "b", "c")
    assert [entry_id for entry_id, _ in redis.stream.newest(2)] == [ids[2], ids[1]]
    assert redis.read("W1") == ["a", "b", "c"]


def test_a_new_group_begins_at_the_oldest_entry_kept() -> None:
    redis = Redis()
    redis.add("a", "b", "c")
    redis.stream.trim_to(2)
    assert redis.group("late").received == 2
    redis.check_conserved("late")


class StreamMachine(RuleBasedStateMachine):
    """E2, E3 under any order of adds, reads, acks, claims, deletes and trims on a bounded stream."""

    names = st.sampled_from(["W1", "W2", "W3"])

    def __init__(self) -> None:
        super().__init__()
        self.redis = Redis(bounds=Bounds(messages=15, size_bytes=None))
        self.group = self.redis.group()
        self.owners: dict[Id, str] = {}
        self.acked: set[Id] = set()

    @rule(count=st.integers(1, 6))
    def add(self, count: int) -> None:
        self.redis.now += 0.5
        self.redis.add(*["m"] * count)

    @rule(name=names, limit=st.integers(1, 5))
    def read(self, name: str, limit: int) -> None:
        for one in self.group.read(name, limit, self.redis.now):
            assert one.entry_id not in self.owners  # E3: each entry is given to one consumer once
            assert one.entry_id not in self.acked
            self.owners[one.entry_id] = name

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), name=names)
    def ack(self, data: st.DataObject, name: str) -> None:
        entry_id = data.draw(st.sampled_from(sorted(self.owners)))
        mine = self.owners[entry_id] == name
        assert self.group.ack(entry_id, name) == mine
        if mine:
            del self.owners[entry_id]
            self.acked.add(entry_id)

    @rule(name=names, idle_s=st.floats(0.0, 2.0), limit=st.integers(1, 4))
    def claim(self, name: str, idle_s: float, limit: int) -> None:
        claimed, _, gone = self.group.autoclaim(name, min_idle_s=idle_s, limit=limit, now_s=self.redis.now)
        for one in claimed:
            self.owners[one.entry_id] = name
        for entry_id in gone:
            del self.owners[entry_id]

    @precondition(lambda self: self.redis.stream.ids)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        assert self.redis.stream.delete(data.draw(st.sampled_from(self.redis.stream.ids)))

    @rule(length=st.integers(0, 15))
    def trim(self, length: int) -> None:
        self.redis.stream.trim_to(length)

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        self.redis.check_conserved()
        assert {key: pending.owner for key, pending in self.group.pending.items()} == self.owners
        assert self.redis.stream.size_bytes == 5 * len(self.redis.stream.ids)


StreamMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestE2E3Stream = StreamMachine.TestCase
