"""Answers of the services as they are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from google.protobuf.json_format import MessageToDict

if TYPE_CHECKING:
    from google.protobuf.message import Message


def print_json(message: Message) -> None:
    """Prints a message as one JSON object with the contract's field names, unset fields included."""
    content = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    click.echo(json.dumps(content, ensure_ascii=False, indent=2))
