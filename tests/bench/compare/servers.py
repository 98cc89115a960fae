"""The two servers, each answering several requests at once."""
import concurrent.futures
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from compare.rounds import Contender, take_turns
from compare.scout import SCOUT_TOKENS, note
from compare.works import NAMED, SERVED_REQUESTS, SERVED_TOKENS, Work, config

START_SECONDS = 120
SPARE_SLOT_TOKENS = 16
VOCAB = 32000  # prompts are pseudo-random ids below this, as those of server_bench


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, ready, **options):
    """A server process that has answered `ready()`."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not start")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def our_server(args, threads):
    """Yields the address of kvpareto-server."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "server.yaml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"listen": {"grpc": f"127.0.0.1:{port}", "metrics": ""},
                       "models": [{"name": "model", "path": os.path.abspath(args.model), "kv_capacity": "8GiB",
                                   "threads": threads, "limits": {"max_step_tokens": 4096}}]}, file)  # YAML, too
        with running([args.server, f"--config={path}"], lambda: listens(port)):
            yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def peer_server(args, threads, variant, slot_tokens):
    """Yields the URL of llama-server."""
    url = f"http://127.0.0.1:{free_port()}"

    def healthy():
        try:
            return urllib.request.urlopen(url + "/health", timeout=1).status == 200
        except (urllib.error.URLError, OSError):
            return False

    command = [args.llama_server, "-m", args.model, "--host", "127.0.0.1", "--port", url.rpartition(":")[2],
               "-np", str(SERVED_REQUESTS), "-c", str(SERVED_REQUESTS * slot_tokens), "-t", str(threads),
               "-tb", str(threads), "-ctk", variant.k, "-ctv", variant.v, "-fa", "on" if variant.flash else "off",
               "-b", "2048", "-ub", str(variant.ubatch), "--cache-ram", "0"]
    with running(command, healthy):
        yield url


def post_completion(url, request, prompt_tokens):
    body = json.dumps({"prompt": [(7919 * i + 13 + 101 * request) % VOCAB for i in range(prompt_tokens)],
                       "n_predict": SERVED_TOKENS, "ignore_eos": True, "cache_prompt": False}).encode()
    with urllib.request.urlopen(urllib.request.Request(
            url + "/completion", body, {"Content-Type": "application/json"})) as response:
        answer = json.load(response)
    if (answer["tokens_evaluated"], answer["tokens_predicted"]) != (prompt_tokens, SERVED_TOKENS):
        raise SystemExit(f"llama-server computed {answer['tokens_evaluated']} + {answer['tokens_predicted']} tokens")


def peer_contender(url, variant, work, repeats):
    def measure():
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(SERVED_REQUESTS) as pool:
            list(pool.map(lambda request: post_completion(url, request, work.depth), range(SERVED_REQUESTS)))
        return SERVED_REQUESTS * (work.depth + SERVED_TOKENS), time.perf_counter() - start, True
    return Contender(str(variant), measure, repeats)


def our_contender(args, address, text, work, repeats):
    def measure():
        command = [args.server_bench, address, str(SERVED_REQUESTS), str(work.depth), str(SERVED_TOKENS), text]
        answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return answer["tokens"], answer["seconds"], True
    return Contender(text, measure, repeats)


def compare_servers(work, scout, args, threads, chunk):
    """{role: result} of the named configs and of llama-server with its best variant for prefill, most of the work."""
    [variant, *_], _ = scout.peer_variants(Work("prefill", SCOUT_TOKENS))
    note(f"{work}: measuring")
    with our_server(args, threads) as address, \
         peer_server(args, threads, variant, work.depth + SERVED_TOKENS + SPARE_SLOT_TOKENS) as url:
        contenders = {role: our_contender(args, address, config(*pair, chunk), work, args.repeats)
                      for role, pair in NAMED.items()}
        contenders[f"llama.cpp {variant}"] = peer_contender(url, variant, work, args.repeats)
        return take_turns(contenders)
