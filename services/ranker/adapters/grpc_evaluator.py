"""Assignments of experiments over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from shared.rpc import client

if TYPE_CHECKING:
    import grpc.aio

COMPONENT = "evaluator"


class GrpcEvaluator:
    """`VariantAssigner` over one channel to the evaluator."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.EvaluatorServiceStub(channel)

    async def assign(self, experiment: str, user_id: str, timeout_s: float) -> str:
        """Returns the user's variant; see `VariantAssigner`."""
        request = pb.AssignVariantRequest(experiment=experiment, user_id=user_id)
        reply = await client.call(self._stub.AssignVariant(request, timeout=timeout_s), COMPONENT)
        return reply.variant
