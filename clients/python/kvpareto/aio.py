"""The client for asyncio; the same methods as kvpareto.client."""
from __future__ import annotations

from typing import AsyncIterator

import grpc
import grpc.aio

from kvpareto.connection import Connection, Stubs
from kvpareto.errors import Error
from kvpareto.request import Prompt, make_prompt, make_request
from kvpareto.results import Answer
from kvpareto.v1 import inference_pb2, memory_pb2, model_pb2


class AsyncStream:
    """Iterates over the text of the first continuation as it comes; `answer` holds all that there is so far."""

    def __init__(self, call):
        self._call = call
        self.answer = Answer()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            async for response in self._call:
                text = self.answer.add(response)
                if text and response.delta.sequence == 0:
                    yield text
        except grpc.RpcError as error:
            raise Error(error) from error

    def cancel(self) -> None:
        """Gives the generation up; the server frees its memory within one step."""
        self._call.cancel()


class AsyncClient(Stubs):
    """Calls raise kvpareto.Error. `timeout` is in seconds and bounds queueing and generation."""

    def __init__(self, address: str, **connection):
        """`connection`: the other fields of kvpareto.connection.Connection."""
        super().__init__(grpc.aio, Connection(address, **connection))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def close(self) -> None:
        await self.channel.close()

    async def _call(self, method, request):
        try:
            return await method(request, metadata=self._connection.metadata)
        except grpc.RpcError as error:
            raise Error(error) from error

    def stream(self, prompt: Prompt, *, timeout: float | None = None, **options) -> AsyncStream:
        """Continues a prompt; `options` are those of kvpareto.request.make_request."""
        request = make_request(prompt, **options)
        return AsyncStream(self._inference.Generate(request, timeout=timeout, metadata=self._connection.metadata))

    async def generate(self, prompt: Prompt, *, timeout: float | None = None, **options) -> Answer:
        """As stream, whole."""
        stream = self.stream(prompt, timeout=timeout, **options)
        async for _ in stream:
            pass
        return stream.answer

    async def plan(self, prompt: Prompt, **options) -> inference_pb2.PlanResponse:
        """What generate would use, without running it."""
        request = inference_pb2.PlanRequest(request=make_request(prompt, **options))
        return await self._call(self._inference.Plan, request)

    async def count_tokens(self, prompt: Prompt, *, model: str = "") -> int:
        request = inference_pb2.CountTokensRequest(model=model, prompt=make_prompt(prompt))
        return (await self._call(self._inference.CountTokens, request)).tokens

    async def models(self) -> list[model_pb2.Model]:
        return list((await self._call(self._models.ListModels, model_pb2.ListModelsRequest())).models)

    async def pareto_table(self, model: str = "") -> model_pb2.ParetoTable:
        request = model_pb2.GetParetoTableRequest(model=model)
        return (await self._call(self._models.GetParetoTable, request)).table

    async def memory(self, model: str = "") -> memory_pb2.MemorySnapshot:
        return (await self._call(self._memory.GetMemory, memory_pb2.GetMemoryRequest(model=model))).memory
