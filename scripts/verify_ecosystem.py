#!/usr/bin/env python3
"""Goes the way of the README's section "Run it your way": runs its commands and programs, as they stand, and checks
what comes of them: a server in a container, a chat through openai, an infer through tritonclient, metrics in a real
Prometheus, a refused call without a token.

Runs in the environment of scripts/python_env.sh, with the Prometheus of scripts/fetch_prometheus.sh.

usage: .cache/venv/bin/python scripts/verify_ecosystem.py [ROOTFS]
       ROOTFS: the image's root, from scripts/verify_image.sh, instead of Docker; in a network of its own; needs root
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/deploy"))
from processes import PROMETHEUS_TOOLS, free_port, http_get, running, wait_until  # noqa: E402

SECTION = re.compile(r"^## Run it your way\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The blocks of the section, in order: language, and what their output must have.
EXPECTED = [("bash", "SERVING"), ("python", "Paris"), ("python", "Paris"), ("yaml", ""), ("bash", "CREDENTIALS_MISSING")]
TIMEOUT_S = 120  # of a block
BUILD_TIMEOUT_S = 3600  # of the first with Docker, which builds the image


def blocks() -> list[tuple[str, str]]:
    section = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    return BLOCK.findall(section[1])


def run(command: list[str], text: str) -> str:
    done = subprocess.run([*command, text], cwd=ROOT, text=True, capture_output=True,
                          timeout=BUILD_TIMEOUT_S if "docker build" in text and "ROOTFS" not in os.environ else TIMEOUT_S)
    print(done.stdout.strip())
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr}"
    return done.stdout


def scrape(config: str, folder: pathlib.Path) -> None:
    """A Prometheus with this configuration finds the server, and what the requests before have done."""
    file, port = folder / "prometheus.yaml", free_port()
    file.write_text("global: {scrape_interval: 1s}\n" + config, encoding="utf-8")
    command = [PROMETHEUS_TOOLS / "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
               f"--web.listen-address=127.0.0.1:{port}"]

    def value(expression: str) -> float:
        query = urllib.parse.urlencode({"query": expression})
        try:
            result = json.loads(http_get(f"http://127.0.0.1:{port}/api/v1/query?{query}"))["data"]["result"]
        except OSError:
            return 0.0
        return float(result[0]["value"][1]) if result else 0.0

    with running(command, folder / "prometheus.log"):
        wait_until(lambda: value('up{job="kvpareto"}') == 1, 60, "the server is not scraped")
        finished = 'sum(kvpareto_requests_total{code="OK"})'
        wait_until(lambda: value(finished) >= 2, 60, "the requests are not counted")
        print(f"{finished} = {value(finished):.0f}, "
              f"kvpareto_kv_capacity_bytes = {value('kvpareto_kv_capacity_bytes'):.0f}")


def follow(folder: pathlib.Path) -> None:
    found = blocks()
    assert [language for language, _ in found] == [language for language, _ in EXPECTED], "the section has other blocks"
    for (language, text), (_, words) in zip(found, EXPECTED):
        print(f"\n== {language}: {text.splitlines()[0]} ...", flush=True)
        if language == "yaml":
            scrape(text, folder)
            continue
        command = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        output = run(command, text)
        assert words in output, f"no {words!r} in the output"
    assert '"id":"smollm2-135m"' in output.replace(": ", ":"), "the token opens nothing"
    print("\nthe README keeps its word")


def main() -> None:
    if len(sys.argv) > 1 and "KVPARETO_OWN_NETWORK" not in os.environ:
        os.environ["KVPARETO_OWN_NETWORK"] = "1"
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-",
                              sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(prefix="kvpareto-ecosystem-") as name:
        folder = pathlib.Path(name)
        if len(sys.argv) > 1:
            (folder / "docker").symlink_to(ROOT / "scripts/docker_on_rootfs.sh")
            os.environ |= {"ROOTFS": str(pathlib.Path(sys.argv[1]).resolve()), "STATE": name,
                           "PATH": f"{name}:{os.environ['PATH']}"}
        try:
            follow(folder)
        finally:
            subprocess.run(["docker", "stop", "kvpareto"], capture_output=True, check=False)


if __name__ == "__main__":
    main()
