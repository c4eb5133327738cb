"""The channel helper: a gRPC channel with the limits, retries and keepalive that Fusionrec's servers expect."""

from __future__ import annotations

import json

import grpc
import grpc.aio

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message, both directions."""

_SERVICE_CONFIG = {
    # Spread calls over the replicas that a headless service name resolves to.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # UNAVAILABLE only: the call did not reach a handler that did work. Never INTERNAL.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # A server that is down must not cost every call three attempts.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}


def channel_options() -> list[tuple[str, str | int]]:
    """Returns the channel arguments: service config, keepalive, message limits."""
    return [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
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
