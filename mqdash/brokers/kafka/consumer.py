"""A member of a consumer group: takes, settles by forward-only commits, dies without leaving, serves its group's retries.

Commits only go forward and only for deliveries of our present assignment, counted by us: aiokafka has no public
generation, and a delivery of an old one is accepted again once the partition is regained (semantics §2.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, CorruptRecordException, IllegalStateError, KafkaError

from mqdash.brokers.kafka.errors import damage_of, stopped_at, translated
from mqdash.brokers.kafka.records import delay_s_of, message_of
from mqdash.brokers.kafka.stalls import LIMIT_S, Stall
from mqdash.brokers.kafka.starts import NOWHERE, Starts
from mqdash.brokers.kafka.way import bury, cut, stop
from mqdash.brokers.kafka.window import Window
from mqdash.brokers.life import Link
from mqdash.errors import BrokerError, ConsumerCancelled, ConsumerStalled
from mqdash.model.delivery import Ack, Delivery, Outcome, RecordClaim, Settled
from mqdash.model.topology import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka import TopicPartition

    from mqdash.brokers.kafka.moving import Mover
    from mqdash.brokers.kafka.owners import Owners
    from mqdash.brokers.life import Life
    from mqdash.model.delivery import PartitionMove, RecordsGone, Verdict
    from mqdash.model.topology import QueueRef

POLL_S: Final = 1.0
POSITION_LIMIT_S: Final = 0.2
COMMIT_LIMIT_S: Final = 10.0
UNLIMITED: Final = 5000
SETTLED: Final = Outcome(Settled.SETTLED)
HELD: Final = Outcome(Settled.HELD, "done behind an open offset")
STALE: Final = Outcome(Settled.STALE, "the partition was given away, or this record is settled already")
_Mark = tuple[Window, int]
_assignments = itertools.count(1)
"""Counts the assignments of all our members together: a claim of one member must not look like another one's."""


class KafkaConsumer(Link):
    """See `mqdash.brokers.base.Consumer`, `TellsMoves` and `TellsGone`.

    `prefetch` bounds what was taken and is not settled (0 = 5000).
    `find_topics` names the queue's topic and its group's retry topics as they are now, `find_committed` the group's commits.
    `find_unread` counts what the cluster has for a member with these positions; when that is something and nothing comes
    for `stall_limit_s`, `take` gives up.
    """

    def __init__(
        self,
        life: Life,
        name: str,
        ref: QueueRef,
        client: Any,
        *,
        prefetch: int,
        mover: Mover,
        owners: Owners,
        find_topics: Callable[[], Awaitable[frozenset[str]]],
        find_committed: Callable[[], Awaitable[Mapping[TopicPartition, int]]],
        find_unread: Callable[[str, frozenset[str], Mapping[TopicPartition, int | None]], Awaitable[int]],
        stall_limit_s: float = LIMIT_S,
    ) -> None:
        super().__init__(life, name)
        self.ref = ref
        self._client = client
        self._prefetch = prefetch if prefetch > 0 else UNLIMITED
        self._mover = mover
        self._owners = owners
        self._find_topics = find_topics
        self._find_unread = find_unread
        self._starts = Starts(client, find_committed)
        self._stall_limit_s = stall_limit_s
        self._stall = Stall(life.clock, stall_limit_s, self._unread)
        self._topics: frozenset[str] = frozenset()
        self._look_again = False
        self._assignment = next(_assignments)
        self._windows: dict[tuple[str, int], Window] = {}  # by TopicPartition, which is such a tuple
        self._arrived: deque[Delivery] = deque()
        self._waiting_for: dict[TopicPartition, float] = {}
        self._moves: list[PartitionMove] = []
        self._polling: asyncio.Task[None] | None = None
        self._settling = asyncio.Lock()
        self._paused = False
        self._over: BrokerError | None = None
        self._changed = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Records given out (or about to be) that are not committed, done behind an open one included."""
        return sum(len(window.given) for window in self._windows.values())

    @property
    def member_id(self) -> str:
        """The id its coordinator gave it; "" until it has joined."""
        return str(self._client._coordinator.member_id)  # noqa: SLF001 - a client id is not unique

    async def join(self) -> None:
        """Subscribe; the group's assignment comes while `take` waits."""
        self._subscribe(await self._find_topics())

    # --- taking ---

    async def take(self, limit: int) -> Sequence[Delivery]:
        """See `mqdash.brokers.base.Consumer.take`. A cancelled take loses nothing: its poll goes on for the next one."""
        while True:
            self.check()
            if self._over is not None:
                raise self._over
            if self._arrived and not self._paused:
                return [self._arrived.popleft() for _ in range(min(max(limit, 1), len(self._arrived)))]
            if self._look_again:
                self._look_again = False
                self._subscribe(await self._find_topics())
                continue
            if self._paused or self._room() <= 0:
                self._stall.moved()
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                try:
                    await self.unless_ended(waiting)
                finally:
                    waiting.cancel()
                continue
            await self._poll_once(limit)
            await self._check_stall()

    async def _check_stall(self) -> None:
        if self._arrived:
            self._stall.moved()
        elif waiting := await self._stall.stuck():
            text = f"no record for {self._stall_limit_s:g} s though {waiting:,} are there to read; it is opened anew"
            raise ConsumerStalled(self.life.broker, text)

    async def _unread(self) -> int:
        """What is there for us, as another client sees it; retries that are not due yet are not."""
        ours = self._client.assignment()
        places = [place for place in ours if place not in self._waiting_for]
        if ours and not places:
            return 0
        positions = await asyncio.gather(*(self._position(place) for place in places))
        return await self._find_unread(self.member_id, self._topics, dict(zip(places, positions, strict=True)))

    async def _position(self, place: TopicPartition) -> int | None:
        """Where it reads next; None when it does not know, as a stuck one may for ever."""
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(POSITION_LIMIT_S):
                return int(await self._client.position(place))
        return None

    async def _poll_once(self, limit: int) -> None:
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll(min(limit, self._room())), name=f"poll {self.name}")
        task = self._polling
        # A poll waits for an assignment as long as it takes, whatever its own limit.
        await asyncio.wait({task, self._ended}, return_when=asyncio.FIRST_COMPLETED, timeout=2 * POLL_S)
        self.check()
        if not task.done():
            return
        self._polling = None
        try:
            task.result()
        except CorruptRecordException as error:
            self._meet(error)
        except KafkaError as error:
            raise translated(self.life.broker, error, what=str(self.ref)) from None

    def _meet(self, error: CorruptRecordException) -> None:
        """Damaged records (fault 23) end this member: with its error the library drops others it had read already.

        The next member starts at the commits, and takes what stands before the damage one by one.
        """
        if (stop := stopped_at(error)) is not None:
            self._owners.met_damage(self.ref, *stop)
        damage = damage_of(error)
        if damage is None:
            self._over = translated(self.life.broker, error, what=str(self.ref))
            return
        group = f"kafka-consumer-groups --bootstrap-server <host:port> --group {self.ref.group}"
        skip = f"--topic {damage.topic}:{damage.partition} --reset-offsets --to-offset {damage.behind} --execute"
        self._over = BrokerError(self.life.broker, f"{damage}; to skip, stop the group and run {group} {skip}")

    async def _poll(self, room: int) -> None:
        if self._owners.is_damaged(self.ref):
            room = 1
        assignment = self._assignment
        try:
            found = await self._client.getmany(timeout_ms=self._resume_due(), max_records=max(room, 1))
        except NOWHERE as error:
            await self._starts.find(error, ours=lambda: assignment == self._assignment)
            return
        # No await from here on: the records belong to the assignment of this moment.
        for place, records in found.items():
            self._owners.received(self.ref, place, records[-1].offset)
            self._receive(place, records)

    def _resume_due(self) -> int:
        """Let retry partitions go on whose first record is due; how many ms to poll until the next one is."""
        now_s = self.life.clock.now()
        for place in [place for place, due_s in self._waiting_for.items() if due_s <= now_s]:
            del self._waiting_for[place]
            with contextlib.suppress(IllegalStateError):
                self._client.resume(place)
        next_s = min(self._waiting_for.values(), default=now_s + POLL_S) - now_s
        return max(int(min(next_s, POLL_S) * 1000), 1)

    def _receive(self, place: TopicPartition, records: list[Any]) -> None:
        window = self._windows.setdefault(place, Window())
        own_topic = place.topic == self.ref.name
        delay_s, now_s = 0.0 if own_topic else delay_s_of(place.topic), self.life.clock.now()
        topic, route = "" if own_topic else place.topic, Route(place.topic, "", place.partition)
        assignment, partition, queue = self._assignment, place.partition, self.ref
        for record in records:
            offset = record.offset
            if delay_s and (due_s := record.timestamp / 1000 + delay_s) > now_s:
                self._hold_back(place, offset, due_s)
                return
            window.give(offset)
            claim = RecordClaim(assignment, partition, offset, topic)
            self._arrived.append(Delivery(message=message_of(record), queue=queue, route=route, claim=claim))

    def _hold_back(self, place: TopicPartition, offset: int, due_s: float) -> None:
        """Not due: read it again when it is. All records of a retry topic wait equally long, so none behind it is due."""
        self._client.seek(place, offset)
        self._client.pause(place)
        self._waiting_for[place] = due_s

    def _room(self) -> int:
        return self._prefetch - sum(window.open for window in self._windows.values())

    def _subscribe(self, topics: frozenset[str]) -> None:
        if self.ref.name not in topics:
            self.cancel(f"topic {self.ref.name!r} was deleted")
        elif topics != self._topics:
            self._topics = topics
            self._client.subscribe(topics=sorted(topics), listener=_Listener(self))

    # --- settling ---

    async def settle(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> Sequence[Outcome]:
        """Copies of moves first, then one commit of every contiguous done prefix; see `mqdash.brokers.base.Consumer`."""
        async with self._settling:  # two commits at once could arrive in the wrong order and rewind the group
            if self.cause is not None:
                return [Outcome(Settled.STALE, self.cause)] * len(verdicts)
            failed = await self._move(verdicts)
            marks = self._marks([delivery for delivery, _ in verdicts], failed)
            self._changed.set()
            problem = await self._commit()
        return [mark if isinstance(mark, Outcome) else _outcome(mark, problem) for mark in marks]

    async def _move(self, verdicts: Sequence[tuple[Delivery, Verdict]]) -> dict[int, Outcome]:
        """Copy what is retried or dead; the outcomes of those whose copy is not proved, by index."""
        moves = [
            (index, delivery, verdict)
            for index, (delivery, verdict) in enumerate(verdicts)
            if not isinstance(verdict, Ack) and self._window_of(delivery) is not None
        ]
        if not moves:
            return {}
        made = await self._mover.move([(delivery, verdict) for _, delivery, verdict in moves])
        if self._mover.made_topics:
            self._mover.made_topics = False
            self._look_again = True
            self._wake()
        return {index: outcome for (index, _, _), outcome in zip(moves, made, strict=True) if outcome is not None}

    def _window_of(self, delivery: Delivery) -> Window | None:
        claim = delivery.claim
        if not isinstance(claim, RecordClaim) or claim.assignment != self._assignment:
            return None
        window = self._windows.get((claim.topic or self.ref.name, claim.partition))
        return window if window is not None and window.holds(claim.offset) else None

    def _marks(self, deliveries: Sequence[Delivery], failed: Mapping[int, Outcome]) -> list[_Mark | Outcome]:
        """Each is done now, but for those whose copy failed and those that are not ours."""
        own, present, windows = self.ref.name, self._assignment, self._windows
        marks: list[_Mark | Outcome] = []
        for index, delivery in enumerate(deliveries):
            claim, mark = delivery.claim, STALE
            if failed and index in failed:
                mark = failed[index]
            elif isinstance(claim, RecordClaim) and claim.assignment == present:
                window = windows.get((claim.topic or own, claim.partition))
                if window is not None and window.done(claim.offset):
                    marks.append((window, claim.offset))
                    continue
            marks.append(mark)
        return marks

    async def _commit(self) -> Outcome | None:
        """Commit what has grown; None when it is done, else what became of the records it would have covered."""
        windows = {place: (window, window.target()) for place, window in self._windows.items()}
        targets = {place: target for place, (_, target) in windows.items() if target is not None}
        if not targets:
            return None
        committing = asyncio.ensure_future(self._client.commit(targets))
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                await asyncio.wait({committing, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if not committing.done():
                return Outcome(Settled.UNKNOWN, self.cause or "")
            committing.result()
        except (CommitFailedError, IllegalStateError):
            return Outcome(Settled.STALE, "the group was rebalanced before the commit: it will come again")
        except TimeoutError:
            return Outcome(Settled.UNKNOWN, f"no answer to the commit within {COMMIT_LIMIT_S:g} s")
        except KafkaError as error:
            return Outcome(Settled.UNKNOWN, translated(self.life.broker, error).text)
        finally:
            committing.cancel()
        for place, target in targets.items():
            windows[place][0].commit(target)
        return None

    # --- the group ---

    def revoked(self) -> None:
        """Every claim of this assignment is stale from now on (K13, K14)."""
        self._end_assignment()
        self._owners.gone(self.ref, self.name, self.life.clock.monotonic())

    def assigned(self, places: set[TopicPartition]) -> None:
        """A new assignment: reading goes on at the committed offsets (K9)."""
        self._end_assignment()
        self._owners.ours.add(self.member_id)
        ours = [place.partition for place in places if place.topic == self.ref.name]
        self._moves += self._owners.assigned(self.ref, self.name, ours, self.life.clock.monotonic())
        self._look_again = True
        self._wake()

    def _end_assignment(self) -> None:
        self._assignment = next(_assignments)
        self._windows.clear()
        self._arrived.clear()
        self._waiting_for.clear()

    def cancel(self, cause: str) -> None:
        """The queue is gone: `take` says so from now on."""
        self._over = ConsumerCancelled(self.life.broker, cause)
        self._wake()

    def moved(self) -> Sequence[PartitionMove]:
        """Partitions that came to us since the last call."""
        moves, self._moves = self._moves, []
        return moves

    def gone(self) -> Sequence[RecordsGone]:
        """See `mqdash.brokers.base.TellsGone`."""
        return self._starts.gone()

    # --- pausing and ending ---

    def pause(self) -> None:
        """Take nothing more; heartbeats go on in the background."""
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    def crash(self) -> None:
        """The sockets drop, the group is not left: it learns of it when the session times out (K12)."""
        self.end("crashed")

    def dropped(self) -> None:
        """Stop the heartbeats first: with one more of them the broker would believe us alive for another session."""
        self._owners.gone(self.ref, self.name, self.life.clock.monotonic())
        tasks = cut(self._client)
        if self._polling is not None:
            self._polling.cancel()
            tasks.append(self._polling)
        self.life.start(self._bury(tasks), name=f"bury {self.name}")

    async def _bury(self, tasks: list[asyncio.Task[Any]]) -> None:
        await bury(self._client, tasks)
        await self._mover.close()

    async def leave(self) -> None:
        """Leave the group politely: its partitions move at once."""
        if not self.retire("left the group"):
            return
        self._owners.gone(self.ref, self.name, self.life.clock.monotonic())
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait({self._polling})
        await stop(self._client)
        await self._mover.close()


class _Listener(ConsumerRebalanceListener):
    """Tells the consumer about its assignment."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - eager: always all
        self._consumer.revoked()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._consumer.assigned(assigned)


def _outcome(mark: _Mark, problem: Outcome | None) -> Outcome:
    window, offset = mark
    if offset < window.committed:
        return SETTLED
    if problem is not None and (window.target() or 0) > offset:
        return problem
    return HELD
