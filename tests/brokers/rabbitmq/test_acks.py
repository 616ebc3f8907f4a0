"""Which acks are written: never one that covers an open delivery, and in the end one for each."""

from hypothesis import given
from hypothesis import strategies as st

from mqdash.brokers.rabbitmq.acks import BATCH_SIZE, AckBook


def _book(prefetch: int, count: int) -> AckBook:
    book = AckBook(prefetch)
    for tag in range(1, count + 1):
        book.delivered(tag)
    return book


def test_below_100_every_ack_is_written_at_once() -> None:
    book = _book(99, 5)
    assert book.acked(3)
    assert book.take() == [(3, False)]


def test_from_100_on_acks_are_cumulative_over_the_settled_prefix() -> None:
    book = _book(100, 80)
    due = [book.acked(tag) for tag in range(1, BATCH_SIZE + 1)]
    assert due == [False] * (BATCH_SIZE - 1) + [True]
    assert book.take() == [(BATCH_SIZE, True)]


def test_the_last_open_delivery_is_acked_at_once() -> None:
    book = _book(100, 2)
    assert not book.acked(1)
    assert book.acked(2)
    assert book.take() == [(2, True)]


def test_what_is_done_beyond_an_open_delivery_is_acked_alone() -> None:
    book = _book(100, 6)
    for tag in (1, 2, 4, 6):
        book.acked(tag)
    assert book.take() == [(2, True), (4, False), (6, False)]


def test_a_cumulative_tag_is_itself_unacked() -> None:
    """3 was given back (nack), so an ack up to 3 would be an unknown tag (406)."""
    book = _book(100, 5)
    book.forget(3)
    book.acked(1)
    book.acked(2)
    assert book.take() == [(2, True)]


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)), st.sets(st.integers(0, 11)))
def test_every_done_tag_is_acked_once_and_no_other(order: list[int], returned: set[int], flushes: set[int]) -> None:
    book = _book(200, 12)
    outstanding = set(range(1, 13))
    open_tags = set(outstanding)
    for step, tag in enumerate(order):
        open_tags.discard(tag)
        if tag in returned:
            book.forget(tag)
            outstanding.discard(tag)  # a nack is written at once
        else:
            book.acked(tag)
        if step in flushes or step == 11:
            for acked, multiple in book.take():
                assert acked in outstanding
                covered = {one for one in outstanding if one <= acked} if multiple else {acked}
                assert not covered & open_tags
                outstanding -= covered
    assert not outstanding
