"""Requests from plain Python values."""
from __future__ import annotations

from typing import Mapping, Sequence, Union

from kvpareto.v1 import inference_pb2, kv_pb2

# Text; a chat of {"role": ..., "content": ...}; or token ids.
Prompt = Union[str, Sequence[Mapping[str, str]], Sequence[int]]

OBJECTIVES = {"accuracy": kv_pb2.OBJECTIVE_ACCURACY, "memory": kv_pb2.OBJECTIVE_MEMORY,
              "speed": kv_pb2.OBJECTIVE_SPEED}
SAMPLING = {field.name for field in inference_pb2.SamplingOptions.DESCRIPTOR.fields}


def make_prompt(prompt: Prompt) -> inference_pb2.Prompt:
    if isinstance(prompt, str):
        return inference_pb2.Prompt(text=prompt)
    items = list(prompt)
    if items and isinstance(items[0], Mapping):
        messages = [inference_pb2.ChatMessage(**message) for message in items]
        return inference_pb2.Prompt(messages=inference_pb2.ChatMessages(messages=messages))
    return inference_pb2.Prompt(token_ids=inference_pb2.TokenIds(ids=items))


def make_request(prompt: Prompt, *, model: str = "", max_tokens: int | None = None, stop: Sequence[str] = (),
                 n: int | None = None, memory_budget_bytes: int | None = None, accuracy_target: float | None = None,
                 objective: str | None = None, config: str = "", service_class: str = "", request_id: str = "",
                 ignore_eos: bool = False, **sampling) -> inference_pb2.GenerateRequest:
    """The request; `sampling` are fields of SamplingOptions (temperature, top_p, seed, ...), None meaning unset.

    Raises TypeError for an option that there is not, ValueError for an unknown objective.
    """
    if unknown := set(sampling) - SAMPLING:
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    if objective is not None and objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}")
    return inference_pb2.GenerateRequest(
        request_id=request_id, model=model, service_class=service_class, prompt=make_prompt(prompt),
        sampling=inference_pb2.SamplingOptions(**sampling),
        stopping=inference_pb2.StoppingOptions(max_tokens=max_tokens, stop_strings=stop, ignore_eos=ignore_eos),
        response=inference_pb2.ResponseOptions(sequences=n),
        kv=kv_pb2.KvOptions(memory_budget_bytes=memory_budget_bytes, accuracy_target=accuracy_target,
                            objective=OBJECTIVES.get(objective), pinned_config=config))
