"""The first round: which variant of llama.cpp, which prefill chunk and which codecs are worth repeating."""
import math
import sys

from compare.processes import MeasureError
from compare.works import CHUNKS, PeerVariant, config, peer_variants

SCOUT_TOKENS = 2048   # prefill that variants and codecs are ranked by
FINALISTS = 3         # variants that are tried at a greater depth as well
LOSING_FACTOR = 1.3   # slower than the best by this: no need to finish
CLOSE_SHARE = 0.95    # of the best rate: one measurement does not tell these apart, so they all go into the rounds
MOST_CLOSE = 2
SCOUT_DECODE_TOKENS = 16
EXTREME_CODECS = 3    # of the worst and of the best that are tried at a greater depth as well


def note(text):
    print(text, file=sys.stderr, flush=True)


def prefill_rates(peer, variants, tokens, limit):
    """{variant: tokens per second}. Whoever is clearly slower than the best so far is stopped, and is not tried with
    another ubatch."""
    rates, lost = {}, set()
    for variant in variants:
        if (variant.k, variant.v, variant.flash) in lost:
            continue
        seconds_left = LOSING_FACTOR * tokens / max(rates.values()) if rates else math.inf
        peer.open(variant, tokens + 64)
        done, seconds = peer.prefill(variant, tokens, min(seconds_left, limit))
        peer.free(variant)
        rates[variant] = done / seconds
        if LOSING_FACTOR * rates[variant] < max(rates.values()):
            lost.add((variant.k, variant.v, variant.flash))
        note(f"  {variant}: prefill {tokens}: {rates[variant]:.0f} tok/s{'' if done == tokens else ' (stopped)'}")
    return rates


def decode_rates(peer, variants, depth):
    rates = {}
    for variant in variants:
        peer.open(variant, depth + SCOUT_DECODE_TOKENS + 64)
        peer.fill(variant, depth)
        peer.decode(variant, depth, 2)
        seconds = min(peer.decode(variant, depth, SCOUT_DECODE_TOKENS) for _ in range(2))
        rates[variant] = SCOUT_DECODE_TOKENS / seconds
        peer.free(variant)
        note(f"  {variant}: decode at {depth}: {rates[variant]:.0f} tok/s")
    return rates


def ranked(rates):
    return sorted(rates, key=rates.get, reverse=True)


def is_q4(variant):
    return (variant.k, variant.v) == ("q4_0", "q4_0")


class Scout:
    """What the first round found, in the form that a results file keeps, for one thread count."""

    def __init__(self, found, peer, limit, variants=None):
        self.found = found
        self.peer = peer
        self.limit = limit
        self.variants = variants  # of llama.cpp, where they are not to be found

    def remember(self, key, find):
        if key not in self.found:
            note(f"scouting: {key}")
            self.found[key] = find()
        return self.found[key]

    def peer_variants(self, work):
        """(those that may be the best of all, the best q4_0 or None) for this work."""
        if self.variants:
            return [v for v in self.variants if not is_q4(v)], next(filter(is_q4, self.variants), None)
        find = self.rank_decode if work.kind == "decode" else self.rank_prefill
        found = self.remember(f"llama.cpp {work}", lambda: find(work.depth))
        return [PeerVariant(**fields) for fields in found["best"]], PeerVariant(**found["q4_0"])

    def rank_decode(self, depth):
        rates = decode_rates(self.peer, peer_variants("decode"), depth)
        return self.winners(rates, rates)

    def rank_prefill(self, depth):
        """At a great depth, those that are best at a smaller one; q4_0 is ranked at the smaller one alone."""
        tokens = min(depth, SCOUT_TOKENS)
        rates = prefill_rates(self.peer, [v for v in peer_variants("prefill") if not is_q4(v)], tokens, math.inf)
        q4_rates = prefill_rates(self.peer, [v for v in peer_variants("prefill") if is_q4(v)], tokens, self.limit)
        if depth > tokens:
            rates = prefill_rates(self.peer, ranked(rates)[:FINALISTS], depth, math.inf)
        return self.winners(rates, q4_rates)

    def winners(self, rates, q4_rates):
        close = [v for v in ranked(rates) if rates[v] >= CLOSE_SHARE * max(rates.values())]
        return {"best": [vars(v) for v in close[:MOST_CLOSE]], "q4_0": vars(next(filter(is_q4, ranked(q4_rates))))}

    def chunk(self, engine):
        """The prefill chunk that is fastest for bf16."""
        def find():
            seconds = [{chunk: engine.open(SCOUT_TOKENS, 1, config("bf16", "bf16", chunk)) for chunk in CHUNKS}
                       for _ in range(2)]
            rates = {chunk: SCOUT_TOKENS / min(turn[chunk] for turn in seconds) for chunk in CHUNKS}
            note("  " + ", ".join(f"{chunk}: {rate:.0f} tok/s" for chunk, rate in rates.items()))
            return ranked(rates)[0]
        return self.remember("chunk", find)

    def codec_rates(self, engine, depth, codecs):
        """{kind: {codec: tok/s}} of prefill and decode at `depth` for K and V in the same codec; without codecs that
        this model cannot use."""
        rates = {"prefill": {}, "decode": {}}
        for codec in codecs:
            try:
                seconds = engine.open(depth, SCOUT_DECODE_TOKENS + 2, config(codec, codec, self.chunk(engine)))
                engine.decode(2)
                rates["prefill"][codec] = max(1, depth) / seconds
                rates["decode"][codec] = SCOUT_DECODE_TOKENS / engine.decode(SCOUT_DECODE_TOKENS)
                note(f"  {codec}: {rates['prefill'][codec]:.0f}, {rates['decode'][codec]:.0f} tok/s")
            except MeasureError as error:
                note(f"  {codec} is left out: {error}")
        return rates

    def extreme_codecs(self, work, engine, codecs):
        """(slowest, fastest) codec for this work."""
        depth = min(work.depth, SCOUT_TOKENS)
        rates = self.remember(f"codecs at {depth}", lambda: self.codec_rates(engine, depth, codecs))[work.kind]
        if work.depth > depth:
            order = ranked(rates)
            extremes = dict.fromkeys(order[:EXTREME_CODECS] + order[-EXTREME_CODECS:])
            rates = self.remember(f"codecs at {work.depth}",
                                  lambda: self.codec_rates(engine, work.depth, list(extremes)))[work.kind]
        return ranked(rates)[-1], ranked(rates)[0]
