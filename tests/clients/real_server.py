"""A kvpareto-server process on free loopback ports, for the length of a `with` block."""
import json
import os
import pathlib
import queue
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
TABLE = ROOT / "deploy/tables/smollm2-135m.yaml"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def configuration(**sections) -> dict:
    """A server of one model, "smollm2", on free ports; `sections` replace or add top-level keys."""
    config = {
        "listen": {"grpc": "127.0.0.1:0", "metrics": "127.0.0.1:0"},
        "models": [{"name": "smollm2", "path": str(MODEL), "table": str(TABLE), "kv_capacity": "256MiB"}],
        "drain": {"timeout": "2s"},
        "log": {"format": "json"},
    }
    return config | sections


def wait_until(condition, what: str) -> None:
    """Raises TimeoutError(what) unless condition() turns true within a time that is long for a busy machine, too."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


class RealServer:
    """`ports` maps the events that the server logs for its listeners ("serving", ...) to port numbers."""

    def __init__(self, config: dict | None = None):
        if not MODEL.exists():
            raise FileNotFoundError(f"{MODEL} is missing: run scripts/fetch_model.sh")
        self._folder = tempfile.TemporaryDirectory(prefix="kvpareto-")
        self.folder = pathlib.Path(self._folder.name)
        self._config = config or configuration()
        self._events: queue.Queue = queue.Queue()
        self.log: list[str] = []
        self.ports: dict[str, int] = {}

    def __enter__(self) -> "RealServer":
        path = self.folder / "server.yaml"
        path.write_text(json.dumps(self._config))  # JSON is YAML
        self._process = subprocess.Popen([os.environ["KVPARETO_SERVER_BINARY"], f"--config={path}"],
                                         stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self._wait_until_serving()
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            self._process.stderr.close()
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.ports['serving']}"

    def _read_log(self) -> None:
        for line in self._process.stderr:
            self.log.append(line)
            self._events.put(line)
        self._events.put(None)

    def _wait_until_serving(self) -> None:
        """Every other listener starts before gRPC does."""
        while "serving" not in self.ports:
            line = self._events.get(timeout=START_TIMEOUT_S)
            if line is None:
                self._reader.join()
                self._process.wait()
                raise RuntimeError("the server did not start:\n" + "".join(self.log))
            event = json.loads(line) if line.startswith("{") else {}  # errors in the configuration are text
            if "port" in event:
                self.ports[event["event"]] = event["port"]
