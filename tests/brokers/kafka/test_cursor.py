"""Which records of a dead-letter partition are removed, as one committed offset with its metadata."""

from hypothesis import given
from hypothesis import strategies as st

from mqdash.brokers.kafka.cursor import METADATA_LIMIT, Cursor


def test_K23_a_done_prefix_moves_the_cursor_and_the_rest_is_marked() -> None:
    cursor = Cursor(5).with_removed([5, 6, 9])
    assert (cursor.offset, cursor.removed) == (7, {9})
    cursor = cursor.with_removed([7, 8])
    assert (cursor.offset, cursor.removed, cursor.metadata()) == (10, set(), "mqdash1:")
    assert [cursor.holds(offset) for offset in (4, 9, 10)] == [False, False, True]


@given(st.integers(0, 2**40), st.sets(st.integers(0, 3000), max_size=400))
def test_what_is_committed_is_read_back(offset: int, behind: set[int]) -> None:
    cursor = Cursor(offset).with_removed(offset + one for one in behind)
    metadata = cursor.metadata()
    assert metadata is not None
    again = Cursor.read(cursor.offset, metadata, start=0, end=offset + 4000)
    assert (again.offset, again.removed) == (cursor.offset, cursor.removed)


def test_a_commit_says_which_transaction_made_it() -> None:
    for removed in ({0}, {5, 7}):
        cursor = Cursor(0).with_removed(removed, "4f2a")
        again = Cursor.read(cursor.offset, cursor.metadata() or "", start=0, end=9)
        assert (again.offset, again.removed, again.by) == (cursor.offset, cursor.removed, "4f2a")


def test_marks_that_do_not_fit_beside_an_offset_are_not_cut() -> None:
    assert Cursor(0).with_removed(range(1, 4000, 2)).metadata() is None
    fits = Cursor(0).with_removed(range(1, 3000, 2)).metadata()
    assert fits is not None
    assert len(fits) <= METADATA_LIMIT
    assert len(Cursor(0).with_removed(range(1, 100_000)).metadata() or "") < 20


def test_K21_a_commit_that_retention_overtook_starts_at_the_log_start() -> None:
    metadata = Cursor(0).with_removed([3, 8]).metadata() or ""
    cursor = Cursor.read(0, metadata, start=6, end=20)
    assert (cursor.offset, cursor.removed) == (6, {8})


def test_fault_31_a_topic_made_anew_forgets_the_cursor_of_the_old_one() -> None:
    assert Cursor.read(500, "", start=0, end=3).offset == 0


@given(st.text())
def test_metadata_of_others_marks_nothing_and_never_fails(text: str) -> None:
    for metadata in (text, "mqdash1:" + text):
        cursor = Cursor.read(0, metadata, start=0, end=50)
        assert cursor.offset <= 50
        assert all(one < 50 for one in cursor.removed)
    assert Cursor.read(2, text.replace("mqdash1:", ""), start=0, end=50).removed == set()
