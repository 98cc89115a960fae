"""How clients connect: clear text or TLS, with or without a bearer token."""
from __future__ import annotations

import dataclasses

import grpc

from kvpareto.v1 import inference_pb2_grpc, memory_pb2_grpc, model_pb2_grpc


@dataclasses.dataclass
class Connection:
    """Certificates and keys are PEM bytes. root_certificates b"": TLS with the system's authorities; None: clear text."""
    address: str
    token: str | None = None
    root_certificates: bytes | None = None
    client_key: bytes | None = None
    client_certificate: bytes | None = None

    def open(self, channels) -> grpc.Channel:
        """`channels`: grpc or grpc.aio."""
        if self.root_certificates is None:
            return channels.insecure_channel(self.address)
        credentials = grpc.ssl_channel_credentials(self.root_certificates or None, self.client_key,
                                                   self.client_certificate)
        return channels.secure_channel(self.address, credentials)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")] if self.token else []


class Stubs:
    """The channel of a client and the services behind it."""

    def __init__(self, channels, connection: Connection):
        self._connection = connection
        self.channel = connection.open(channels)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self.channel)
        self._models = model_pb2_grpc.ModelServiceStub(self.channel)
        self._memory = memory_pb2_grpc.MemoryServiceStub(self.channel)
