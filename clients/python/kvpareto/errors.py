"""Errors of the server, with the reasons that its documentation lists."""
from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2

DETAILS = "grpc-status-details-bin"


class Error(Exception):
    """A call that failed.

    code: the gRPC status code. reason: stable, UPPER_SNAKE_CASE, such as "NO_FEASIBLE_CONFIG"; the code's name when
    the error is gRPC's own. metadata: facts of that reason, such as {"smallest_budget_bytes": "4128768"}.
    retry_seconds: when it makes sense to try again, else None.
    """

    def __init__(self, error: grpc.RpcError):
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details() or ""
        self.reason: str = self.code.name
        self.metadata: dict[str, str] = {}
        self.retry_seconds: float | None = None
        for detail in _details(error):
            self._add(detail)
        super().__init__(f"{self.code.name} {self.reason}: {self.message}")

    def _add(self, detail) -> None:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            self.reason, self.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            self.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()


def _details(error: grpc.RpcError) -> list:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            return list(status_pb2.Status.FromString(value).details)
    return []
