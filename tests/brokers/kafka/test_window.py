"""What may be committed: the contiguous done prefix, forward only (K8)."""

from mqdash.brokers.kafka.owners import Owners
from mqdash.brokers.kafka.records import delay_s_of, is_side_topic, retry_topic
from mqdash.brokers.kafka.window import Window
from mqdash.model.delivery import PartitionMove
from mqdash.model.topology import QueueRef


def _given(*offsets: int) -> Window:
    window = Window()
    for offset in offsets:
        window.give(offset)
    return window


def test_K8_the_target_is_the_next_offset_after_the_done_prefix() -> None:
    window = _given(5, 6, 9)  # offsets may have gaps (K1)
    assert window.target() is None
    window.done(6)
    assert window.target() is None
    window.done(5)
    assert window.target() == 7
    window.done(9)
    assert window.target() == 10


def test_K8_what_is_committed_is_neither_held_nor_committed_again() -> None:
    window = _given(0, 1, 2)
    window.done(0)
    window.commit(1)
    assert (window.committed, window.open, window.target()) == (1, 2, None)
    assert [window.holds(offset) for offset in range(4)] == [False, True, True, False]
    window.done(1)
    assert not window.holds(1)
    assert window.open == 1


def test_a_move_is_told_by_the_new_owner_with_the_gap() -> None:
    owners, ref = Owners(), QueueRef("t", "g")
    owners.assigned(ref, "a", [0, 1], 10.0)
    owners.gone(ref, "a", 11.0)
    assert owners.assigned(ref, "a", [1], 12.0) == []
    assert owners.assigned(ref, "b", [0], 13.0) == [
        PartitionMove(partition=0, from_member="a", to_member="b", gap_s=2.0)
    ]


def test_retry_topics_are_named_by_their_delay_and_never_shown() -> None:
    assert retry_topic("t", "g", 0) == "t.g.retry.0s"
    assert retry_topic("t", "g", 3.0) == "t.g.retry.5s"
    assert delay_s_of("t.g.retry.5s") == 5.0
    assert delay_s_of("t") == 0.0
    assert is_side_topic("t.g.retry.100ms")
    assert not is_side_topic("t.retry.later")
