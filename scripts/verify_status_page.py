#!/usr/bin/env python3
"""Looks at the status page in a headless Chromium while a server works; checks what it shows.

Runs in the environment of scripts/python_env.sh; needs a built server and Debian's package chromium.

usage: .cache/venv/bin/python scripts/verify_status_page.py SERVER [PICTURE.png]
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import tritonclient.grpc as triton

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
from real_server import RealServer, wait_until  # noqa: E402
from triton_test import MODEL, PROMPT, vllm_inputs  # noqa: E402

BUDGETS = (14, 20, 28, 40, 60)  # MiB
EVIL = "<img/src=x/onerror=document.title='evil'>"


def browse(url: str, *options: str) -> str:
    with tempfile.TemporaryDirectory(prefix="kvpareto-chromium-") as profile:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                   "--window-size=1000,1000", "--virtual-time-budget=3000", *options, url]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def requests_of(url: str) -> list:
    with urllib.request.urlopen(url + "status.json") as answer:
        return json.load(answer)["requests"]


def main() -> None:
    os.environ["KVPARETO_SERVER_BINARY"] = sys.argv[1]
    picture = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "status_page.png").resolve()
    with RealServer() as server, triton.InferenceServerClient(server.grpc_address) as client:
        url = f"http://127.0.0.1:{server.ports['serving metrics']}/"
        client.start_stream(lambda result, error: print(error) if error else None)
        def ask(request_id: str, max_tokens: int = 1500, **parameters) -> None:
            inputs = vllm_inputs(PROMPT * 60, stream=True, max_tokens=max_tokens, ignore_eos=True)
            client.async_stream_infer(MODEL, inputs, request_id=request_id, parameters=parameters)

        for number, budget in enumerate(BUDGETS):
            ask(f"request-{number}", kv_memory_budget_bytes=budget << 20)
        for name in ("large", "too-large-for-now"):
            ask(name, max_tokens=5000, kv_config="bf16-c128")
        wait_until(lambda: sum(r["generated_tokens"] > 50 for r in requests_of(url)) == len(BUDGETS) + 1,
                   "the requests make no progress")
        browse(url, f"--screenshot={picture}")
        ask(EVIL)
        wait_until(lambda: any(r["request_id"] == EVIL for r in requests_of(url)), "the last request is not there")
        page = browse(url, "--dump-dom")
        client.stop_stream(cancel_requests=True)
    for words in ("ready", "Pareto table", "request-1", "/ 1500", "running", "waiting", "<circle", EVIL.replace("<", "&lt;").replace(">", "&gt;")):
        assert words in page, f"the page does not show {words!r}"
    assert "evil</title>" not in page and "<img" not in page, "a request id became markup"
    print(f"the page shows what it should; {picture}")


if __name__ == "__main__":
    main()
