"""What the adapter replaces inside pika must still be there, and be called (pin: pika 1.4)."""

import inspect

import pytest
from pika import channel, connection
from pika.adapters import base_connection
from pika.adapters.utils import io_services_utils, nbio_interface

from mqdash.brokers.rabbitmq import wire


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (connection.Connection, "_output_marshaled_frames", ["self", "marshaled_frames"]),
        (connection.Connection, "_on_data_available", ["self", "data_in"]),
        (connection.Connection, "_terminate_stream", ["self", "error"]),
        (connection.Connection, "_process_frame", ["self", "frame_value"]),
        (connection.Connection, "_send_method", ["self", "channel_number", "method", "content"]),
        (base_connection.BaseConnection, "_adapter_disconnect_stream", ["self"]),
        (nbio_interface.AbstractStreamTransport, "get_write_buffer_size", ["self"]),
        (channel.Channel, "add_callback", ["self", "callback", "replies", "one_shot"]),
    ],
)
def test_the_hook_is_there_with_the_same_parameters(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


def test_pika_reads_through_the_hooks_that_are_replaced() -> None:
    assert "_on_data_available" in inspect.getsource(base_connection.BaseConnection._proto_data_received)
    assert "_output_marshaled_frames" in inspect.getsource(connection.Connection._send_frame)
    assert "_frame_buffer" in inspect.getsource(connection.Connection._init_connection_state)
    assert "_adapter_disconnect_stream" in inspect.getsource(connection.Connection._terminate_stream)


def test_the_receive_size_is_raised() -> None:
    assert "_MAX_RECV_BYTES" in inspect.getsource(io_services_utils._AsyncTransportBase._consume)
    assert wire.RECEIVE_BYTES == io_services_utils._AsyncTransportBase._MAX_RECV_BYTES == 65536


def test_body_frames_are_bounded_by_what_pika_negotiated() -> None:
    assert "_body_max_length" in inspect.getsource(connection.Connection._on_connection_tune)
