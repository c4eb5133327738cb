"""The contracts as a whole: every RPC is served, enums and messages keep the house rules."""

from __future__ import annotations

import inspect

import pytest

from shared.data.nouns import EventType, SeenPolicy, Temperature
from shared.errors import Reason

SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")

RPCS = {
    "ingestion": {
        "WriteEvents", "StreamEvents", "UpsertItems", "GetItems", "ListItems", "DeleteItem", "ReadEvents",
        "GetUserHistory", "ForgetUser", "GetStats",
    },
    "embedding": {"Embed", "EmbedStream", "Attribute", "GetModelInfo"},
    "candidates": {"GetCandidates", "BatchGetCandidates", "GetSimilarItems", "GetSimilarUsers", "GetIndexInfo"},
    "ranker": {"Recommend", "BatchRecommend", "Rank", "Explain", "GetModelInfo"},
    "evaluator": {
        "EvaluateRankings", "EvaluateOnline", "CompareVariants", "AssignVariant", "ListReports", "GetReport",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_the_contract_has_all_its_rpcs(service_of, name):
    assert {method.name for method in service_of(name).methods} == RPCS[name]


@pytest.mark.parametrize("name", SERVICES)
def test_the_servicer_serves_every_rpc_in_the_right_shape(service_of, servicer_of, name):
    servicer = servicer_of(name)
    for method in service_of(name).methods:
        own = vars(servicer).get(method.name)
        assert own is not None, f"{name} does not serve {method.name}"
        streams = inspect.isasyncgenfunction(own)
        assert streams == method.server_streaming, f"{name}.{method.name} answers in the wrong shape"
        assert streams or inspect.iscoroutinefunction(own), f"{name}.{method.name} is not async"


def test_every_enum_begins_with_an_unspecified_zero_and_carries_its_own_name(files):
    enums = [enum for file in files.values() for enum in file.enum_types_by_name.values()]
    assert len(enums) >= 6
    for enum in enums:
        prefix = "".join("_" + letter if letter.isupper() else letter.upper() for letter in enum.name).lstrip("_")
        assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
        assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


@pytest.mark.parametrize(
    ("path", "enum", "prefix", "ours"),
    [
        ("event", "EventType", "EVENT_TYPE_", EventType),
        ("event", "SeenPolicy", "SEEN_POLICY_", SeenPolicy),
        ("serving", "UserTemperature", "USER_TEMPERATURE_", Temperature),
        ("error", "ErrorReason", "ERROR_REASON_", Reason),
    ],
)
def test_our_enums_are_those_of_the_contract(files, path, enum, prefix, ours):
    theirs = files[f"fusionrec/common/v1/{path}.proto"].enum_types_by_name[enum]
    numbers = {value.name.removeprefix(prefix): value.number for value in theirs.values if value.number != 0}
    assert numbers == {member.name: member.value for member in ours}


def test_every_rpc_has_its_own_request_and_response(files):
    seen = set()
    for file in files.values():
        for service in file.services_by_name.values():
            for method in service.methods:
                assert method.input_type.name == f"{method.name}Request"
                assert method.output_type.name == f"{method.name}Response"
                seen |= {method.input_type.full_name, method.output_type.full_name}
    assert len(seen) == 2 * sum(len(names) for names in RPCS.values())


def test_vectors_travel_as_bytes_not_as_repeated_floats(files):
    for file in files.values():
        for message in file.message_types_by_name.values():
            for field in message.fields:
                if field.is_repeated and field.type == field.TYPE_FLOAT:
                    assert f"{message.name}.{field.name}" == "AttentionMap.weights"
