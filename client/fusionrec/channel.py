"""The channel helper: a gRPC channel with the limits, retries and keepalive that Fusionrec's servers expect."""

from __future__ import annotations

import json

import grpc
import grpc.aio

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message, both directions."""

MAX_ATTEMPTS = 3
"""Times that a call is tried, the first included, while the answer is UNAVAILABLE."""

_NOT_REPEATABLE = [
    {"service": "fusionrec.ingestion.v1.IngestionService", "method": method}
    for method in ("WriteEvents", "StreamEvents")
]
"""Calls that must not be repeated blindly: an event with neither event_id nor timestamp gets a random id in the
server, so that a lost reply and a second attempt would store it twice. Whoever gives events ids may repeat them."""


def _service_config(attempts: int) -> dict[str, object]:
    config: dict[str, object] = {
        # Spread calls over the replicas that a headless service name resolves to.
        "loadBalancingConfig": [{"round_robin": {}}],
    }
    if attempts > 1:
        retry_policy = {
            "maxAttempts": attempts,
            "initialBackoff": "0.05s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            # UNAVAILABLE only: no server, one that drains, or a connection that broke, perhaps after the work was
            # done. All calls but those above only read, or leave the same state when they are made twice.
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        # The most specific name wins.
        config["methodConfig"] = [{"name": [{}], "retryPolicy": retry_policy}, {"name": _NOT_REPEATABLE}]
        # A server that is down must not cost every call all attempts.
        config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": 0.1}
    return config


def channel_options(attempts: int = MAX_ATTEMPTS) -> list[tuple[str, str | int]]:
    """Returns the channel arguments: service config, keepalive, message limits.

    `attempts`: times that a call is tried while the answer is UNAVAILABLE, the first included; 1 for no retries.
    """
    return [
        ("grpc.service_config", json.dumps(_service_config(attempts))),
        # Also without calls: a connection that a firewall dropped in a quiet hour is noticed before the next call.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A neighbour that comes back must be found again within a second, not after two minutes of backoff.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


def connect(address: str) -> grpc.Channel:
    """Returns a blocking channel to `address` ("127.0.0.1:50054" or "dns:///ranker:50054")."""
    return grpc.insecure_channel(address, options=channel_options())


def connect_aio(address: str) -> grpc.aio.Channel:
    """Returns an asyncio channel to `address`."""
    return grpc.aio.insecure_channel(address, options=channel_options())
