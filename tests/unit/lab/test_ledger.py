"""The ledger: a plain model of sets, and the same numbers from one byte per message."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mqdash.lab.channels import Channels
from mqdash.lab.ledger import BLOCK, OTHERS_LIMIT, Issued, Ledger, QueueLedger
from mqdash.model.topology import QueueRef, Route
from tests.unit.lab.labs import ORDERS

IDS = st.sampled_from(
    [f"p-{n}" for n in range(8)] + ["7", "07", "x", "p-3.done", "3.done", "-4", "p-", "p-1.", "a-b-2"]
)
CALLS = st.tuples(st.sampled_from(["confirmed", "delivered", "processed", "died"]), IDS)

OURS: dict[str, Issued] = {"p": lambda number: number < 3 * BLOCK, "": lambda number: number == 7}
OWN = {*(f"p-{n}" for n in range(8)), "7", "p-3.done"}


class Naive:
    """What the ledger means, in sets."""

    def __init__(self) -> None:
        self.sets: dict[str, set[str]] = {name: set() for name in ("confirmed", "delivered", "processed", "died")}
        self.duplicates = 0

    def call(self, what: str, message_id: str) -> None:
        if what == "processed" and message_id in self.sets["processed"] and message_id in OWN:
            self.duplicates += 1
        self.sets[what].add(message_id)

    @property
    def open_confirmed(self) -> set[str]:
        return self.sets["confirmed"] - self.sets["processed"] - self.sets["died"]


@given(st.lists(CALLS, max_size=60))
def test_the_ledger_counts_as_sets_would(calls: list[tuple[str, str]]) -> None:
    ledger, naive = QueueLedger(OURS, ("done",)), Naive()
    for what, message_id in calls:
        # A worker settles only what it was given.
        if what in {"processed", "died"}:
            ledger.delivered(message_id, redelivered=False)
            naive.call("delivered", message_id)
        extra: dict[str, Any] = {"redelivered": False} if what == "delivered" else {}
        getattr(ledger, what)(message_id, **extra)
        naive.call(what, message_id)
    counts, sets = ledger.counts(), naive.sets
    assert counts.published == len(sets["confirmed"] | sets["delivered"])
    assert counts.done == len(sets["processed"])
    assert counts.dead == len(sets["died"] - sets["processed"])
    assert counts.open == counts.published - counts.done - counts.dead
    assert counts.open_confirmed == len(naive.open_confirmed)
    assert counts.duplicates == naive.duplicates
    confirmed = [message_id for message_id, sure in ledger.open_ids().items() if sure]
    assert sorted(confirmed) == sorted(naive.open_confirmed & OWN)
    assert ledger.own.done == len(sets["processed"] & OWN)


def test_a_second_processing_of_a_long_done_message_is_still_a_duplicate() -> None:
    ledger = QueueLedger(OURS, ("done",))
    for n in range(3 * BLOCK):
        ledger.confirmed(f"p-{n}")
        ledger.delivered(f"p-{n}", redelivered=False)
        ledger.processed(f"p-{n}")
    ledger.processed("p-17")
    assert ledger.counts().duplicates == 1
    assert ledger.counts().done == 3 * BLOCK


def test_done_messages_cost_no_memory() -> None:
    ledger = QueueLedger(OURS, ("done",))
    for n in range(3 * BLOCK):
        ledger.confirmed(f"p-{n}")
        ledger.delivered(f"p-{n}", redelivered=False)
        ledger.processed(f"p-{n}")
    blocks = [block for blocks in ledger._sequences.values() for block in blocks._blocks.values()]
    assert len(blocks) == 3
    assert len({id(block) for block in blocks}) == 1


def test_foreign_ids_that_end_in_digits_cost_no_blocks_and_are_bounded() -> None:
    ledger = QueueLedger(OURS, ("done",))
    for n in range(OTHERS_LIMIT + 100):
        ledger.delivered(f"order-{n * 7919}", redelivered=False)
        ledger.delivered(f"p-{(n + 4) * BLOCK}.x{n}", redelivered=False)
    assert ledger._sequences == {}
    assert len(ledger._others) == OTHERS_LIMIT
    assert (ledger.own.published, ledger.foreign.published) == (0, 2 * (OTHERS_LIMIT + 100))


def test_an_id_a_person_uses_twice_is_no_duplicate_unless_the_broker_gave_it_out_again() -> None:
    ledger = QueueLedger(OURS)
    for redelivered, duplicates in ((False, 0), (False, 0), (True, 1)):
        ledger.delivered("mine-1", redelivered=redelivered)
        ledger.processed("mine-1")
        assert ledger.counts().duplicates == duplicates


def test_a_confirm_counts_in_every_queue_of_its_route() -> None:
    ledger = Ledger(ORDERS.topology_on(ORDERS.families))
    ledger.confirmed(Route("events.fanout"), "1.done")
    ledger.confirmed(Route("logs.topic", "order.completed"), "1.log")
    ledger.confirmed(Route("logs.topic", "stock.low"), "2.log")
    published = {
        name: ledger.counts(QueueRef(name)).published for name in ("notifications", "analytics", "logs", "orders")
    }
    assert published == {"notifications": 1, "analytics": 1, "logs": 1, "orders": 0}


def test_redelivered_is_what_the_broker_says_or_a_second_arrival() -> None:
    ledger = QueueLedger(OURS, ("done",))
    ledger.delivered("1", redelivered=True)
    ledger.delivered("2", redelivered=None)
    ledger.delivered("2", redelivered=None)
    ledger.delivered("3", redelivered=False)
    ledger.delivered("3", redelivered=False)
    assert ledger.counts().redelivered == 2


def test_P1_a_listener_is_owed_what_was_said_while_it_was_meant_to_listen() -> None:
    channels, ops = Channels(), QueueRef("ops.*")
    channels.published([ops])  # nobody listens yet: owed to nobody
    channels.joined("O1", ops)
    channels.published([ops])
    channels.received("O1", 1)
    channels.published([ops])  # O1 is away
    channels.joined("O1", ops)  # back again
    channels.published([ops])
    channels.received("O1", 1)
    channels.left("O1")
    channels.published([ops])
    assert channels.counts(ops) == (3, 1)
    assert channels.not_kept() == 1
