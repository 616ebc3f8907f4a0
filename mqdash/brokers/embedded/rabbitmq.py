"""The embedded RabbitMQ: what its queues do with messages. A pure state machine (E1).

`RabbitServer` = what exists (`rabbit_topology.py`) + who is there (`rabbit_clients.py`) + what is here: publishing,
delivery, settling, deaths. Time is passed in as Unix seconds, chance is an injected RNG, timers are due times somebody
else watches (`next_due_s`, `advance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mqdash.brokers.embedded import deaths as death_records
from mqdash.brokers.embedded.channel import (
    ACCESS_REFUSED,
    DIRECT_REPLY_TO,
    NOT_FOUND,
    PRECONDITION_FAILED,
    Channel,
    Confirm,
    Subscriber,
)
from mqdash.brokers.embedded.queue import NEVER, Entry, ReadyQueue
from mqdash.brokers.embedded.rabbit_clients import ClientServer
from mqdash.model.message import Amqp, Message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mqdash.brokers.embedded.channel import Held
    from mqdash.brokers.embedded.deaths import Death


class RabbitServer(ClientServer):
    """Everything a channel can ask of the server about messages. Errors close the channel and raise ChannelClosed."""

    # --- publishing

    def publish(
        self, channel: Channel, exchange: str, key: str, message: Message, now_s: float, *, mandatory: bool = False
    ) -> Confirm:
        """Route and enqueue; each message is answered once, in order (R11, R12)."""
        if channel.closed:
            channel.check()
        if message.size_bytes > self.max_message_bytes:
            self.fail(channel, PRECONDITION_FAILED, f"message size {message.size_bytes} is larger than max size", now_s)
        native = message.native
        if isinstance(native, Amqp):
            if native.expiration is not None and not native.expiration.isdecimal():
                self.fail(channel, PRECONDITION_FAILED, f"invalid expiration {native.expiration!r}", now_s)
            if native.reply_to == DIRECT_REPLY_TO:
                message = self._with_reply_address(channel, message, now_s)
        if not exchange and key.startswith(DIRECT_REPLY_TO + "."):
            return self._hand_reply(key, message, mandatory=mandatory)
        keys: tuple[str, ...] = (key,)
        deaths: tuple[Death, ...] = ()
        if message.headers:
            keys = death_records.arriving_keys(message, key)
            if len(keys) > 1:
                message = message.with_headers((), without=frozenset({"BCC"}))
            if self.honours_deaths:
                deaths = death_records.parse(message.header("x-death"))
        targets = self._targets(channel, exchange, keys, message, now_s)
        if not targets:
            self.note(now_s, "unroutable", exchange, key)
            return Confirm.RETURNED if mandatory else Confirm.ACK
        taken = True
        for name in targets:
            taken &= self._enqueue(self.queues[name], Entry(message, exchange, keys, deaths), now_s)
        return Confirm.ACK if taken else Confirm.NACK

    def _targets(
        self, channel: Channel, exchange: str, keys: tuple[str, ...], message: Message, now_s: float
    ) -> tuple[str, ...]:
        if not exchange:
            return tuple(name for name in dict.fromkeys(keys) if name in self.queues)
        found = self.exchanges.get(exchange)
        if found is None:
            self.fail(channel, NOT_FOUND, f"no exchange '{exchange}' in vhost '/'", now_s)
        if found.internal:
            self.fail(channel, ACCESS_REFUSED, f"cannot publish to internal exchange '{exchange}'", now_s)
        return self.exchanges.route(exchange, keys, message.headers)

    def _with_reply_address(self, channel: Channel, message: Message, now_s: float) -> Message:
        """C2: the pseudo address becomes an opaque one, if the channel consumes from it."""
        if channel.reply_token is None:
            self.fail(channel, PRECONDITION_FAILED, "fast reply consumer does not exist", now_s)
        native = message.native
        assert isinstance(native, Amqp)
        address = f"{DIRECT_REPLY_TO}.{channel.reply_token}"
        return msgspec.structs.replace(message, native=msgspec.structs.replace(native, reply_to=address))

    def _hand_reply(self, address: str, message: Message, *, mandatory: bool) -> Confirm:
        """C3: at most once, and a mandatory reply is returned even when it arrived."""
        asker = self.askers.get(address.removeprefix(DIRECT_REPLY_TO + "."))
        if asker is not None:
            asker.replies.append(message)
            asker.wake()
        return Confirm.RETURNED if mandatory else Confirm.ACK

    def _enqueue(self, queue: ReadyQueue, entry: Entry, now_s: float) -> bool:
        """Take the message into a queue; False: refused (R35, or our own bound)."""
        counts = queue.counts
        if self.bounds.exceeded(
            queue.ready + queue.unacked + 1, queue.ready_bytes + queue.unacked_bytes + entry.size_bytes
        ):
            counts.refused["full"] += 1
            self.note(now_s, "refused", queue.name, "full")
            return False
        if queue.limited and queue.rejects and queue.refuses(entry.size_bytes):
            counts.refused["maxlen"] += 1
            if queue.spec.overflow == "reject-publish-dlx":
                self._bury(queue, entry, "maxlen", now_s)
            return False
        counts.published += 1
        queue.place(entry)
        entry.enqueued_s = now_s
        self._set_expiry(queue, entry, now_s)
        if len(queue.lanes) > 1 and isinstance(entry.message.native, Amqp):
            entry.lane = queue.lane_of(entry.message.native.priority)
        if not queue.ready and (subscriber := self._next_subscriber(queue)) is not None:
            queue.count_taken()
            self._hand(queue, subscriber, entry, now_s)
            return True
        if entry.expires_s <= now_s:
            self._remove(queue, entry, "expired", now_s)
            return True
        queue.append(entry)
        if queue.limited and not queue.rejects:
            self._shorten(queue, now_s)
        if queue.expiring:
            self.watch_head(queue)
        return True

    def _set_expiry(self, queue: ReadyQueue, entry: Entry, now_s: float) -> None:
        """R31: the shorter of the queue's and the message's own time to live."""
        native = entry.message.native
        own_s = int(native.expiration) / 1000 if isinstance(native, Amqp) and native.expiration is not None else NEVER
        ttl_s = own_s if queue.ttl_s is None else min(own_s, queue.ttl_s)
        if ttl_s != NEVER:
            entry.expires_s = now_s + ttl_s
            queue.expiring = True

    def _shorten(self, queue: ReadyQueue, now_s: float) -> None:
        """R35, R36: drop-head takes from the head until the length is right, be it new or requeued.

        A quorum queue that must drop several at once dead-letters the last one first (measured on 3.10.8 and 4.0.5).
        """
        dropped: list[Entry] = []
        while queue.over_length() and queue.ready:
            dropped.append(queue.pop())
        if queue.quorum:
            dropped.reverse()
        for entry in dropped:
            self._remove(queue, entry, "maxlen", now_s)

    # --- delivery

    def _next_subscriber(self, queue: ReadyQueue) -> Subscriber | None:
        """R22: round robin, the highest priority first. Who is found without room loses its turn until it has some."""
        active = queue.active
        while active:
            if queue.has_priorities:
                best = max(subscriber.priority for subscriber in active)
                while active[0].priority != best:
                    active.rotate(-1)
            subscriber = active.popleft()
            subscriber.active = False
            if subscriber.has_room:
                return subscriber
        return None

    def _hand(self, queue: ReadyQueue, subscriber: Subscriber, entry: Entry, now_s: float) -> None:
        """Write one delivery to a consumer."""
        channel = subscriber.channel
        channel.last_tag = tag = channel.last_tag + 1
        counts = queue.counts
        counts.delivered += 1
        counts.redelivered += entry.redelivered
        if subscriber.no_ack:
            counts.acked += 1
        else:
            channel.unacked[tag] = (entry, queue, subscriber)
            queue.unacked += 1
            queue.unacked_bytes += entry.size_bytes
            subscriber.unacked += 1
        outbox = subscriber.outbox
        outbox.append((tag, entry, entry.redelivered))
        if len(outbox) == 1:
            subscriber.wake()
        if self.log is not None:
            self.note(now_s, "deliver", queue.name, subscriber.tag, tag, entry.position)
        # A classic queue notices only at the next message that a consumer is full: if it acks before, it keeps its turn.
        if not queue.quorum or subscriber.has_room:
            subscriber.active = True
            queue.active.append(subscriber)

    def dispatch(self, queue: ReadyQueue, now_s: float) -> None:
        """Hand out what is ready to whoever has room."""
        while queue.ready and queue.active:
            if queue.expiring:
                self._expire(queue, now_s)
                if not queue.ready:
                    break
            subscriber = self._next_subscriber(queue)
            if subscriber is None:
                break
            self._hand(queue, subscriber, queue.pop(), now_s)
        if queue.expiring:
            self.watch_head(queue)

    def get(self, channel: Channel, name: str, now_s: float, *, no_ack: bool = False) -> tuple[int, Entry] | None:
        """basic.get: the first message with its tag, or None; prefetch does not limit it (R19)."""
        channel.check()
        queue = self.queue_for(channel, name, now_s)
        queue.used_s = now_s
        self._expire(queue, now_s)
        if not queue.ready:
            return None
        entry = queue.pop()
        channel.last_tag = tag = channel.last_tag + 1
        queue.counts.delivered += 1
        queue.counts.redelivered += entry.redelivered
        if no_ack:
            queue.counts.acked += 1
        else:
            channel.unacked[tag] = (entry, queue, None)
            queue.unacked += 1
            queue.unacked_bytes += entry.size_bytes
        self.note(now_s, "get", name, tag, entry.position)
        if queue.expiring:
            self.watch_head(queue)
        return tag, entry

    # --- settling

    def ack(self, channel: Channel, tag: int, now_s: float, *, multiple: bool = False) -> None:
        """Forget these deliveries (R20, R21)."""
        for entry, queue, subscriber in self._outstanding(channel, tag, now_s, multiple=multiple):
            queue.counts.acked += 1
            if self.log is not None:
                self.note(now_s, "ack", queue.name, entry.position)
            self._free(queue, subscriber, now_s)

    def nack(self, channel: Channel, tag: int, now_s: float, *, requeue: bool, multiple: bool = False) -> None:
        """Give back in place, or reject for good: dead-lettered, else dropped (R21, R25, R40)."""
        taken = self._outstanding(channel, tag, now_s, multiple=multiple)
        for entry, queue, subscriber in taken:
            if not requeue:
                self._remove(queue, entry, "rejected", now_s)
                continue
            self._requeue(queue, entry, now_s, at_front=False)
            if self.version < (4, 0) and subscriber is not None and queue.is_worn(entry):
                subscriber.extra += 1  # 3.10 gives the room back twice when the limit takes the message (measured)
        for queue, subscriber in {(queue, subscriber): None for _, queue, subscriber in taken}:
            if subscriber is not None and not queue.quorum:
                self.activate(
                    subscriber
                )  # a classic queue sees the room first, then hands out what came back (measured)
            self._after_requeue(queue, now_s)
            self._free(queue, subscriber, now_s)

    def _outstanding(self, channel: Channel, tag: int, now_s: float, *, multiple: bool) -> list[Held]:
        """Take deliveries out of the channel's unacked set; an unknown tag closes the channel (R20)."""
        channel.check()
        unacked = channel.unacked
        tags = [known for known in unacked if known <= tag] if multiple else [tag] * (tag in unacked)
        if not tags:
            self.fail(channel, PRECONDITION_FAILED, f"unknown delivery tag {tag}", now_s)
        taken = [unacked.pop(known) for known in tags]
        for entry, queue, subscriber in taken:
            queue.unacked -= 1
            queue.unacked_bytes -= entry.size_bytes
            if subscriber is not None:
                subscriber.unacked -= 1
        return taken

    def _free(self, queue: ReadyQueue, subscriber: Subscriber | None, now_s: float) -> None:
        """A consumer may have room again."""
        if subscriber is not None and not subscriber.active:
            self.activate(subscriber)
        if queue.ready and queue.active:
            self.dispatch(queue, now_s)

    def _requeue(self, queue: ReadyQueue, entry: Entry, now_s: float, *, at_front: bool) -> None:
        """Ready again: in its place, or last when nacked on a quorum queue without a limit (R25); counted (R49)."""
        if self.queues.get(queue.name) is not queue:
            queue.counts.dropped["queue deleted"] += 1
            return
        entry.redelivered = True
        entry.returns += 1
        self.note(now_s, "requeue", queue.name, entry.position)
        if queue.is_worn(entry):
            self._remove(queue, entry, "delivery_limit", now_s)
        elif queue.quorum and queue.delivery_limit is None and not at_front:
            queue.place(entry)
            queue.append(entry)
        else:
            queue.put_back(entry)

    def _after_requeue(self, queue: ReadyQueue, now_s: float) -> None:
        """What expired while it was out goes now (R33), what is too much too (R36); the rest is handed out."""
        if queue.expiring:
            self._expire(queue, now_s)
        if queue.limited and not queue.rejects:
            self._shorten(queue, now_s)
        self.dispatch(queue, now_s)

    def give_back(self, taken: Iterable[Held], now_s: float) -> None:
        """A channel is gone: all it held goes back to its place (R24)."""
        queues: dict[ReadyQueue, None] = {}
        for entry, queue, subscriber in taken:
            queue.unacked -= 1
            queue.unacked_bytes -= entry.size_bytes
            if subscriber is not None:
                subscriber.unacked -= 1
            self._requeue(queue, entry, now_s, at_front=True)
            queues[queue] = None
        for queue in queues:
            self._after_requeue(queue, now_s)

    # --- ends of messages

    def watch_head(self, queue: ReadyQueue) -> None:
        """Set a timer for the head: nothing behind it can expire before it (R32)."""
        head = queue.head()
        if head is not None and head.expires_s < queue.timer_s:
            queue.timer_s = head.expires_s
            self.at(head.expires_s, self._head_due, queue)

    def _head_due(self, queue: ReadyQueue, now_s: float) -> None:
        queue.timer_s = NEVER
        if self.queues.get(queue.name) is queue:
            self._expire(queue, now_s)
            self.watch_head(queue)

    def _expire(self, queue: ReadyQueue, now_s: float) -> None:
        head = queue.head()
        while head is not None and head.expires_s <= now_s:
            self._remove(queue, queue.pop(), "expired", now_s)
            head = queue.head()

    def _remove(self, queue: ReadyQueue, entry: Entry, reason: str, now_s: float) -> None:
        """The end of a message in its queue, counted once (E2): dead-lettered, expired or dropped for a reason."""
        cause = self._bury(queue, entry, reason, now_s)
        if not cause:
            queue.counts.dead[reason] += 1
        elif cause == reason == "expired":
            queue.counts.expired += 1
        else:
            queue.counts.dropped[cause] += 1
        self.note(now_s, "dead" if not cause else "gone", queue.name, entry.position, cause or reason)

    def _bury(self, queue: ReadyQueue, entry: Entry, reason: str, now_s: float) -> str:
        """Dead-letter a message (R40-R47): "" when a queue took it, else why it is gone."""
        to = queue.spec.dead_letter
        if to is None:
            return reason
        if to.destination and self.exchanges.get(to.destination) is None:
            return "no dead-letter exchange"  # R42: nobody is told
        native = entry.message.native
        death = death_records.Death(
            queue=queue.name,
            reason=reason,
            count=1,
            time_s=int(now_s),
            exchange=entry.exchange,
            keys=death_records.arriving_keys(entry.message, entry.keys[0]),
            expiration=native.expiration if isinstance(native, Amqp) else None,
        )
        deaths = death_records.with_death(entry.deaths, death)
        message = death_records.died(entry.message, deaths, version=self.version, drop_cc=bool(to.key))
        keys = (to.key,) if to.key else entry.keys
        if to.destination:
            targets = self.exchanges.route(to.destination, keys, message.headers)
        else:
            targets = tuple(name for name in dict.fromkeys(keys) if name in self.queues)
        if not targets:
            return "dead letter unroutable"
        if reason != "rejected":
            targets = tuple(name for name in targets if not death_records.is_cycle(name, deaths))
            if not targets:
                return "dead-letter cycle"
        copies = [Entry(message, to.destination, keys, deaths) for _ in targets]
        taken = sum(self._enqueue(self.queues[name], copy, now_s) for name, copy in zip(targets, copies, strict=True))
        return "" if taken else "dead letter refused"
