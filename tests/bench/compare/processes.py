"""The two engines as processes that measure on demand, one JSON answer for each command line."""
import json
import os
import subprocess

PEER_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.py")
SPARE_TOKENS = 4  # decoded besides the measured ones, at most


class MeasureError(Exception):
    """What a process answered instead of a measurement."""


class LineProcess:
    """A child that answers each line with a line."""

    def __init__(self, command):
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.command[0]} ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise MeasureError(answer["error"])
        return answer

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Engine(LineProcess):
    """engine_bench."""

    def __init__(self, binary, model, threads, calibration=None, max_step_tokens=4096):
        super().__init__([binary, model, "--threads", str(threads), "--max-step-tokens", str(max_step_tokens)] +
                         (["--calibration", calibration] if calibration else []))

    def open(self, depth, decode_tokens, config, requests=1):
        """Prefills `depth` tokens (of each request) and holds the requests there; returns the seconds."""
        return self.ask(f"open {requests} {max(1, depth)} {decode_tokens} {config}")["prefill_seconds"]

    def decode(self, tokens):
        """Returns the seconds in which every open request decodes so many."""
        return self.ask(f"decode {tokens}")["seconds"]


class Peer(LineProcess):
    """peer.py with one model; names its contexts by the variant."""

    def __init__(self, python, model, threads):
        super().__init__([python, PEER_SCRIPT, model, str(threads)])

    def do(self, method, variant, **arguments):
        return self.ask(json.dumps({"do": method, "name": str(variant), **arguments}))

    def open(self, variant, context_tokens):
        self.do("open", variant, k=variant.k, v=variant.v, flash=variant.flash, ubatch=variant.ubatch,
                context_tokens=context_tokens)

    def free(self, variant):
        self.do("close", variant)

    def prefill(self, variant, tokens, limit):
        """Returns (tokens done, seconds)."""
        answer = self.do("prefill", variant, tokens=tokens, limit=limit)
        return answer["tokens"], answer["seconds"]

    def fill(self, variant, depth):
        self.do("fill", variant, depth=depth)

    def decode(self, variant, depth, tokens):
        return self.do("decode", variant, depth=depth, tokens=tokens)["seconds"]
