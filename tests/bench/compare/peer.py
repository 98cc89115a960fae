"""Serves llama.cpp to compare_llamacpp.py: run by an interpreter that has llama-cpp-python.

usage: peer.py MODEL.gguf THREADS

Takes a JSON object a line, {"do": NAME, ...arguments}, and answers with one: the methods of `Peer`.
"""
import ctypes
import json
import sys
import time

import llama_cpp

FILL_TOKENS = 512
GGML_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}  # enum ggml_type; the binding does not name all


class Peer:
    """One loaded model, and a context for each variant that was opened."""

    def __init__(self, model_path, threads):
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(model_path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {model_path}")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.threads = threads
        self.contexts = {}

    def open(self, name, k, v, flash, ubatch, context_tokens):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context_tokens
        params.n_batch = params.n_ubatch = ubatch
        params.n_seq_max = 2  # the sequence, and the one that `fill` goes by
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k, params.type_v = GGML_TYPES[k], GGML_TYPES[v]
        params.flash_attn_type = int(flash)
        params.no_perf = True
        context = llama_cpp.llama_init_from_model(self.model, params)
        if not context:
            return {"error": f"no context for {name}"}
        self.contexts[name] = (context, ubatch)
        self.eval(context, self.tokens(0, 64), 0, sequence=0)  # warms up
        return {}

    def close(self, name):
        llama_cpp.llama_free(self.contexts.pop(name)[0])
        return {}

    def prefill(self, name, tokens, limit):
        """Stops after `limit` seconds: the speed of the tokens done is then an upper bound, as it falls with depth."""
        context, batch = self.contexts[name]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
        start = time.perf_counter()
        done = 0
        while done < tokens and time.perf_counter() - start < limit:
            count = min(batch, tokens - done)
            self.eval(context, self.tokens(done, count), done, sequence=0)
            done += count
        return {"tokens": done, "seconds": time.perf_counter() - start}

    def fill(self, name, depth):
        """Fills the cache to decode behind it. Decoding time does not depend on what is in the cache, so every piece
        attends to itself only, as a sequence of its own that the real one takes over: much faster than prefill."""
        context, _ = self.contexts[name]
        memory = llama_cpp.llama_get_memory(context)
        llama_cpp.llama_memory_clear(memory, False)
        for done in range(0, depth, FILL_TOKENS):
            count = min(FILL_TOKENS, depth - done)
            self.eval(context, self.tokens(done, count), done, sequence=1)
            llama_cpp.llama_memory_seq_cp(memory, 1, 0, -1, -1)
            llama_cpp.llama_memory_seq_rm(memory, 1, -1, -1)
        return {}

    def decode(self, name, depth, tokens):
        """Decodes behind the first `depth` tokens of the cache."""
        context, _ = self.contexts[name]
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(context), 0, depth, -1)
        start = time.perf_counter()
        for i in range(tokens):
            self.eval(context, self.tokens(depth + i, 1), depth + i, sequence=0)
        return {"seconds": time.perf_counter() - start}

    def tokens(self, first, count):
        return [(7919 * i + 13) % self.vocab for i in range(first, first + count)]

    def eval(self, context, tokens, position, sequence):
        """Runs one batch; logits of its last token."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position + i, 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i == len(tokens) - 1
        code = llama_cpp.llama_decode(context, batch)
        llama_cpp.llama_synchronize(context)
        llama_cpp.llama_batch_free(batch)
        if code != 0:
            raise SystemExit(f"llama_decode: {code}")


@llama_cpp.llama_log_callback
def ignore_log(_level, _text, _user_data):
    pass


def main():
    llama_cpp.llama_log_set(ignore_log, ctypes.c_void_p(0))
    peer = Peer(sys.argv[1], int(sys.argv[2]))
    features = llama_cpp.llama_print_system_info().decode().partition(":")[2].split("|")
    print(json.dumps({"backend": ", ".join(name.split()[0] for name in features if name.strip().endswith("= 1")),
                      "version": "llama-cpp-python " + llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(peer, command.pop("do"))(**command)), flush=True)


if __name__ == "__main__":
    main()
