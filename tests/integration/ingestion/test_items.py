from __future__ import annotations

import math

import grpc
import pytest
from fusionrec.common.v1 import error_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from shared.rpc.status import error_info

INVALID = "INVALID_FIELD"
OVER = "LIMIT_EXCEEDED"

BAD_ITEMS = {
    "long id": ({"item_id": "x" * 257}, "item_id", "1..256 bytes", OVER),
    "long title": ({"title": "x" * 1025}, "title", "1024 bytes", OVER),
    "long text": ({"text": "x" * 65_537}, "text", "65536 bytes", OVER),
    "many categories": ({"categories": ["a"] * 65}, "categories", "0..64 elements", OVER),
    "empty category": ({"categories": ["a", ""]}, "categories[1]", "1..256 bytes", INVALID),
    "NaN attribute": ({"attributes": {"x": {"number_value": math.nan}}}, "attributes['x']", "-1e+300..1e+300", INVALID),
    "empty attribute": ({"attributes": {"x": {}}}, "attributes['x']", "exactly one value set", INVALID),
    "torn vector": ({"vectors": {"v": {"dim": 2, "data": b"1234"}}}, "vectors['v'].data", "8 bytes", INVALID),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
async def test_a_bad_item_is_rejected_by_name_and_limit(stub, name):
    changes, field, limit, reason = BAD_ITEMS[name]
    items = [item_pb2.Item(item_id="good"), item_pb2.Item(**{"item_id": "bad", **changes})]
    good, bad = (await stub.UpsertItems(pb.UpsertItemsRequest(items=items))).results
    assert (good.status, bad.status) == (1, 3)
    assert bad.violation.field == f"items[1].{field}"
    assert bad.violation.limit.startswith(limit)
    assert error_pb2.ErrorReason.Name(bad.violation.reason) == f"ERROR_REASON_{reason}"
    assert (await stub.GetStats(pb.GetStatsRequest())).items == 1


async def test_items_are_written_read_and_deleted(stub):
    items = [item_pb2.Item(item_id="b", title="B"), item_pb2.Item(item_id="a", title="A"), item_pb2.Item()]
    written = await stub.UpsertItems(pb.UpsertItemsRequest(items=items))
    assert [result.status for result in written.results] == [1, 1, 3]
    assert written.results[2].violation.field == "items[2].item_id"
    found = await stub.GetItems(pb.GetItemsRequest(item_ids=["b", "x", "a", "b"]))
    assert [item.title for item in found.items] == ["B", "A"]
    assert list(found.missing_item_ids) == ["x"]
    assert all(item.HasField("created_at") and item.HasField("updated_at") for item in found.items)
    gone = await stub.DeleteItem(pb.DeleteItemRequest(item_id="a"))
    again = await stub.DeleteItem(pb.DeleteItemRequest(item_id="a"))
    assert (gone.existed, again.existed, again.cursor) == (True, False, gone.cursor)
    assert list((await stub.GetItems(pb.GetItemsRequest(item_ids=["a"]))).missing_item_ids) == ["a"]
    rewritten = await stub.UpsertItems(pb.UpsertItemsRequest(items=items[:2]))
    assert [result.status for result in rewritten.results] == [2, 1]


async def test_items_too_large_for_one_message_are_refused_by_name(stub):
    item_ids = [f"i{n:03}" for n in range(300)]
    for start in range(0, 300, 100):
        items = [item_pb2.Item(item_id=one, text="x" * 60_000) for one in item_ids[start : start + 100]]
        await stub.UpsertItems(pb.UpsertItemsRequest(items=items))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetItems(pb.GetItemsRequest(item_ids=item_ids))
    assert (caught.value.code(), error_info(caught.value).metadata["field"]) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "item_ids",
    )
    assert len((await stub.GetItems(pb.GetItemsRequest(item_ids=item_ids[:200]))).items) == 200


@pytest.mark.parametrize("page_size", [0, 1, 7, 100])
async def test_pages_together_are_the_catalogue(stub, page_size):
    wanted = sorted((f"i{n}" for n in range(30)), key=str.encode)
    await stub.UpsertItems(pb.UpsertItemsRequest(items=[item_pb2.Item(item_id=one) for one in reversed(wanted)]))
    seen, token = [], None
    while token != "":
        page = await stub.ListItems(pb.ListItemsRequest(page_size=page_size, page_token=token or ""))
        seen += [item.item_id for item in page.items]
        token = page.next_page_token
    assert seen == wanted
