"""Starts and stops what the tests of deploy/ need: a server on the small model, and a Prometheus."""
import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
TABLE = ROOT / "deploy/tables/smollm2-135m.yaml"
PROMETHEUS_TOOLS = ROOT / ".cache/prometheus"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds: float, what: str) -> None:
    """Raises TimeoutError(what) unless condition() turns true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)


def http_get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


@contextlib.contextmanager
def running(arguments: list, log: pathlib.Path):
    """The process, ended with SIGTERM; its output goes to `log`."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([str(a) for a in arguments], stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def server(binary: pathlib.Path, folder: pathlib.Path, settings: str):
    """Runs kvpareto-server on the small model; yields (gRPC address, URL of its metrics).

    `settings` are lines of the model's entry and further sections of the configuration.
    """
    if not MODEL.exists():
        raise FileNotFoundError(f"no {MODEL}; run scripts/fetch_model.sh")
    config, log = folder / "server.yaml", folder / "server.log"
    config.write_text(
        "listen: {grpc: 127.0.0.1:0, metrics: 127.0.0.1:0}\n"
        f"models:\n  - name: smollm2\n    path: {MODEL}\n    table: {TABLE}\n{settings}",
        encoding="utf-8")
    with running([binary, f"--config={config}"], log) as process:
        ports: dict = {}

        def serves() -> bool:
            text = log.read_text(encoding="utf-8")
            if process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{text}")
            for kind, port in re.findall(r"serving (metrics|grpc_)\S* ?\S* port=(\d+)", text):
                ports[kind] = port
            return len(ports) == 2

        wait_until(serves, 60, "the server does not start")
        yield f"127.0.0.1:{ports['grpc_']}", f"http://127.0.0.1:{ports['metrics']}/metrics"


@contextlib.contextmanager
def prometheus(folder: pathlib.Path, target: str):
    """Runs a Prometheus with our rules that scrapes `target` each second; yields its URL."""
    port, rules = free_port(), ROOT / "deploy/prometheus"
    config = folder / "prometheus.yaml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: [{rules / 'recording.yaml'}, {rules / 'alerts.yaml'}]\n"
        "scrape_configs: [{job_name: kvpareto, static_configs: [{targets: ['" + target + "']}]}]\n",
        encoding="utf-8")
    command = [PROMETHEUS_TOOLS / "prometheus", f"--config.file={config}",
               f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, folder / "prometheus.log") as process:
        def ready() -> bool:
            if process.poll() is not None:
                log = (folder / "prometheus.log").read_text(encoding="utf-8")
                raise RuntimeError(f"Prometheus ended:\n{log}")
            try:
                http_get(f"http://127.0.0.1:{port}/-/ready")
            except OSError:
                return False
            return True

        wait_until(ready, 30, "Prometheus does not start")
        yield f"http://127.0.0.1:{port}"
