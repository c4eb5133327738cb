"""A tiny real service that does what it is told: for tests of the runner, the interceptors and the channels.

`Embed` and `EmbedStream` obey the texts they are sent, one after the other:

- `raise NAME` raises the example of that `Reason`; `crash TEXT` raises a ValueError that carries the text
- `sleep S` sleeps S seconds
- `left` answers the seconds left of the call, as stage `left`, microseconds; -1 without a deadline
- `hop` sends the remaining texts to the next probe and puts its stages under its own

`ReadEvents` counts (`cursor` "1", "2", …), with `follow` until the server stops. With a cursor `raise NAME` it raises
after the first message, with `flood` it sends messages of 1 MB for ever.

Run as a process: `python -m shared.testing.probe serve`, settings `PROBE_…`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from fusionrec.common.v1 import serving_pb2
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from shared import errors
from shared.errors import Reason
from shared.rpc import context as call_context
from shared.rpc.client import call, open_channel
from shared.rpc.convert import encode_served_by
from shared.rpc.server import Lifecycle, serve
from shared.rpc.settings import ServerSettings, env_config
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

EXAMPLES: dict[Reason, errors.FusionrecError] = {
    Reason.INVALID_FIELD: errors.InvalidField("texts[0]", "", "1..8 bytes", "set it"),
    Reason.LIMIT_EXCEEDED: errors.LimitExceeded("k", 9_000, "1..2000", "use a value from 1 to 2000"),
    Reason.NOT_FOUND: errors.NotFound("no report of that name"),
    Reason.MODEL_NOT_READY: errors.ModelNotReady("no model has been trained yet: run `fusionrec train`"),
    Reason.MODEL_MISMATCH: errors.ModelMismatch("the index has 64 dimensions, the model 384"),
    Reason.OVERLOADED: errors.Overloaded("the queue is full", retry_after_s=0.25),
    Reason.DEPENDENCY_UNAVAILABLE: errors.DependencyUnavailable("candidates", "not reachable"),
    Reason.DEADLINE_EXCEEDED: errors.DeadlineExceeded("the time was over before the work began"),
    Reason.NOT_SERVED_YET: errors.NotServedYet("Attribute", "token attributions"),
    Reason.CORRUPT_DATA: errors.CorruptData("file index.faiss fails its checksum"),
    Reason.SHUTTING_DOWN: errors.ShuttingDown("the server is about to stop"),
    Reason.INTERNAL: errors.FusionrecError("the secret of the defect"),
    Reason.STALE_CURSOR: errors.StaleCursor("the cursor is of another log"),
}
"""One error of every reason."""


class ProbeSettings(ServerSettings):
    """Settings of the probe."""

    model_config = env_config("PROBE_")
    warm_s: float = 0.0
    """Time that the start takes, seconds."""


class ProbeApp:
    """The probe as a `ServiceApp`.

    Args:
        next_address: where `hop` goes.
        warm_s: time that the start takes, seconds.
        gate: when given, the start waits for it.
        start_error: when given, the start raises it.

    """

    service_names: tuple[str, ...] = (
        embedding.DESCRIPTOR.services_by_name["EmbeddingService"].full_name,
        ingestion.DESCRIPTOR.services_by_name["IngestionService"].full_name,
    )

    def __init__(
        self,
        next_address: str = "",
        *,
        warm_s: float = 0.0,
        gate: asyncio.Event | None = None,
        start_error: Exception | None = None,
    ) -> None:
        self._next = open_channel(next_address) if next_address else None
        self._warm_s = warm_s
        self._gate = gate
        self._start_error = start_error
        self._lifecycle = Lifecycle("probe")
        self.running = 0
        """Calls that are in a handler now."""
        self.stopped = False
        """True after `stop`."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        embedding_grpc.add_EmbeddingServiceServicer_to_server(_Embedding(self), server)  # type: ignore[abstract] # serves a part
        ingestion_grpc.add_IngestionServiceServicer_to_server(_Ingestion(self), server)  # type: ignore[abstract] # serves a part

    async def start(self, lifecycle: Lifecycle) -> None:
        """Warms as told, then says SERVING."""
        self._lifecycle = lifecycle
        await asyncio.sleep(self._warm_s)
        if self._gate is not None:
            await self._gate.wait()
        if self._start_error is not None:
            raise self._start_error
        await lifecycle.ready()

    async def stop(self) -> None:
        """Closes the channel."""
        if self._next is not None:
            await self._next.close()
        self.stopped = True

    @property
    def is_stopping(self) -> bool:
        """True once the server drains."""
        return self._lifecycle.stopping.is_set()

    async def obey(self, texts: list[str]) -> serving_pb2.ServedBy:
        """Does what the texts say."""
        stages = Stages("probe")
        hop: list[serving_pb2.StageTiming] = []
        for index, text in enumerate(texts):
            verb, _, argument = text.partition(" ")
            if verb == "raise":
                raise EXAMPLES[Reason[argument]]
            if verb == "crash":
                raise ValueError(argument)
            if verb == "sleep":
                await asyncio.sleep(float(argument))
            if verb == "left":
                left = call_context.seconds_left()
                stages.add("left", -1e-6 if left is None else left)
            if verb == "hop":
                hop = await self._hop(texts[index + 1 :])
                break
        served_by = encode_served_by({}, stages.times)
        served_by.timings.extend(hop)
        return served_by

    async def _hop(self, texts: list[str]) -> list[serving_pb2.StageTiming]:
        if self._next is None:
            raise errors.DependencyUnavailable("probe", "there is no next one")
        stub = embedding_grpc.EmbeddingServiceStub(self._next)
        answer = await call(stub.Embed(embedding.EmbedRequest(texts=texts)), "probe")
        request_id = serving_pb2.StageTiming(stage=f"request_id {answer.served_by.request_id}")
        return [request_id, *answer.served_by.timings]


class _Embedding(embedding_grpc.EmbeddingServiceServicer):
    def __init__(self, app: ProbeApp) -> None:
        self._app = app

    async def Embed(  # noqa: N802 (the contract's name)
        self,
        request: embedding.EmbedRequest,
        context: grpc.aio.ServicerContext[embedding.EmbedRequest, embedding.EmbedResponse],  # noqa: ARG002 (gRPC's)
    ) -> embedding.EmbedResponse:
        self._app.running += 1
        try:
            return embedding.EmbedResponse(served_by=await self._app.obey(list(request.texts)))
        finally:
            self._app.running -= 1

    async def EmbedStream(  # noqa: N802 (the contract's name)
        self,
        request_iterator: AsyncIterator[embedding.EmbedStreamRequest],
        context: grpc.aio.ServicerContext[  # noqa: ARG002 (gRPC's)
            embedding.EmbedStreamRequest, embedding.EmbedStreamResponse
        ],
    ) -> AsyncIterator[embedding.EmbedStreamResponse]:
        async for request in request_iterator:
            served_by = await self._app.obey(list(request.texts))
            yield embedding.EmbedStreamResponse(batch_id=request.batch_id, served_by=served_by)


class _Ingestion(ingestion_grpc.IngestionServiceServicer):
    def __init__(self, app: ProbeApp) -> None:
        self._app = app

    async def ReadEvents(  # noqa: N802 (the contract's name)
        self,
        request: ingestion.ReadEventsRequest,
        context: grpc.aio.ServicerContext[  # noqa: ARG002 (gRPC's)
            ingestion.ReadEventsRequest, ingestion.ReadEventsResponse
        ],
    ) -> AsyncIterator[ingestion.ReadEventsResponse]:
        self._app.running += 1
        try:
            while request.cursor == "flood":
                yield ingestion.ReadEventsResponse(cursor="x" * 1_000_000)
            yield ingestion.ReadEventsResponse(cursor="1")
            await self._app.obey([request.cursor])
            count = 1
            while request.follow and not self._app.is_stopping:
                count += 1
                yield ingestion.ReadEventsResponse(cursor=str(count))
                await asyncio.sleep(0.01)
        finally:
            self._app.running -= 1


if __name__ == "__main__":
    settings = ProbeSettings()
    sys.exit(serve(lambda: ProbeApp(warm_s=settings.warm_s), settings, "probe"))
