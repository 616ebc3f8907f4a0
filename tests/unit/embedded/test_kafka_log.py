"""Partitions and keys of the embedded Kafka, directly on the model."""

import random

import pytest

from mqdash.brokers.embedded.cluster import Cluster
from mqdash.brokers.embedded.kernel import UNBOUNDED, Bounds
from mqdash.brokers.embedded.log import Partition, Stored, murmur2, partition_for
from mqdash.model.message import Message, Record
from tests.unit.embedded.kafka import Kafka, record


@pytest.mark.parametrize(
    ("key", "hashed"),
    [  # from Apache Kafka's own UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_K2_the_hash_of_a_key_is_kafkas(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF


def test_K2_the_same_key_goes_to_the_same_partition_until_partitions_are_added() -> None:
    kafka = Kafka(partitions=3)
    keys = [f"user-{number}" for number in range(40)]
    before = {key: kafka.produce("m", key=key, partition=None)[0][0] for key in keys}
    assert before == {key: partition_for(key.encode(), 3) for key in keys}
    assert set(before.values()) == {0, 1, 2}
    assert {key: kafka.produce("m", key=key, partition=None)[0][0] for key in keys} == before

    kafka.cluster.grow("t", 5, kafka.now)
    after = {key: kafka.produce("m", key=key, partition=None)[0][0] for key in keys}
    assert after == {key: partition_for(key.encode(), 5) for key in keys}
    assert after != before
    assert kafka.topic.partitions[before["user-0"]].end >= 2  # what was written stays where it was


def test_K3_records_without_a_key_stick_to_a_partition_for_a_batch() -> None:
    kafka = Kafka(partitions=8)
    batches = [{place[0] for place in kafka.produce("a", "b", "c", partition=None)} for _ in range(20)]
    assert all(len(partitions) == 1 for partitions in batches)
    assert len(set.union(*batches)) > 3


def test_K3_a_big_batch_without_keys_moves_on_after_16_KiB() -> None:
    kafka = Kafka(partitions=8)
    places = kafka.produce(*["x" * 1024] * 256, partition=None)
    assert len({partition for partition, _ in places}) > 3


def test_K1_offsets_grow_by_one_and_never_change() -> None:
    kafka = Kafka(partitions=1)
    assert kafka.produce("a", "b") + kafka.produce("c") == [(0, 0), (0, 1), (0, 2)]
    log = kafka.topic.partitions[0]
    assert [stored.message.body for stored in log.read(1, 10)] == [b"b", b"c"]
    assert [stored.message.body for stored in log.read(0, 1)] == [b"a"]


def test_K21_a_full_log_forgets_its_oldest_and_counts_it() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=3, size_bytes=None))
    kafka.produce(*"abcde")
    log = kafka.topic.partitions[0]
    assert (log.start, log.end, kafka.topic.dropped) == (2, 5, 2)
    assert [stored.message.body for stored in log.read(2, 10)] == [b"c", b"d", b"e"]
    assert log.at(1) is None


def test_K21_the_bound_in_bytes_keeps_at_least_the_newest() -> None:
    partition = Partition(max_bytes=100)
    for _ in range(5):
        partition.append(Stored(record("x" * 40), 0.0, 40))
        partition.trim()
    assert (partition.start, partition.end, partition.size_bytes) == (3, 5, 80)
    partition.append(Stored(record("x" * 400), 0.0, 400))
    partition.trim()
    assert (partition.start, partition.end) == (5, 6)


def test_K21_offsets_stay_right_when_forgotten_records_are_freed() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=10, size_bytes=None))
    for number in range(5000):
        kafka.produce(str(number))
    log = kafka.topic.partitions[0]
    assert (log.start, log.end) == (4990, 5000)
    stored = log.at(4995)
    assert stored is not None
    assert stored.message.body == b"4995"


def test_K25_offsets_for_times_finds_the_first_not_older_even_when_time_goes_back() -> None:
    kafka = Kafka(partitions=1)
    times = [100, 300, 200, 400]
    kafka.cluster.append("t", [(record(timestamp_ms=at_ms), 0) for at_ms in times], kafka.now)
    log = kafka.topic.partitions[0]
    assert [log.offset_for_time(at_ms) for at_ms in (0, 150, 250, 350, 500)] == [0, 1, 1, 3, None]


def test_K25_a_record_without_a_time_gets_the_time_of_its_append() -> None:
    kafka = Kafka(partitions=1)
    kafka.produce("m")
    native = kafka.topic.partitions[0].read(0, 1)[0].message.native
    assert isinstance(native, Record)
    assert native.timestamp_ms == 1_000_000


def test_K27_headers_keep_order_and_repeats_and_null() -> None:
    kafka = Kafka(partitions=1)
    headers = (("a", b"1"), ("b", None), ("a", b"2"))
    texts = (*headers, ("text", "2"), ("number", 3))
    kafka.cluster.append("t", [(record(headers=headers), 0), (record(headers=texts), 0)], kafka.now)
    kept, written = (stored.message for stored in kafka.topic.partitions[0].read(0, 2))
    assert kept.headers == headers
    assert kept.header("a") == b"2"
    assert written.headers == (*headers, ("text", b"2"), ("number", b"3"))


def test_K28_a_record_over_the_limit_is_refused() -> None:
    cluster = Cluster(random.Random(1), UNBOUNDED)
    cluster.create("t")
    headers = (("name", b"v" * 300), ("n", None))
    for most, key, with_headers in ((1_048_516, None, ()), (1_048_315, "k" * 200, ()), (1_048_206, None, headers)):
        # Measured on Kafka 4.3: the limit is a batch's, so its head and the headers count.
        assert cluster.refusal("t", record("x" * most, key, with_headers), None) == ""
        assert "1048589 bytes" in cluster.refusal("t", record("x" * (most + 1), key, with_headers), None)


def test_a_missing_topic_or_partition_and_field_pairs_are_refused() -> None:
    kafka = Kafka(partitions=2)
    assert "no topic" in kafka.cluster.refusal("nope", record(), None)
    assert "no partition 2" in kafka.cluster.refusal("t", record(), 2)
    assert "bytes" in kafka.cluster.refusal("t", Message(content=((b"a", b"b"),)), None)


def test_K23_removed_letters_are_remembered_by_a_cursor_and_a_sparse_set() -> None:
    kafka = Kafka(partitions=1, bounds=Bounds(messages=6, size_bytes=None))
    kafka.produce(*"abcdef")
    cluster = kafka.cluster
    assert [cluster.remove_letter("t", 0, offset) for offset in (0, 1, 4, 4, 99)] == [True, True, True, False, False]
    assert [offset for _, offset, _ in cluster.letters(kafka.topic)] == [5, 3, 2]
    assert cluster.letters_count(kafka.topic) == 3
    kafka.produce(*"ghi")  # the log forgets 0, 1, 2
    assert [offset for _, offset, _ in cluster.letters(kafka.topic)] == [8, 7, 6, 5, 3]
    assert cluster.letters_count(kafka.topic) == 5
