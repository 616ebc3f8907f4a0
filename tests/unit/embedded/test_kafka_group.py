"""Consumer groups of the embedded Kafka, directly on the model."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mqdash.brokers.embedded.kernel import Bounds
from tests.unit.embedded.kafka import Kafka

if TYPE_CHECKING:
    from mqdash.brokers.embedded.group import Member


def test_K4_every_group_receives_everything_and_reading_deletes_nothing() -> None:
    kafka = Kafka(partitions=1)
    kafka.produce("a", "b")
    for group in ("g1", "g2"):
        member = kafka.join("C", group=group)
        assert kafka.fetch(member, group=group) == [(0, 0, "a"), (0, 1, "b")]
    assert kafka.topic.retained == 2


def test_K7_each_partition_has_one_owner_and_surplus_members_idle() -> None:
    kafka = Kafka(partitions=3)
    members = [kafka.join(name) for name in ("C1", "C2", "C3", "C4")]
    assert [member.partitions for member in members] == [(0,), (1,), (2,), ()]
    kafka.produce("m")
    assert [len(kafka.fetch(member)) for member in members] == [1, 0, 0, 0]


def test_K8_the_committed_offset_is_the_next_to_read() -> None:
    kafka = Kafka(partitions=1)
    member = kafka.join("C1")
    assert kafka.committed() is None
    kafka.produce("a", "b")
    kafka.fetch(member)
    assert kafka.settle(member, 0, 0)
    assert kafka.committed() == 1


def test_K9_done_behind_an_open_offset_is_committed_with_it_and_never_goes_back() -> None:
    kafka = Kafka(partitions=1)
    member = kafka.join("C1")
    kafka.produce(*"abcd")
    kafka.fetch(member)
    commits = []
    for offset in (2, 1, 3, 0):
        assert kafka.settle(member, 0, offset)
        commits.append(kafka.committed())
    assert commits == [None, None, None, 4]
    assert not kafka.settle(member, 0, 2)  # settled once is settled


def test_K12_E4_a_crash_is_noticed_after_the_session_timeout_and_replays_from_the_committed_offset() -> None:
    kafka = Kafka(partitions=1)
    first, second = kafka.join("C1"), kafka.join("C2")
    kafka.produce(*"abc")
    kafka.fetch(first)
    kafka.settle(first, 0, 0)
    kafka.group().crash(first, kafka.now)
    kafka.advance(5.9)
    assert kafka.owners() == ["C1"]
    assert kafka.fetch(second) == []
    kafka.woken.clear()
    kafka.advance(0.1)
    assert kafka.owners() == ["C2"]
    assert "C2" in kafka.woken
    assert kafka.fetch(second) == [(0, 1, "b"), (0, 2, "c")]
    assert kafka.group().cursors["t", 0].again == 2
    kafka.check_conserved()


def test_K13_a_commit_of_an_older_assignment_is_refused() -> None:
    kafka = Kafka(partitions=2)
    first = kafka.join("C1")
    kafka.produce("a", partition=0)
    kafka.produce("b", partition=1)
    kafka.fetch(first)
    assignment = kafka.group().assignment
    kafka.join("C2")
    assert not kafka.settle(first, 0, 0, assignment=assignment)  # kept the partition, but not the assignment
    assert not kafka.settle(first, 1, 0, assignment=assignment)
    assert kafka.committed(0) is None
    assert kafka.fetch(first) == [(0, 0, "a")]  # eager: read again from the committed offset (K14)


def test_K17_join_leave_and_growth_rebalance_and_a_polite_leave_does_so_at_once() -> None:
    kafka = Kafka(partitions=4)
    first = kafka.join("C1")
    second = kafka.join("C2")
    assert kafka.owners() == ["C1", "C2", "C1", "C2"]
    kafka.group().leave(second, kafka.now)
    assert kafka.owners() == ["C1"] * 4
    kafka.cluster.grow("t", 5, kafka.now)
    assert first.partitions == (0, 1, 2, 3, 4)


def test_K17_moves_are_told_once_by_the_new_owner_with_the_gap() -> None:
    kafka = Kafka(partitions=2)
    first, second = kafka.join("C1"), kafka.join("C2")
    assert [(move.partition, move.from_member, move.gap_s) for move in first.moves] == [(0, "", None), (1, "", None)]
    assert [(move.partition, move.from_member, move.gap_s) for move in second.moves] == [(1, "C1", 0.0)]
    first.moves.clear()
    kafka.group().crash(second, kafka.now)
    kafka.advance(10.0)
    assert [(move.partition, move.from_member, move.to_member) for move in first.moves] == [(1, "C2", "C1")]
    assert first.moves[0].gap_s == pytest.approx(6.0)  # noticed at its due time, however late we looked


def test_K18_offsets_can_be_set_from_outside_only_while_the_group_is_empty() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=3, size_bytes=None))
    member = kafka.join("C1")
    kafka.produce(*"abcde")
    kafka.fetch(member)
    for offset in (2, 3, 4):
        kafka.settle(member, 0, offset)
    with pytest.raises(ValueError, match="has members"):
        kafka.group().reset(0, 2)
    kafka.group().leave(member, kafka.now)
    assert kafka.group().reset(0, 0) == 2  # K19: clamped to the log start
    assert kafka.group().reset(0, 99) == 5
    assert kafka.group().reset(0, 4) == 4
    assert kafka.fetch(kafka.join("C1")) == [(0, 4, "e")]


def test_K11_a_committed_offset_before_the_log_start_begins_at_the_earliest() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=2, size_bytes=None))
    member = kafka.join("C1")
    kafka.produce("a")
    kafka.fetch(member)
    kafka.settle(member, 0, 0)
    kafka.group().leave(member, kafka.now)
    kafka.produce(*"bcde")
    assert kafka.fetch(kafka.join("C1")) == [(0, 3, "d"), (0, 4, "e")]
    assert kafka.group().cursors["t", 0].lost == 2
    kafka.check_conserved()


def test_K21_records_in_hand_survive_the_log_forgetting_them() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=2, size_bytes=None))
    member = kafka.join("C1")
    kafka.produce("a", "b")
    assert len(kafka.fetch(member)) == 2
    kafka.produce(*"cdef")
    kafka.check_conserved()
    assert kafka.settle(member, 0, 0)
    assert kafka.settle(member, 0, 1)
    kafka.check_conserved()
    assert kafka.fetch(member) == [(0, 4, "e"), (0, 5, "f")]
    assert kafka.group().cursors["t", 0].lost == 2


def test_prefetch_bounds_what_is_given_and_not_settled() -> None:
    kafka = Kafka(partitions=2)
    member = kafka.join("C1", prefetch=3)
    kafka.produce(*"abcd", partition=0)
    kafka.produce(*"efgh", partition=1)
    given = kafka.fetch(member)
    assert len(given) == 3
    assert kafka.fetch(member) == []
    partition, offset, _ = given[1]
    kafka.settle(member, partition, offset)
    assert len(kafka.fetch(member)) == 1


def test_partitions_of_a_member_take_turns() -> None:
    kafka = Kafka(partitions=2)
    member = kafka.join("C1")
    kafka.produce(*"abc", partition=0)
    kafka.produce(*"def", partition=1)
    assert {kafka.fetch(member, 1)[0][0] for _ in range(2)} == {0, 1}


def test_K30_deleting_a_topic_takes_its_groups_and_retry_topics_along() -> None:
    kafka = Kafka(partitions=1)
    member = kafka.join("C1")
    retry = kafka.cluster.retry_topic(kafka.group(), 1.0).name
    assert retry == "t.g.retry.1s"
    kafka.cluster.delete("t")
    assert kafka.cluster.topics == {}
    assert kafka.cluster.groups == {}
    assert member.partitions == ()


class GroupMachine(RuleBasedStateMachine):
    """E2, E3, K8 under any order of joins, crashes, leaves, reads and settles on a bounded log."""

    def __init__(self) -> None:
        super().__init__()
        self.kafka = Kafka(partitions=3, bounds=Bounds(messages=20, size_bytes=None))
        self.members: list[Member] = []
        self.held: dict[tuple[int, int], tuple[Member, int]] = {}
        self.names = 0
        self.commits = [0, 0, 0]

    @rule(partition=st.integers(0, 2), count=st.integers(1, 8))
    def produce(self, partition: int, count: int) -> None:
        self.kafka.produce(*["m"] * count, partition=partition)

    @precondition(lambda self: len(self.members) < 4)
    @rule(prefetch=st.integers(0, 5))
    def join(self, prefetch: int) -> None:
        self.names += 1
        self.members.append(self.kafka.join(f"C{self.names}", prefetch=prefetch))

    @precondition(lambda self: self.members)
    @rule(data=st.data(), politely=st.booleans())
    def go(self, data: st.DataObject, politely: bool) -> None:
        member = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
        if politely:
            self.kafka.group().leave(member, self.kafka.now)
        else:
            self.kafka.group().crash(member, self.kafka.now)

    @rule(by_s=st.floats(0.1, 7.0))
    def advance(self, by_s: float) -> None:
        self.kafka.advance(by_s)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), limit=st.integers(1, 10))
    def fetch(self, data: st.DataObject, limit: int) -> None:
        member = data.draw(st.sampled_from(self.members))
        assignment = self.kafka.group().assignment
        for partition, offset, _ in self.kafka.fetch(member, limit):
            before = self.held.get((partition, offset))
            assert before is None or before[1] != assignment  # E3: never in two hands in one assignment
            self.held[partition, offset] = (member, assignment)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.held)))
        member, assignment = self.held.pop(place)
        settled = self.kafka.settle(member, *place, assignment=assignment)
        assert settled == (assignment == self.kafka.group().assignment and member in self.members)

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        self.kafka.check_conserved()

    @invariant()
    def commits_only_go_forward(self) -> None:
        commits = [self.kafka.committed(partition) or 0 for partition in range(3)]
        assert all(now >= before for now, before in zip(commits, self.commits, strict=True))
        self.commits = commits


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestE2E3KafkaGroup = GroupMachine.TestCase
