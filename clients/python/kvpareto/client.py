"""The client for plain Python; kvpareto.aio has the same for asyncio."""
from __future__ import annotations

from typing import Iterator

import grpc

from kvpareto.connection import Connection, Stubs
from kvpareto.errors import Error
from kvpareto.request import Prompt, make_prompt, make_request
from kvpareto.results import Answer
from kvpareto.v1 import inference_pb2, memory_pb2, model_pb2


class Stream:
    """Iterates over the text of the first continuation as it comes; `answer` holds all that there is so far."""

    def __init__(self, call):
        self._call = call
        self.answer = Answer()

    def __iter__(self) -> Iterator[str]:
        try:
            for response in self._call:
                text = self.answer.add(response)
                if text and response.delta.sequence == 0:
                    yield text
        except grpc.RpcError as error:
            raise Error(error) from error

    def cancel(self) -> None:
        """Gives the generation up; the server frees its memory within one step."""
        self._call.cancel()


class Client(Stubs):
    """Calls raise kvpareto.Error. `timeout` is in seconds and bounds queueing and generation."""

    def __init__(self, address: str, **connection):
        """`connection`: the other fields of kvpareto.connection.Connection."""
        super().__init__(grpc, Connection(address, **connection))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    def _call(self, method, request, timeout: float | None = None):
        try:
            return method(request, timeout=timeout, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise Error(error) from error

    def stream(self, prompt: Prompt, *, timeout: float | None = None, **options) -> Stream:
        """Continues a prompt; `options` are those of kvpareto.request.make_request."""
        return Stream(self._call(self._inference.Generate, make_request(prompt, **options), timeout))

    def generate(self, prompt: Prompt, *, timeout: float | None = None, **options) -> Answer:
        """As stream, whole."""
        stream = self.stream(prompt, timeout=timeout, **options)
        for _ in stream:
            pass
        return stream.answer

    def plan(self, prompt: Prompt, **options) -> inference_pb2.PlanResponse:
        """What generate would use, without running it."""
        return self._call(self._inference.Plan, inference_pb2.PlanRequest(request=make_request(prompt, **options)))

    def count_tokens(self, prompt: Prompt, *, model: str = "") -> int:
        request = inference_pb2.CountTokensRequest(model=model, prompt=make_prompt(prompt))
        return self._call(self._inference.CountTokens, request).tokens

    def models(self) -> list[model_pb2.Model]:
        return list(self._call(self._models.ListModels, model_pb2.ListModelsRequest()).models)

    def pareto_table(self, model: str = "") -> model_pb2.ParetoTable:
        return self._call(self._models.GetParetoTable, model_pb2.GetParetoTableRequest(model=model)).table

    def memory(self, model: str = "") -> memory_pb2.MemorySnapshot:
        return self._call(self._memory.GetMemory, memory_pb2.GetMemoryRequest(model=model)).memory
