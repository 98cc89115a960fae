"""Client of KV Pareto: text generation with a memory budget and an accuracy target per request."""
from kvpareto.aio import AsyncClient
from kvpareto.client import Client
from kvpareto.errors import Error
from kvpareto.results import Answer, Choice

__all__ = ["Answer", "AsyncClient", "Choice", "Client", "Error"]
