"""What generations give."""
from __future__ import annotations

import dataclasses

from kvpareto.v1 import inference_pb2, kv_pb2

FINISH_REASONS = {inference_pb2.FINISH_REASON_STOP: "stop", inference_pb2.FINISH_REASON_LENGTH: "length"}


@dataclasses.dataclass
class Choice:
    """One continuation. finish_reason: "stop", "length", or "" while it goes on."""
    text: str = ""
    finish_reason: str = ""


@dataclasses.dataclass
class Answer:
    """A generation so far; plan is there with the first text (and may change later), usage at the end."""
    request_id: str = ""
    model: str = ""
    plan: kv_pb2.KvPlan | None = None
    usage: inference_pb2.Usage | None = None
    choices: list[Choice] = dataclasses.field(default_factory=lambda: [Choice()])

    @property
    def text(self) -> str:
        """Of the first continuation."""
        return self.choices[0].text

    @property
    def finish_reason(self) -> str:
        return self.choices[0].finish_reason

    def add(self, response: inference_pb2.GenerateResponse) -> str:
        """Takes in one response; returns its new text."""
        event = response.WhichOneof("event")
        if event == "plan":
            self.request_id, self.model, self.plan = response.plan.request_id, response.plan.model, response.plan.kv
        elif event == "plan_changed":
            self.plan = response.plan_changed
        elif event == "result":
            self.usage = response.result.usage
        elif event == "delta":
            return self._add_delta(response.delta)
        return ""

    def _add_delta(self, delta: inference_pb2.Delta) -> str:
        while len(self.choices) <= delta.sequence:
            self.choices.append(Choice())
        choice = self.choices[delta.sequence]
        choice.text += delta.text
        choice.finish_reason = FINISH_REASONS.get(delta.finish_reason, "")
        return delta.text
