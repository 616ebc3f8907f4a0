"""The rules by their ids, and why some of them are not shown by a body on some target."""

from dataclasses import dataclass

_RABBITMQ = """
R1 the default exchange leads to the queue named by the key, and cannot be bound
R2 direct: equal key; fanout: any; topic: * is one word, # any number
R3 headers: all or any of the pairs; names with x- only count with -with-x
R4 several matching bindings to one queue give one copy
R5 CC and BCC add routing keys; BCC is taken off before delivery
R6 unroutable and not mandatory: dropped, and confirmed all the same
R7 unroutable and mandatory: returned, then confirmed
R8 an alternate exchange takes the unroutable; circles of them end
R9 something missing is 404: the channel closes, the connection stays
R10 other arguments 406, somebody else's exclusive queue 405, exclusive consumer 403
R11 every publish is confirmed or refused exactly once
R12 a confirm comes after all target queues have the message
R13 what was confirmed and persistent survives a kill -9
R14 transient messages are gone after a restart, but for quorum queues
R15 an alarm blocks connections that publish, and no others
R16 first in, first out, per queue and publishing channel
R17 prefetch is per consumer; 0 is no limit, but 2,000 on quorum queues
R18 a channel-wide prefetch comes on top; not on quorum queues
R19 prefetch does not limit basic.get
R20 tags count per channel from 1; an unknown one closes the channel and requeues
R21 multiple covers all lower tags of the channel
R22 consumers take turns; a higher priority is served first
R23 auto-ack: done once written, lost with the connection
R24 whatever ends a channel gives back its unacked messages, marked redelivered
R25 given back in place; quorum without a limit: last after nack or reject
R26 a cancelled consumer keeps what it holds until the channel closes
R27 deleting a queue cancels its consumers, their channel stays
R28 single active consumer: one is served, the next takes over with redelivery
R29 a delivery not acked in time closes the channel (406)
R30 auto-delete and expiry remove unused queues; none of that dead-letters
R31 the shorter of queue's and message's time to live counts; it is a whole number
R32 expired messages leave at the head only: a short time waits behind a long one
R33 giving back does not restart the time to live
R34 time to live 0: to a ready consumer, or expired at once, confirmed either way
R35 a maximum counts ready messages: drop-head confirms, reject-publish refuses
R36 giving back to a full drop-head queue drops what is given back
R37 classic priorities: higher first, clamped, in order within
R38 quorum priorities: none in 3.10, two classes at 2:1 from 4.0
R39 a delay is a time-to-live queue whose dead letters come back
R40 messages die rejected, expired, over length or over their delivery limit
R41 a dead letter keeps its keys and CC, or gets the dead-letter key alone
R42 a dead-letter exchange that is missing drops silently
R43 dead-lettering is at most once; at-least-once is a quorum queue's option
R44 x-death: newest first, one entry per queue and reason, counting
R45 x-first-death stays; x-last-death exists from 3.13
R46 dying takes the expiration off and records it
R47 a circle without a reject drops the message
R48 a published x-death is believed up to 3.13
R49 a quorum queue's delivery limit: none in 3.10, 20 from 4.0
R50 messages up to 128 MiB, from 4.0 up to 16 MiB
"""

_REQUESTS = """
C1 a reply finds its request by correlation id; others are counted
C2 direct reply-to needs its consumer first; the address becomes opaque
C3 such replies are at most once; a mandatory one is always returned
C4 a timeout does not mean not executed
C5 a late reply is counted and never given to a newer request
C6 a server that dies before its reply leaves the request to another: executed twice
C7 a reply queue belongs to its connection and goes with it
"""

_KAFKA = """
K1 a partition is appended to; offsets never change and are not reused
K2 equal keys go to one partition while their number stays
K3 no order across partitions
K4 reading deletes nothing; every group receives everything
K5 acks=all needs min.insync.replicas
K6 a produce without an answer is unknown; idempotence is per producer session
K7 a partition has one member of a group; surplus members idle
K8 what is committed is the next offset to read
K9 after a crash reading goes on at the committed offset
K10 auto-commit commits positions of earlier polls
K11 without a valid committed offset the reset policy decides
K12 a silent member is removed after the session timeout
K13 a commit of an old generation is refused
K14 eager rebalances revoke everything, cooperative ones what moves
K15 the new group protocol assigns on the broker
K16 a static member comes back without a rebalance
K17 join, leave, crash and growth rebalance
K18 offsets are set from outside only while the group is empty
K19 the forms of an offset reset, clamped to the log
K20 committed offsets expire after the group has been empty for long
K21 retention takes closed segments; slow groups lose them silently
K22 compaction keeps the last record per key
K23 only a prefix can be deleted
K24 lag is end minus committed; what retention took is told apart
K25 offsets for times: the first not older
K26 read_committed hides open and aborted transactions
K27 headers are ordered, may repeat and may be null
K28 too large a record is refused when produced
K29 a leader that moves costs a refresh, not a record
K30 deleting a topic deletes its groups' offsets
K31 share groups acquire single records
K32 share groups' dead letters
K33 old request versions are gone from 4.0
"""

_STREAMS = """
S1 ids only grow, also when the clock steps back
S2 an entry is an ordered list of fields, and immutable
S3 each entry goes to one consumer of the group, pending with count 1
S4 re-reading one's own pending entries counts up and resets idle
S5 NOACK skips the pending list
S6 killing a client moves nothing: its entries stay pending
S7 an ack answers 1 then 0 and deletes no entry
S8 a claim needs a pending entry idle for long enough
S9 of two claimants one wins
S10 autoclaim goes through the list by a cursor and drops ids without entry
S11 deleting and trimming do not touch pending lists
S12 deleting a consumer loses what it had pending
S13 setting the group's id back delivers everything again
S14 destroying the group ends its readers
S15 deleting the key ends its readers
S16 exact and approximate trimming take unread and pending alike
S17 lag is an estimate
S18 looking has no side effects
S19 reading from $ misses what came meanwhile
S20 out of memory: adding is refused, settling works
S21 a transaction does not roll back
S22 XACKDEL and XDELEX (8.2)
S23 XREADGROUP with CLAIM (8.4)
S24 idempotent XADD (8.6)
S25 XNACK (8.8)
S26 acknowledged writes may be lost by failover or a lazy disk
"""

_PUBSUB = """
P1 nothing is kept: without a subscriber a message is gone
P2 publishing tells how many received it on that node
P3 order per channel and publisher is kept
P4 channel and matching pattern give a copy each
P5 a slow subscriber is cut off, its publisher is not slowed
P6 what comes between two subscriptions is lost, and shown as a gap
P7 channels ignore the database number
"""

_EMBEDDED = """
E1 a pure state machine: equal seeds give equal logs
E2 messages are conserved, every drop has a reason
E3 nothing is out twice, nothing acked comes again
E4 a kill is noticed after the modelled delay and not before
E5 what is not modelled is refused
"""


def _read(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.strip().splitlines())


RULES: dict[str, str] = {
    rule: text
    for table in (_RABBITMQ, _REQUESTS, _KAFKA, _STREAMS, _PUBSUB, _EMBEDDED)
    for rule, text in _read(table).items()
}

_EMBEDDED_RABBITMQ = ("embedded-rabbitmq-3.10", "embedded-rabbitmq-4")
_REAL_RABBITMQ = ("rabbitmq-3.10", "rabbitmq-4")
_REDIS = ("embedded-redis", "redis-7", "redis-8")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "R": ("RabbitMQ", (*_EMBEDDED_RABBITMQ, *_REAL_RABBITMQ)),
    "K": ("Kafka", ("embedded-kafka", "kafka-4")),
    "S": ("Redis Streams", _REDIS),
    "P": ("Redis Pub/Sub", _REDIS),
    "C": ("Request/reply", (*_EMBEDDED_RABBITMQ, *_REAL_RABBITMQ, "embedded-kafka", "kafka-4", *_REDIS)),
    "E": ("Embedded brokers", ("embedded-rabbitmq-4", "embedded-kafka", "embedded-redis")),
}
"""Rule letter: its heading and the targets it is about."""
TARGETS = frozenset(name for _, names in FAMILIES.values() for name in names)


@dataclass(frozen=True)
class Unseen:
    """Why there is no body for these rules on these targets: `kind` is "not modelled", "not observable" or "not there".

    `part`: bodies exist and pass, but do not show all of the rule, and `why` says what is missing.
    """

    rules: str
    targets: tuple[str, ...]
    kind: str
    why: str
    part: bool = False


_ABSENT = "not there"
_EMBEDDED_KAFKA = ("embedded-kafka",)
_LOGS = ("embedded-kafka", "kafka-4", *_REDIS)
_RABBITMQS = (*_EMBEDDED_RABBITMQ, *_REAL_RABBITMQ)
UNSEEN = (
    Unseen(
        "R43",
        _EMBEDDED_RABBITMQ,
        "not modelled",
        "at-least-once dead-lettering: no field of the port asks for it",
        True,
    ),
    Unseen(
        "R39",
        _RABBITMQS,
        _ABSENT,
        "the x-delayed-message plugin (refused as unsupported) and 4.3's delayed retry",
        True,
    ),
    Unseen(
        "R38 R49 R50",
        _RABBITMQS,
        _ABSENT,
        "what the rule says of 4.1 and 4.3: the versions here are 3.10 and 4.0",
        True,
    ),
    Unseen("R18", _EMBEDDED_RABBITMQ, "not modelled", "no port call asks for a channel-wide prefetch"),
    Unseen("R29", _EMBEDDED_RABBITMQ, "not modelled", "the timeout is a setting of the broker, 30 minutes by default"),
    Unseen("C2 C3 C7", _LOGS, _ABSENT, "the rule is about AMQP's own reply addresses"),
    Unseen("K14", FAMILIES["K"][1], _ABSENT, "the cooperative half: mqdash and aiokafka rebalance eagerly", True),
    Unseen("K15", FAMILIES["K"][1], "not modelled", "no client used here speaks the new group protocol"),
    Unseen("K16", _EMBEDDED_KAFKA, "not modelled", "mqdash joins without static members"),
    Unseen("K10", _EMBEDDED_KAFKA, _ABSENT, "mqdash never commits automatically"),
    Unseen(
        "K6", _EMBEDDED_KAFKA, "not modelled", "an append is answered at once: no answer is lost, nothing is sent again"
    ),
    Unseen(
        "K11", _EMBEDDED_KAFKA, "not modelled", "other policies than the earliest record, where mqdash begins", True
    ),
    Unseen("K19", _EMBEDDED_KAFKA, "not modelled", "a reset is to an offset; the other forms are the tool's", True),
    Unseen("K19", ("kafka-4",), "not observable", "from a file: that form is not run", True),
    Unseen(
        "K21", _EMBEDDED_KAFKA, "not modelled", "it takes the oldest records by number and size, not by segment", True
    ),
    Unseen("K22 K26", _EMBEDDED_KAFKA, "not modelled", "the embedded log neither compacts nor has transactions"),
    Unseen("K20", FAMILIES["K"][1], "not observable", "it takes seven days by default, more than a minute at least"),
    Unseen("K31 K32", FAMILIES["K"][1], "not modelled", "no client used here speaks share groups"),
    Unseen("K5 K29 K33", _EMBEDDED_KAFKA, "not modelled", "one broker without replicas or request versions"),
    Unseen("S22 S23 S24 S25", _REDIS, _ABSENT, "newer than the versions here (8.2, 8.4, 8.6, 8.8)"),
    Unseen("S26", ("embedded-redis",), "not modelled", "no replicas, no disk"),
    Unseen("S26", ("redis-7", "redis-8"), "not observable", "needs a failover or a power cut at the right moment"),
    Unseen("S20 S21", ("embedded-redis",), "not modelled", "no memory limit, no transactions"),
    Unseen("P7", ("embedded-redis",), "not modelled", "there is one database and no protocol"),
)


def unseen(rule: str, target: str) -> Unseen | None:
    """The reason for that cell, if one is given."""
    return next((one for one in UNSEEN if rule in one.rules.split() and target in one.targets), None)


CORRECTED = (
    (
        "R13: for about a second after its declaration the name of a quorum queue is only in memory. Killed with -9 before that,"
        " a single node comes back with a queue that cannot be used: consuming is not answered for more than 10 s (3.10.8) or"
        " ends the connection with 541 after a while (4.0.5). What was confirmed in that second was not seen again."
    ),
    (
        "R17: in 3.10.8 a message that dies of its delivery limit gives the consumer that returned it one message more than its"
        " prefetch, for as long as it stays; 4.0.5 does not."
    ),
    (
        "R18: a prefetch for each consumer that is set after the channel-wide one lifts it. A quorum queue refuses by closing the"
        " connection (540), not the channel."
    ),
    (
        "R35: a quorum queue with reject-publish takes at least one message more than its maximum; reject-publish-dlx there drops"
        " the head and dead-letters it."
    ),
    "R35, R37: drop-head of a classic priority queue drops its highest priority first.",
    "R41: 4.0.5 keeps the CC header although a dead-letter key is set (it does not route by it); 3.10.8 takes it off.",
    (
        "R45, R48: what a client claims as first death is overwritten, on 3.10.8 too, unless an x-death comes with it; with an"
        " x-death and without first-death headers, 3.10.8 never sets them."
    ),
    (
        "K28: the limit is a batch's (4.3): a value alone in one, without key and headers, may have 72 bytes less than"
        " max.message.bytes. The embedded log counted key and value only."
    ),
    (
        "K33: 4.3 still speaks version 0 of much (Metadata, JoinGroup); gone are Fetch below 4, OffsetCommit and CreateTopics below"
        " 2. Produce below 3 is offered and yet ends the connection."
    ),
)
"""Where a real broker was not as the rule said; the models and the bodies follow the broker."""
