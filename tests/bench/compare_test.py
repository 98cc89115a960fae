#!/usr/bin/env python3
"""Tests what compare_llamacpp.py does besides measuring: names of works, variants, turns, the table."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compare import rounds  # noqa: E402
from compare.rounds import WARM_TOKENS, Contender, stretch_tokens, take_turns  # noqa: E402
from compare.table import BEGIN, END, row, write_between_markers  # noqa: E402
from compare.works import NAMED, PeerVariant, Work, peer_variants  # noqa: E402


def result(name, *rates, bound=False):
    return {"name": name, "rates": list(rates), "bound": bound}


class WorksTest(unittest.TestCase):
    def test_parses_what_it_prints(self):
        for text in ("prefill-2048", "decode-0", "serve-2000"):
            self.assertEqual(str(Work.parse(text)), text)

    def test_refuses_other_names(self):
        for text in ("prefill", "prefill-0", "decode-x", "encode-5", "decode--1"):
            with self.assertRaises(ValueError):
                Work.parse(text)

    def test_quantized_values_go_with_flash_attention(self):
        for kind in ("prefill", "decode"):
            variants = peer_variants(kind)
            self.assertEqual(len(variants), len(set(map(str, variants))))
            self.assertTrue(all(variant.flash for variant in variants if variant.v in ("q8_0", "q4_0")))


    def test_variants_are_parsed(self):
        self.assertEqual(str(PeerVariant.parse("q8_0,f16,off,512")), "q8_0 K, f16 V, fa off, ubatch 512")
        with self.assertRaises(ValueError):
            PeerVariant.parse("f16,f16,1,512")


class RoundsTest(unittest.TestCase):
    def setUp(self):
        rounds.SETTLE_SECONDS, self.settle = 0.0, rounds.SETTLE_SECONDS

    def tearDown(self):
        rounds.SETTLE_SECONDS = self.settle

    def test_contenders_take_turns(self):
        order = []

        def contender(name):
            return Contender(name, lambda: order.append(name) or (10, 2.0, True), 2)
        results = take_turns({"a": contender("a"), "b": contender("b")})
        self.assertEqual(order, ["a", "b", "a", "b"])
        self.assertEqual(results["a"], result("a", 5.0, 5.0))

    def test_slow_ones_are_repeated_less(self):
        contenders = {"slow": Contender("slow", lambda: (1, 30.0, True), 5),
                      "stopped": Contender("stopped", lambda: (1, 60.0, False), 5)}
        results = take_turns(contenders)
        self.assertEqual(len(results["slow"]["rates"]), 3)
        self.assertEqual(len(results["stopped"]["rates"]), 1)
        self.assertTrue(results["stopped"]["bound"])

    def test_stretches_fit_the_context(self):
        self.assertEqual(stretch_tokens(8192, 2048), 32)
        self.assertLessEqual(8140 + WARM_TOKENS + stretch_tokens(8192, 8140), 8192)


class FakeEngine:
    """Notes what it is asked, and decodes 100 tokens a second."""

    def __init__(self, context_tokens):
        self.about = {"context_tokens": context_tokens}
        self.asked = []

    def open(self, depth, decode_tokens, _config):
        self.asked.append(f"open {depth} {decode_tokens}")

    def decode(self, tokens):
        self.asked.append(f"decode {tokens}")
        return tokens / 100


class FakePeer:
    def __init__(self):
        self.asked = []

    def open(self, _variant, context_tokens):
        self.asked.append(f"open {context_tokens}")

    def fill(self, _variant, depth):
        self.asked.append(f"fill {depth}")

    def decode(self, _variant, depth, tokens):
        self.asked.append(f"decode {tokens} at {depth}")
        return tokens / 100


class DecodeTurnsTest(unittest.TestCase):
    def turns_of_ours(self, depth, context_tokens):
        engine = FakeEngine(context_tokens)
        contender = rounds.engine_contender(engine, "config", Work("decode", depth), repeats=2)
        for _ in range(2):
            self.assertEqual(contender.measure(), (32, 0.32, True))
        return engine.asked

    def test_stays_open_where_the_context_has_room(self):
        self.assertEqual(self.turns_of_ours(2048, 8192), ["open 2048 112"] + ["decode 24", "decode 32"] * 2)

    def test_opens_again_near_the_end_of_the_context(self):
        self.assertEqual(self.turns_of_ours(8128, 8192), ["open 8128 56", "decode 24", "decode 32"] * 2)

    def test_opens_again_where_depth_itself_counts(self):
        self.assertEqual(self.turns_of_ours(0, 8192), ["open 0 56", "decode 24", "decode 32"] * 2)

    def test_the_peer_decodes_as_deep(self):
        peer = FakePeer()
        contender = rounds.peer_contender(peer, "f16", Work("decode", 8128), 2, (8192, 60.0))
        self.assertEqual(contender.measure(), (32, 0.32, True))
        self.assertEqual(peer.asked, ["open 8248", "fill 8128", "decode 24 at 8128", "decode 32 at 8152"])


class TableTest(unittest.TestCase):
    def setUp(self):
        self.results = {role: result(f"k={k} v={v} chunk=512", 300.0, 100.0, 200.0) for role, (k, v) in NAMED.items()}
        self.results["llama.cpp f16"] = result("f16, fa on", 50.0)

    def test_row_has_medians_and_ratios(self):
        self.results["llama.cpp bf16"] = result("bf16, fa on", 49.0)
        self.results["llama.cpp q4_0"] = result("q4_0, fa on", 10.0, bound=True)
        self.results["slowest codec"] = result("k=f32 v=f32 chunk=512", 75.0)
        cells = row("prefill 2048", self.results).split(" | ")
        self.assertEqual(cells[1:3], ["50.0 (f16, fa on)", "<10.0 (q4_0, fa on)"])
        self.assertEqual(cells[3], "200 (4.00x)")
        self.assertEqual(cells[-3:], ["1.50x (f32)", "-", ">20.00x |"])

    def test_configs_that_were_not_measured_are_left_out(self):
        del self.results["int8"]
        self.assertEqual(row("prefill 2048", self.results).split(" | ")[4], "-")

    def test_q4_may_be_the_best(self):
        self.results["llama.cpp q4_0"] = result("q4_0, fa on", 100.0)
        self.assertTrue(row("decode, depth 0", self.results).endswith("| 2.00x |"))
        self.assertIn("| 200 (2.00x) |", row("decode, depth 0", self.results))

    def test_writes_between_the_markers_only(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "README.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"before\n{BEGIN}\nold\n{END}\nafter\n")
            write_between_markers(path, "new")
            with open(path, encoding="utf-8") as file:
                self.assertEqual(file.read(), f"before\n{BEGIN}\nnew\n{END}\nafter\n")


if __name__ == "__main__":
    unittest.main()
