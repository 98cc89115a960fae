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
