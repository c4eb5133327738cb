from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2

from shared import errors
from shared.errors import Reason
from shared.rpc.status import STATUS_OF_REASON, status_of
from shared.testing.probe import EXAMPLES

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FusionrecError)]


def test_every_reason_has_an_error_a_status_and_an_example():
    assert {kind.reason for kind in TREE} == set(Reason)
    assert set(STATUS_OF_REASON) == set(Reason)
    assert {reason: error.reason for reason, error in EXAMPLES.items()} == {reason: reason for reason in Reason}


def test_the_tree_in_the_docstring_is_the_tree():
    for kind in TREE:
        if not kind.__name__.startswith("_"):
            assert kind.__name__ in errors.__doc__


def test_no_reason_is_answered_with_a_status_that_clients_take_for_success_or_unknown():
    assert not {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN} & set(STATUS_OF_REASON.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("日", "\\u65e5"),
        ("\ud800", "\\ud800"),
        (12, "12"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 63 + "…"),
    ],
)
def test_values_are_shown_short_and_harmless(value, text):
    assert errors.shown(value) == text


def test_a_status_with_the_longest_values_fits_into_headers():
    error = errors.InvalidField("events[999]." + "f" * 64, "日" * 10_000, "1..256 bytes", "h" * 200)
    # grpc's limit for all metadata of a call is 8 KiB; the status travels there twice, as message and as details.
    assert len(status_of(error, "r" * 128).SerializeToString()) < 3_000


def test_metadata_of_an_error_and_request_id_are_in_the_info():
    status = status_of(errors.NotServedYet("Attribute", "attributions"), "r1")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert dict(info.metadata) == {"rpc": "Attribute", "waits_for": "attributions", "request_id": "r1"}


@pytest.mark.parametrize("value", ["a\nb", "x" * 300, "é" * 200, 7])
def test_the_error_of_a_list_element_shows_the_value_as_the_element_did(value):
    error = errors.LimitExceeded("item_id", value, "1..256 bytes", "shorten it")
    under = error.under("events[3]")
    assert type(under) is errors.LimitExceeded
    assert under.violation.field == "events[3].item_id"
    assert under.violation.value == error.violation.value == errors.shown(value)
    assert (under.violation.limit, under.violation.hint) == (error.violation.limit, error.violation.hint)
