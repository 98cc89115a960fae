#!/usr/bin/env python3
"""Runs the server of a CUDA build and checks what it does, on loopback:

  fallback  without a GPU (or with none visible): `device: auto` starts, says so and serves on the CPU; `device: cuda`
            does not start, and says why
  answers   on the GPU and on the CPU, several KV configs at once: measured KV bytes equal the predicted ones, the
            metrics equal the arena in every scrape, the driver sees no more memory than is stated; how many
            characters the greedy answers have in common is printed (rounding differs)
  pressure  requests that run are made smaller on the GPU when a burst of others comes, and all finish
  held      a model of Llama-3.1-8B's shape, AWQ weights of random codes made on the spot: so many requests of so
            many tokens with a 4-bit cache at once

usage: verify_gpu_server.py --bin FOLDER --model MODEL.gguf --table TABLE.yaml --text PROMPT_TEXT
                            [--only fallback,answers,pressure,held] [--work FOLDER]
                            [--requests 56] [--tokens 32768] [--capacity 62GiB]

FOLDER holds kvpareto-server, kvpareto and server_bench. `held` needs numpy and 7 GB in --work, best in memory.
"""
import argparse
import ctypes
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

from loopback_server import LoopbackServer, Watch, check, total

CONFIG = """listen: {{grpc: "127.0.0.1:0", metrics: "127.0.0.1:0"}}
models:
  - name: m
    path: {model}
    table: "{table}"
    device: {device}
    kv_capacity: {capacity}
    prefix_cache: 0
    limits: {{max_step_tokens: {step}, max_running_sequences: 64}}
log: {{format: json}}
"""
KV_CONFIGS = ["k=bf16 v=bf16 chunk=256", "k=int8-channel v=int8-token sink=16 chunk=256",
              "k=int4-channel v=int4-token sink=16 chunk=256",
              "k=int4-token v=int4-token-g32 sink=16 recent=64 chunk=512"]


class Server(LoopbackServer):
    def __init__(self, args, device="cuda", model=None, table="", capacity="1GiB", step=1024, env=None):
        self.args = args
        config = pathlib.Path(args.work) / "server.yaml"
        config.write_text(CONFIG.format(model=model or pathlib.Path(args.model).resolve(), device=device,
                                        table=table and pathlib.Path(table).resolve(), capacity=capacity, step=step))
        super().__init__(f"{args.bin}/kvpareto-server", config, env)

    def loaded(self):
        return next(e for e in self.events if e.get("event", e.get("msg")) == "model loaded")

    def generate(self, file, max_tokens, *flags):
        return subprocess.Popen([f"{self.args.bin}/kvpareto", "generate", "--server", self.address, "--max-tokens",
                                 str(max_tokens), "--ignore-eos", "--explain", "--file", file, *flags],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def context_bytes():
    """What the driver takes for a program that only opens the device."""
    driver = ctypes.CDLL("libcuda.so.1")
    context, free, total_bytes = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    codes = (driver.cuInit(0), driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
             driver.cuCtxSetCurrent(context), driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total_bytes)))
    assert not any(codes), codes
    driver.cuDevicePrimaryCtxRelease(0)
    return total_bytes.value - free.value


def memory_beyond(metrics):
    """What the driver sees beyond the sum of what the server states, in bytes; the driver's own context is in it."""
    stated = sum(total(metrics, name) for name in
                 ("weights_bytes", "workspace_bytes", "scratch_bytes", "transform_bytes", "kv_capacity_bytes"))
    return total(metrics, "device_memory_bytes", 'state="used"') - stated


def check_memory(name, metrics, context):
    beyond = memory_beyond(metrics)
    return check(f"{name} memory", beyond <= context + (256 << 20),
                 f"the driver sees {beyond / 2**20:.0f} MiB more than weights + workspace + scratch + transforms + capacity; "
                 f"{context / 2**20:.0f} of it for a program that only opens the device")


def fallback(args):
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    with Server(args, "auto", env=hidden) as server:
        note = [e.get("note", "") for e in server.events]
        answer = server.generate(args.text, 4)
        answer.communicate()
        ok = check("fallback auto", answer.returncode == 0 and server.loaded()["backend"].startswith("cpu") and
                   any("no CUDA device" in n for n in note), f"{server.loaded()['backend']}, {max(note, key=len)}")
    with Server(args, "cuda", env=hidden) as server:
        code = server.process.wait(timeout=60)
        ok &= check("fallback cuda", code == 1, server.events[-1])
    return ok


def answers(args):
    ok, texts = True, {}
    for device in ("cuda", "cpu"):
        with Server(args, device, table=args.table) as server:
            watch = Watch(server, 0.05)
            started = time.monotonic()
            running = [server.generate(args.text, 48, "--config", config) for config in KV_CONFIGS]
            results = [process.communicate() for process in running]
            seconds = time.monotonic() - started
            watch.end()
            texts[device] = [out for out, _ in results]
            ok &= check(f"answers {device}", all(p.returncode == 0 for p in running) and not watch.wrong,
                        f"{server.loaded()['backend']}, {len(running)} configs in {seconds:.1f} s, "
                        f"{watch.scrapes} scrapes, {watch.wrong} unlike the arena")
            for config, (_, explained) in zip(KV_CONFIGS, results):
                print(f"     {config}: " + " | ".join(l.strip() for l in explained.splitlines() if l.startswith("measured")))
            error = server.scrape()
            ok &= check(f"answers {device} bytes", total(error, "plan_prediction_error_ratio_sum") == 0 and
                        total(error, "plan_prediction_error_ratio_count") == len(running), "predicted = measured")
            if device == "cuda":
                ok &= check_memory("answers", error, args.context_bytes)
    for config, on_gpu, on_cpu in zip(KV_CONFIGS, texts["cuda"], texts["cpu"]):
        common = len(os.path.commonprefix([on_gpu, on_cpu]))
        print(f"     {config}: {common} of {len(on_cpu)} characters in common: {on_gpu[:60]!r}")
    return ok


def pressure(args):
    with Server(args, table=args.table, capacity="256MiB") as server:
        first = [server.generate(args.text, 1500, "--accuracy", "0.5", "--objective", "accuracy") for _ in range(2)]
        time.sleep(3)
        rest = [server.generate(args.text, 64, "--accuracy", "0.5", "--objective", "accuracy") for _ in range(12)]
        codes = [process.communicate() and process.returncode for process in first + rest]
        metrics = server.scrape()
    smaller = total(metrics, "requantized_bytes_total")
    left = total(metrics, "kv_arena_allocated_bytes")
    return check("pressure", not any(codes) and smaller > 0 and left == 0,
                 f"{len(codes)} requests, {sum(map(bool, codes))} failed, {smaller / 1e6:.1f} MB re-encoded, {left:.0f} left")


def write_random_llama(folder):
    """An AutoAWQ checkpoint of Llama-3.1-8B's shape: random codes and embeddings, so no text it writes has a meaning."""
    import numpy as np
    layers, hidden, ffn, heads, kv_heads, vocab, group = 32, 4096, 14336, 32, 8, 128256, 128
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2**32, 1 << 24, dtype=np.uint32)
    normal = (rng.standard_normal(1 << 24).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    header, fill, at = {"__metadata__": {"format": "pt"}}, [], 0

    def add(name, kind, shape, make):
        nonlocal at
        size = int(np.prod(shape)) * {"I32": 4, "F16": 2, "BF16": 2}[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        fill.append((make, size))
        at += size

    def linear(name, rows, columns):
        scale = np.float16(1 / (4.6 * columns ** 0.5)).tobytes()
        add(name + ".qweight", "I32", (columns, rows // 8), codes.tobytes())
        add(name + ".qzeros", "I32", (columns // group, rows // 8), b"\x88" * 65536)
        add(name + ".scales", "F16", (columns // group, rows), scale * 32768)

    ones = np.ones(4096, np.float16).tobytes()
    add("model.embed_tokens.weight", "BF16", (vocab, hidden), normal.tobytes())
    add("lm_head.weight", "BF16", (vocab, hidden), (normal - np.uint16(6 << 7)).tobytes())
    add("model.norm.weight", "F16", (hidden,), ones)
    for i in range(layers):
        at_layer = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            add(f"{at_layer}{name}.weight", "F16", (hidden,), ones)
        for name, rows in (("q", heads * 128), ("k", kv_heads * 128), ("v", kv_heads * 128), ("o", hidden)):
            linear(f"{at_layer}self_attn.{name}_proj", rows, hidden)
        linear(at_layer + "mlp.gate_proj", ffn, hidden)
        linear(at_layer + "mlp.up_proj", ffn, hidden)
        linear(at_layer + "mlp.down_proj", hidden, ffn)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for make, size in fill:
            for done in range(0, size, len(make)):
                out.write(make[:size - done])
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=hidden, intermediate_size=ffn,
                  num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=128,
                  vocab_size=vocab, max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
                  tie_word_embeddings=False, hidden_act="silu", torch_dtype="float16", bos_token_id=0, eos_token_id=1,
                  quantization_config=dict(quant_method="awq", bits=4, group_size=group, version="gemm", zero_point=True))
    (folder / "config.json").write_text(json.dumps(config))
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokenizer = {"model": {"type": "BPE", "vocab": {c: 2 + i for i, c in enumerate(letters)}, "merges": []},
                 "added_tokens": [{"id": i, "content": f"<{i}>", "special": True} for i in range(2)],
                 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
                 "decoder": {"type": "ByteLevel"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<1>", "bos_token": "<0>"}))


def held(args):
    folder = pathlib.Path(args.work) / "llama-8b-awq"
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    write_random_llama(folder)
    print(f"     model written in {time.monotonic() - started:.0f} s", flush=True)
    answer_tokens = 1024
    with Server(args, model=folder, capacity=args.capacity, step=4096) as server:
        print(f"     loaded in {server.loaded()['seconds']} s", flush=True)
        watch = Watch(server, 0.5)
        bench = subprocess.run([f"{args.bin}/server_bench", server.address, str(args.requests),
                                str(args.tokens - answer_tokens), str(answer_tokens),
                                "k=int4-token v=int4-token sink=16 chunk=4096"], capture_output=True, text=True)
        most, end = watch.end(), server.scrape()
    print("     " + (bench.stdout + bench.stderr).strip())
    gb = lambda name, label="": f"{total(most, name, label) / 1e9:.2f} GB"
    ok = check("held", bench.returncode == 0 and total(most, "requests_running") == args.requests and not watch.wrong,
               f"{total(most, 'requests_running'):.0f} requests at once, live {gb('kv_live_bytes')}, allocated "
               f"{gb('kv_allocated_bytes')}, saved against bf16 {gb('kv_saved_bytes')}, weights {gb('weights_bytes')}, "
               f"workspace {gb('workspace_bytes')}, scratch {gb('scratch_bytes')}, driver "
               f"{gb('device_memory_bytes', 'used')}; {watch.scrapes} scrapes, {watch.wrong} unlike the arena")
    ok &= check_memory("held", most, args.context_bytes)
    decode = total(end, "inter_token_seconds_sum") / max(1, total(end, "inter_token_seconds_count"))
    print(f"     mean time between tokens {1e3 * decode:.1f} ms, prefill of others included; "
          f"{total(end, 'kv_arena_allocated_bytes'):.0f} bytes left")
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("bin", "model", "table", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--only", default="fallback,answers,pressure,held")
    parser.add_argument("--work")
    parser.add_argument("--requests", type=int, default=56)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--capacity", default="62GiB")
    args = parser.parse_args()
    args.context_bytes = 0 if args.only == "fallback" else context_bytes()
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or folder
        checks = {"fallback": fallback, "answers": answers, "pressure": pressure, "held": held}
        failed = [name for name in args.only.split(",") if not checks[name](args)]
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
