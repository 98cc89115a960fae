"""Sends the requests that make every panel of the dashboards move."""
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy/samples/northanger_abbey_prompt.txt").read_text(encoding="utf-8")

# Little memory, a short queue and low watermarks: requests wait, are refused, expire, and get smaller
# configs.
SLO = """schema_version: 1
models:
  - model: smollm2
    high_watermark: 0.5
    low_watermark: 0.3
    classes:
      - {name: interactive, guaranteed_share: 0.3, priority: 10}
      - {name: batch, burst_share: 0.6}
"""


def settings(folder: pathlib.Path) -> str:
    """For processes.server: what the load is made for. `folder` gets the SLO file."""
    (folder / "slo.yaml").write_text(SLO, encoding="utf-8")
    return f"""    kv_capacity: 40MiB
    limits: {{max_queued_requests: 3}}
service_classes: [default, interactive, batch]
slo: {folder / "slo.yaml"}
"""


# A class and the flags of its requests; the answers of all are so long.
KINDS = [
    ("interactive", ["--accuracy", "0.97"]),
    ("batch", ["--objective", "memory", "--accuracy", "0.5"]),
    ("default", ["--objective", "memory", "--accuracy", "0.94"]),
    ("batch", ["--config", "k=int4-channel v=int4-token sink=16 recent=128 chunk=128"]),
    ("interactive", ["--timeout", "0.5"]),
]


class Load:
    """Keeps `parallel` clients busy for some seconds."""

    def __init__(self, client: pathlib.Path, address: str, folder: pathlib.Path):
        self.client, self.address, self.folder = client, address, folder
        self.sent = 0

    def start_one(self, words: int, tokens: int) -> subprocess.Popen:
        service_class, flags = KINDS[self.sent % len(KINDS)]
        begin = 400 * self.sent % 8000
        self.sent += 1
        prompt = self.folder / f"prompt-{self.sent}.txt"
        prompt.write_text(" ".join(TEXT[begin:].split()[:words]), encoding="utf-8")
        return subprocess.Popen(
            [self.client, "generate", "--server", self.address, "--class", service_class, *flags,
             "--file", prompt, "--max-tokens", str(tokens), "--ignore-eos"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, seconds: float, parallel: int, words: int = 120, tokens: int = 60) -> None:
        clients: list = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            clients = [client for client in clients if client.poll() is None]
            while len(clients) < parallel:
                clients.append(self.start_one(words, tokens))
            time.sleep(0.05)
        for client in clients:
            client.wait(timeout=300)
