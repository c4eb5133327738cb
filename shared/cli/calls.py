"""Calls to the services, and what the command says when they fail. The only file of the command that knows grpc."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from fusionrec.candidates.v1 import candidates_service_pb2 as candidates_pb
from fusionrec.candidates.v1.candidates_service_pb2_grpc import CandidatesServiceStub
from fusionrec.channel import connect
from fusionrec.embedding.v1 import embedding_service_pb2 as embedding_pb
from fusionrec.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from fusionrec.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub
from fusionrec.ingestion.v1.ingestion_service_pb2_grpc import IngestionServiceStub
from fusionrec.ranker.v1 import ranker_service_pb2 as ranker_pb
from fusionrec.ranker.v1.ranker_service_pb2_grpc import RankerServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.cli.console import Refusal
from shared.rpc.server import LIVENESS, READINESS
from shared.rpc.status import error_info

if TYPE_CHECKING:
    from types import TracebackType

    from fusionrec.common.v1.serving_pb2 import VersionInfo

    from shared.cli.addresses import Addresses

T = TypeVar("T")

TIMEOUT_S = 30.0
"""Deadline of a call, seconds."""
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Pending:
    """A call under way."""

    def __init__(self, future: Any) -> None:
        self._future = future

    def result(self) -> Any:
        """Waits for the answer.

        Raises:
            CallFailed: the call failed.

        """
        try:
            return self._future.result()
        except grpc.RpcError as error:
            raise CallFailed(error) from error

    def cancel(self) -> None:
        """Gives the call up."""
        self._future.cancel()


class CallFailed(Exception):
    """A call failed. `passing` when trying again may help; `message` is what the server said."""

    def __init__(self, error: grpc.RpcError) -> None:
        code = error.code()
        self.message: str = error.details() or code.name
        self.reached = code is not grpc.StatusCode.UNAVAILABLE or _has_error_info(error)
        self.passing = code in _PASSING
        self.stale = code is grpc.StatusCode.ABORTED
        super().__init__(self.message)


def _has_error_info(error: grpc.RpcError) -> bool:
    return error_info(error) is not None


class Services(AbstractContextManager["Services"]):
    """Stubs of the five services over one channel each, opened when first used."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._channels: dict[str, grpc.Channel] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            channel.close()

    @property
    def ingestion(self) -> IngestionServiceStub:
        """Events and catalogue."""
        return IngestionServiceStub(self._channel("ingestion"))

    @property
    def embedding(self) -> EmbeddingServiceStub:
        """Text to vectors."""
        return EmbeddingServiceStub(self._channel("embedding"))

    @property
    def candidates(self) -> CandidatesServiceStub:
        """Candidates."""
        return CandidatesServiceStub(self._channel("candidates"))

    @property
    def ranker(self) -> RankerServiceStub:
        """Recommendations."""
        return RankerServiceStub(self._channel("ranker"))

    @property
    def evaluator(self) -> EvaluatorServiceStub:
        """Evaluation."""
        return EvaluatorServiceStub(self._channel("evaluator"))

    def call(self, service: str, method: str, request: Any, *, timeout_s: float = TIMEOUT_S) -> Any:
        """Calls `method` of a service and waits for the answer.

        Raises:
            Refusal: in the server's words, or that nothing answers there.

        """
        try:
            return self.start(service, method, request, timeout_s=timeout_s).result()
        except CallFailed as failed:
            raise self.refusal(service, failed) from failed

    def start(self, service: str, method: str, request: Any, *, timeout_s: float = TIMEOUT_S) -> Pending:
        """Starts a call of `method` of a service."""
        return Pending(getattr(getattr(self, service), method).future(request, timeout=timeout_s))

    def first(self, service: str, method: str, request: Any, *, timeout_s: float = TIMEOUT_S) -> Any:
        """Returns the first message of a stream; None when it ends without one.

        Raises:
            CallFailed: the call failed.

        """
        stream = getattr(getattr(self, service), method)(request, timeout=timeout_s)
        try:
            return next(iter(stream), None)
        except grpc.RpcError as error:
            raise CallFailed(error) from error
        finally:
            stream.cancel()

    def refusal(self, service: str, failed: CallFailed) -> Refusal:
        """Returns what the command says about a failed call."""
        address = self.addresses.address(service)
        if failed.reached:
            return Refusal(f"{service}: {failed.message}")
        return Refusal(
            f"no services at {address} ({service} does not answer): run `fusionrec up`, "
            "or say where they are with --port-base"
        )

    def live(self, service: str, *, timeout_s: float = 0.5) -> bool:
        """Returns whether the process of a service answers, trained or not."""
        return self._health(service, LIVENESS, timeout_s)

    def ready(self, service: str, *, timeout_s: float = 0.5) -> bool:
        """Returns whether a service says SERVING."""
        return self._health(service, READINESS, timeout_s)

    def versions(self, service: str) -> list[VersionInfo]:
        """Returns the model versions that embedding, candidates or ranker know, newest first; empty without any.

        Raises:
            Refusal: nothing answers there.

        """
        try:
            return list(self._info(service).versions)
        except CallFailed as failed:
            if failed.reached:
                return []
            raise self.refusal(service, failed) from failed

    def current_version(self, service: str) -> str:
        """Returns the version that embedding, candidates or ranker answers with; empty without one."""
        try:
            info = self._info(service)
        except CallFailed:
            return ""
        return str(info.version if service == "embedding" else info.model_version)

    def reason(self, service: str) -> str:
        """Returns why a service with models is not ready, in its own words; empty when it does not say."""
        if service not in {"embedding", "candidates", "ranker"}:
            return ""
        try:
            return str(self._info(service, timeout_s=1.0).status_reason)
        except CallFailed as failed:
            return failed.message if failed.reached else ""

    def _info(self, service: str, timeout_s: float = TIMEOUT_S) -> Any:
        if service == "candidates":
            request: Any = candidates_pb.GetIndexInfoRequest()
            return self.start(service, "GetIndexInfo", request, timeout_s=timeout_s).result()
        request = embedding_pb.GetModelInfoRequest() if service == "embedding" else ranker_pb.GetModelInfoRequest()
        return self.start(service, "GetModelInfo", request, timeout_s=timeout_s).result()

    def _health(self, service: str, name: str, timeout_s: float) -> bool:
        stub = health_pb2_grpc.HealthStub(self._channel(service))
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _channel(self, service: str) -> grpc.Channel:
        if service not in self._channels:
            self._channels[service] = connect(self.addresses.address(service))
        return self._channels[service]
