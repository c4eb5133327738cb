"""A backend's client, made from nothing but the protos: `python stranger.py STUBS RANKER INGESTION COMMAND…`."""

import json
import sys
import time

sys.path.insert(0, sys.argv[1])

import grpc
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

ranker = ranker_grpc.RankerServiceStub(grpc.insecure_channel(sys.argv[2]))
ingestion = ingestion_grpc.IngestionServiceStub(grpc.insecure_channel(sys.argv[3]))


def recommend(user, k="20"):
    request = ranker_pb.RecommendRequest(context=ranker_pb.RankingContext(user_id=user), k=int(k), explain=True)
    reply = ranker.Recommend(request, timeout=20)
    return {
        "items": [one.item_id for one in reply.results],
        "degraded": {one.component: one.fallback for one in reply.degraded},
        "temperature": reply.temperature,
    }


def like(user, *items):
    events = [event_pb2.Event(user_id=user, item_id=item, type=event_pb2.EVENT_TYPE_LIKE) for item in items]
    reply = ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=events), timeout=20)
    return [ingestion_pb.WriteStatus.Name(one.status) for one in reply.results]


def add_item(item_id, title):
    item = item_pb2.Item(item_id=item_id, title=title)
    ingestion.UpsertItems(ingestion_pb.UpsertItemsRequest(items=[item]), timeout=20)
    return item_id


def appears(user, item_id):
    """Asks until the item is recommended; returns the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < 30:
        if item_id in recommend(user)["items"]:
            return time.monotonic() - started
    return None


print(json.dumps(globals()[sys.argv[4]](*sys.argv[5:])))
