"""Log and group rules that the port does not show, by bare commands on the model and on real Kafka."""

import time

import pytest

from mqdash.brokers.embedded.log import partition_for
from tests.conformance.logs import HasMembers, Logs, Member, TooLarge, logs_natively
from tests.support import until

_RECENT_MS = int(time.time() * 1000) - 60_000


async def _shared_out(members: list[Member], shares: list[int]) -> None:
    """Wait until the members have so many partitions, whoever has which number, and no two the same."""

    def assigned() -> bool:
        owned = [partition for member in members for partition in member.partitions()]
        counts = sorted(len(member.partitions()) for member in members)
        return counts == sorted(shares) and len(set(owned)) == len(owned)

    await until(assigned, 20, every_s=0.02, what=f"partitions are shared out as {shares}")


async def _drained(member: Member, count: int) -> None:
    """Take so many and be done with them."""
    for partition, offset, _ in await member.take(count):
        assert await member.done(partition, offset)


@logs_natively
async def test_K1_K23_offsets_never_change_and_are_not_used_again(logs: Logs) -> None:
    assert await logs.produce(b"a", b"b", b"c") == [(0, 0), (0, 1), (0, 2)]
    assert [(one.offset, one.value) for one in await logs.read(start=1)] == [(1, b"b"), (2, b"c")]
    await logs.delete_before(2)
    assert [(one.offset, one.value) for one in await logs.read()] == [(2, b"c")]
    await logs.delete_before(3)
    assert await logs.bounds() == (3, 3)
    assert await logs.produce(b"d") == [(0, 3)]
    assert [(one.offset, one.value) for one in await logs.read()] == [(3, b"d")]
    assert await logs.produce(b"other", partition=1) == [(1, 0)]


@logs_natively
async def test_K2_a_key_stays_on_its_partition_until_there_are_more(logs: Logs) -> None:
    keys = [b"user-%d" % number for number in range(12)]

    async def places() -> list[int]:
        return [(await logs.produce(b"m", partition=None, key=key))[0][0] for key in keys]

    before = await places()
    assert before == await places() == [partition_for(key, 3) for key in keys]
    assert set(before) == {0, 1, 2}
    written = [await logs.bounds(partition) for partition in range(3)]
    await logs.grow(5)
    after = await places()
    assert after == [partition_for(key, 5) for key in keys]
    assert after != before
    for partition in range(3):  # what was written stays where it was
        start, end = await logs.bounds(partition)
        assert (start, end - after.count(partition)) == written[partition]


@logs_natively
async def test_K3_each_partition_keeps_its_order_and_all_together_do_not(logs: Logs) -> None:
    for number in range(30):
        await logs.produce(b"%d" % number, partition=number % 3)
    taken = await (await logs.join("w")).take(30)
    for partition in range(3):
        told = [(offset, int(value)) for at, offset, value in taken if at == partition]
        assert told == [(offset, 3 * offset + partition) for offset in range(10)]
    assert [int(value) for _, _, value in taken] != list(range(30))


@logs_natively
async def test_K4_every_group_receives_everything_and_nothing_goes(logs: Logs) -> None:
    await logs.produce(b"a", b"b")
    for group in ("one", "two"):
        member = await logs.join("w", group)
        assert await member.take(2) == [(0, 0, b"a"), (0, 1, b"b")]
        assert all([await member.done(0, offset) for offset in ([0] if group == "one" else [0, 1])])
    assert [await logs.committed(group=group) for group in ("one", "two")] == [1, 2]
    assert await logs.bounds() == (0, 2)


@logs_natively
async def test_K7_a_partition_has_one_member_and_surplus_members_idle(logs: Logs) -> None:
    members = [await logs.join(f"w{number}") for number in range(4)]
    await _shared_out(members, [1, 1, 1, 0])
    for partition in range(3):
        await logs.produce(b"%d" % partition, partition=partition)
    for member in members:
        mine = member.partitions()
        assert [(at, value) for at, _, value in await member.take(len(mine))] == [(at, b"%d" % at) for at in mine]


@logs_natively
async def test_K8_K9_the_committed_offset_is_the_next_to_read(logs: Logs) -> None:
    await logs.produce(b"a", b"b", b"c")
    first = await logs.join("first")
    await first.take(3)
    assert await logs.committed() is None
    assert await first.done(0, 0)
    assert await logs.committed() == 1
    await first.leave()
    second = await logs.join("second")
    assert await second.take(2) == [(0, 1, b"b"), (0, 2, b"c")]  # taken and not committed comes again


@logs_natively
async def test_K11_without_a_valid_offset_a_group_begins_at_the_earliest_record(logs: Logs) -> None:
    await logs.produce(*(b"%d" % number for number in range(6)))
    await logs.delete_before(1)
    first = await logs.join("first")
    assert await first.take(1) == [(0, 1, b"1")]  # nothing committed
    assert await first.done(0, 1)
    await first.leave()
    await logs.delete_before(4)
    assert await logs.committed() == 2
    second = await logs.join("second")
    assert await second.take(2) == [(0, 4, b"4"), (0, 5, b"5")]  # committed before the log start: silently


@logs_natively
async def test_K13_K14_a_rebalance_takes_everything_away_and_refuses_old_commits(logs: Logs) -> None:
    for partition in range(3):
        await logs.produce(b"%d" % partition, partition=partition)
    one = await logs.join("one")
    await one.take(3)
    two = await logs.join("two")
    await _shared_out([one, two], [2, 1])
    assert [await one.done(partition, 0) for partition in range(3)] == [False] * 3
    assert [await logs.committed(partition) for partition in range(3)] == [None] * 3
    for member in (one, two):  # eager: also what the first one keeps comes again
        mine = member.partitions()
        assert sorted(await member.take(len(mine))) == [(at, 0, b"%d" % at) for at in mine]
        assert all([await member.done(at, 0) for at in mine])


@logs_natively
async def test_K17_joining_leaving_and_new_partitions_rebalance(logs: Logs) -> None:
    one = await logs.join("one")
    await _shared_out([one], [3])
    two = await logs.join("two")
    await _shared_out([one, two], [2, 1])
    await two.leave()
    await _shared_out([one], [3])
    await logs.grow(5)
    await _shared_out([one], [5])
    await logs.produce(b"new", partition=4)
    assert await one.take(1) == [(4, 0, b"new")]


@logs_natively
async def test_K18_offsets_are_set_from_outside_only_while_the_group_is_empty(logs: Logs) -> None:
    await logs.produce(*(b"%d" % number for number in range(5)))
    await logs.set_offset(3, group="unheard of")
    assert await logs.committed(group="unheard of") == 3
    member = await logs.join("w")
    await _drained(member, 5)
    with pytest.raises(HasMembers):
        await logs.set_offset(2)
    assert await logs.committed() == 5
    await member.leave()
    await logs.set_offset(2)
    assert await (await logs.join("again")).take(3) == [(0, 2, b"2"), (0, 3, b"3"), (0, 4, b"4")]


@logs_natively
async def test_K19_a_reset_is_clamped_to_the_log(logs: Logs) -> None:
    await logs.produce(*(b"%d" % number for number in range(5)))
    await logs.delete_before(2)
    assert await logs.reset(99, group="late") == 5
    assert await logs.reset(0, group="early") == 2
    assert [await logs.committed(group=group) for group in ("late", "early")] == [5, 2]


@logs_natively
async def test_K24_lag_is_end_minus_committed_and_what_is_gone_is_no_lag(logs: Logs) -> None:
    await logs.produce(*(b"%d" % number for number in range(10)))
    member = await logs.join("w")
    assert await logs.committed() is None  # no offset, which is not a lag of 0
    taken = await member.take(2)
    for partition, offset, _ in taken:
        assert await member.done(partition, offset)
    await member.leave()
    committed = await logs.committed()
    assert committed == 2
    start, end = await logs.bounds()
    assert (max(start - committed, 0), end - max(start, committed)) == (0, 8)
    await logs.delete_before(7)
    start, end = await logs.bounds()
    assert (max(start - committed, 0), end - max(start, committed)) == (5, 3)
    assert await logs.committed() == 2


@logs_natively
async def test_K25_an_offset_for_a_time_is_the_first_record_not_older(logs: Logs) -> None:
    times = [_RECENT_MS + later for later in (100, 300, 200, 400)]
    for number, time_ms in enumerate(times):
        await logs.produce(b"%d" % number, times_ms=[time_ms])
    assert [one.timestamp_ms for one in await logs.read()] == times  # producer time, also when it goes back
    found = [await logs.offset_for_time(_RECENT_MS + later) for later in (0, 150, 250, 350, 500)]
    assert found == [0, 1, 1, 3, None]


@logs_natively
async def test_K27_headers_keep_order_repeats_and_null(logs: Logs) -> None:
    headers = (("a", b"1"), ("b", None), ("a", b"\x00\xff"), ("", b""))
    await logs.produce(b"v", headers=headers)
    [found] = await logs.read()
    assert found.headers == headers


@logs_natively
async def test_K28_too_large_a_record_is_refused_and_the_largest_is_not(logs: Logs) -> None:
    most = 1_048_588 - 72  # the limit is a batch's, which weighs so much beside the only value in it
    with pytest.raises(TooLarge):
        await logs.produce(b"x" * (most + 1))
    assert await logs.produce(b"x" * most) == [(0, 0)]


@logs_natively
async def test_K30_deleting_a_topic_deletes_its_groups_offsets(logs: Logs) -> None:
    await logs.produce(b"a", b"b")
    member = await logs.join("w")
    await _drained(member, 2)
    assert await logs.committed() == 2
    await member.leave()
    await logs.make_anew()
    assert await logs.committed() is None
    assert await logs.bounds() == (0, 0)
