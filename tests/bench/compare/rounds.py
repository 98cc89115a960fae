"""The rounds that count: contenders take turns, so that a disturbance hits all of them."""
import contextlib
import math
import time

from compare.processes import SPARE_TOKENS
from compare.scout import note
from compare.works import config

SETTLE_SECONDS = 0.3   # OpenMP's threads spin for 200 ms after their last work
WARM_TOKENS = 24       # decoded before each measurement: contenders drive each other out of the shared cache
STRETCH_TOKENS = 32    # decoded per measurement, where the context has room
SLOW_REPEATS = ((20.0, 3), (60.0, 1))  # (seconds, how often a measurement that takes longer is made at most)
SHALLOW_TOKENS = 256   # up to here, the depth itself counts: every measurement starts at the same one


class Contender:
    """Something measured in turns: `measure` returns (tokens, seconds, whether it ran to its end)."""

    def __init__(self, name, measure, repeats):
        self.name = name
        self.measure = measure
        self.repeats = repeats
        self.rates = []
        self.bound = False  # rates are upper bounds

    def done(self):
        return len(self.rates) >= self.repeats

    def take_turn(self):
        time.sleep(SETTLE_SECONDS)
        tokens, seconds, complete = self.measure()
        self.rates.append(tokens / seconds)
        self.bound |= not complete
        for slow_seconds, repeats in SLOW_REPEATS:
            if seconds >= slow_seconds or not complete:
                self.repeats = min(self.repeats, repeats)

    def result(self):
        return {"name": self.name, "rates": self.rates, "bound": self.bound}


def take_turns(contenders):
    """{role: result} of {role: Contender}."""
    while waiting := [contender for contender in contenders.values() if not contender.done()]:
        for contender in waiting:
            contender.take_turn()
            note(f"  {contender.name}: {contender.rates[-1]:.0f} tok/s")
    return {role: contender.result() for role, contender in contenders.items()}


def stretch_tokens(context_tokens, depth):
    return max(1, min(STRETCH_TOKENS, context_tokens - depth - WARM_TOKENS - SPARE_TOKENS))


def engine_contender(engine, text, work, repeats):
    context_tokens = engine.about["context_tokens"]
    tokens = stretch_tokens(context_tokens, work.depth)
    turn_tokens = WARM_TOKENS + tokens
    opens_once = work.depth >= SHALLOW_TOKENS and work.depth + repeats * turn_tokens + SPARE_TOKENS <= context_tokens

    def prefill():
        return work.depth, engine.open(work.depth, 1, text), True

    def decode():
        if not opens_once:
            engine.open(work.depth, turn_tokens, text)
        engine.decode(WARM_TOKENS)
        return tokens, engine.decode(tokens), True

    if work.kind == "decode" and opens_once:
        engine.open(work.depth, repeats * turn_tokens, text)
    return Contender(text, prefill if work.kind == "prefill" else decode, repeats)


def peer_contender(peer, variant, work, repeats, limits):
    """limits: (context tokens of the model, seconds of one measurement)."""
    tokens = stretch_tokens(limits[0], work.depth)

    def prefill():
        done, seconds = peer.prefill(variant, work.depth, limits[1])
        return done, seconds, done == work.depth

    def decode():
        peer.decode(variant, work.depth, WARM_TOKENS)
        return tokens, peer.decode(variant, work.depth + WARM_TOKENS, tokens), True

    peer.open(variant, work.depth + WARM_TOKENS + tokens + 64)
    if work.kind == "decode":
        peer.fill(variant, work.depth)
    return Contender(str(variant), prefill if work.kind == "prefill" else decode, repeats)


def compare_engines(work, scout, start_engine, ours, repeats):
    """Prefill or decode: {role: result} for ours, (named configs, codecs whose slowest and fastest count too), and for
    llama.cpp's best and q4_0 variants."""
    configs, codecs = ours
    with contextlib.ExitStack() as stack:
        def engine():
            started = start_engine()
            stack.callback(started.close)
            return started
        first = engine()
        best_variants, q4_variant = scout.peer_variants(work)
        if codecs:
            slowest, fastest = scout.extreme_codecs(work, first, codecs)
            configs = configs | {"slowest codec": (slowest, slowest), "fastest codec": (fastest, fastest)}
        note(f"{work}: measuring")
        contenders = {role: engine_contender(engine(), config(*pair, scout.chunk(first)), work, repeats)
                      for role, pair in configs.items()}
        context_tokens = first.about["context_tokens"]
        peers = {q4_variant: scout.limit} if q4_variant else {}
        peers |= {variant: scout.limit if scout.variants else math.inf for variant in best_variants}
        for variant, limit in peers.items():
            stack.callback(scout.peer.free, variant)
            contenders[f"llama.cpp {variant}"] = peer_contender(scout.peer, variant, work, repeats,
                                                               (context_tokens, limit))
        return take_turns(contenders)
