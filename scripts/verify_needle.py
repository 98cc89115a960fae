#!/usr/bin/env python3
"""Hides a sentence in about 4,000 tokens of a novel and asks the model for it, through the server, under several KV
configs: a model that finds it with the bf16 cache must find it with the quantized ones. A prompt without the sentence
is asked, too: there the answer must not be right.

usage: verify_needle.py --model MODEL [--bin build/release] [--context 4096] [--configs TEXT ...]
       verify_needle.py --server HOST:PORT [...]     a server that runs already

Starts kvpareto-server on MODEL, talks to it with the kvpareto client, and stops it. Prints a table; exit code 1 when
an answer is wrong. Needs nothing but the build.
"""
import argparse
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = [
    "k=bf16 v=bf16 sink=16 recent=0 chunk=512",
    "k=int8-token v=int8-token sink=16 recent=0 chunk=256",
    "k=int4-channel v=int4-token-g32 sink=16 recent=0 chunk=256",
    "k=int4-token-g32 v=int4-token-g32 sink=16 recent=128 chunk=256",
]
DEPTHS = [0.1, 0.5, 0.9]
NEEDLES = [("lighthouse", "73914"), ("clock tower", "28506"), ("granary", "61937")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """The kvpareto command-line client."""

    def __init__(self, binary, address):
        self.command, self.address = [str(binary)], address

    def run(self, command, prompt, *flags):
        words = self.command + [command, "--server", self.address, "--file", "-", "--chat", *flags]
        result = subprocess.run(words, input=prompt, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{' '.join(words)}\n{result.stderr}")
        return result.stdout

    def count(self, prompt):
        return int(re.search(r"\d[\d,]*", self.run("tokens", prompt))[0].replace(",", ""))

    def answer(self, prompt, config):
        return self.run("generate", prompt, "--config", config, "--max-tokens", "24").strip()


class Server:
    """kvpareto-server on one model, for the length of a with statement."""

    def __init__(self, binary, model):
        self.binary, self.model = binary, model

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        port, metrics = free_port(), free_port()
        config = pathlib.Path(self.folder.name, "server.yaml")
        config.write_text(f"listen:\n  grpc: 127.0.0.1:{port}\n  metrics: 127.0.0.1:{metrics}\n"
                          f"models:\n  - name: needle\n    path: {json.dumps(str(self.model.resolve()))}\n")
        self.process = subprocess.Popen([self.binary, f"--config={config}"], stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while time.time() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"127.0.0.1:{port}"
            except OSError:
                time.sleep(0.2)
        raise SystemExit("the server did not start")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.folder.cleanup()


def make_prompt(text, words, depth, place, number):
    """`words` words of the text with the needle at `depth` (None: without it), and the question."""
    haystack = text.split()[:words]
    if depth is not None:
        haystack.insert(int(depth * words), f"The secret number of the {place} is {number}.")
    body = " ".join(haystack)
    return (f"Read the following text.\n\n{body}\n\nWhat is the secret number of the {place}? "
            f"Answer with the number only.")


def words_for(client, text, context):
    """How many words of the text make a prompt of about `context` tokens."""
    words = min(len(text.split()), context // 2)
    tokens = client.count(make_prompt(text, words, 0.5, *NEEDLES[0]))
    return min(len(text.split()), int(words * context / tokens))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--server")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "deploy/samples/northanger_abbey_prompt.txt")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    args = parser.parse_args()
    if not args.model and not args.server:
        parser.error("--model or --server is needed")

    def check(address):
        client = Client(args.bin / "clients/cli/kvpareto", address)
        text = args.text.read_text()
        words = words_for(client, text, args.context)
        control = client.answer(make_prompt(text, words, None, *NEEDLES[0]), args.configs[0])
        failures = int(NEEDLES[0][1] in control)
        print(f"{'GUESSED' if failures else 'unknown'} without the sentence: {control!r}", flush=True)
        for config in args.configs:
            for depth, (place, number) in zip(DEPTHS, NEEDLES):
                prompt = make_prompt(text, words, depth, place, number)
                start = time.time()
                answer = client.answer(prompt, config)
                found = number in answer.replace(",", "")
                failures += not found
                print(f"{'found ' if found else 'MISSED'} depth {depth:.0%} of {client.count(prompt)} tokens, "
                      f"{time.time() - start:.0f} s: {answer!r}  {config}", flush=True)
        return failures

    if args.server:
        failures = check(args.server)
    else:
        with Server(args.bin / "server/kvpareto-server", args.model) as address:
            failures = check(address)
    print(f"{failures} of {len(args.configs) * len(DEPTHS) + 1} wrong")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
