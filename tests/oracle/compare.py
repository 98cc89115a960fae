"""Runs engine_logits and judges its logits against the oracle's."""
import dataclasses
import os
import pathlib
import subprocess
import tempfile

import numpy as np


class EngineError(RuntimeError):
    pass


def engine_logits(binary, model_path, tokens, kv_config, decode_from=-1, isa="auto"):
    """[tokens, vocab] float32."""
    with tempfile.TemporaryDirectory() as folder:
        tokens_file, out = pathlib.Path(folder, "tokens.txt"), pathlib.Path(folder, "logits.f32")
        tokens_file.write_text(" ".join(map(str, tokens)))
        environment = dict(os.environ)
        if isa != "auto":
            environment["KVPARETO_CPU_ISA"] = isa
        run = subprocess.run([binary, str(model_path), str(tokens_file), kv_config, str(decode_from), str(out)],
                             env=environment, capture_output=True, text=True)
        if run.returncode:
            raise EngineError(f"engine_logits exit {run.returncode}: {run.stderr.strip()}")
        return np.fromfile(out, np.float32).reshape(len(tokens), -1)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What a comparison allows, all in units of the standard deviation of the oracle's logits.

    An engine that computes in float32 differs from the oracle by summation order (1e-6), and by what that sets off:
    a K or V value at a rounding boundary falls to the other side. In bf16 that moves one value by 2^-8; in a codec
    it moves one value by a whole step. Such flips are rare and hit single positions, so a quantized cache is judged
    by its root mean square error, relative to what the codec itself does to the logits (`effect`).
    """
    max_error: float  # bf16 cache
    rms_error: float
    effect_share: float  # quantized cache: rms error <= effect_share * rms effect of the codec + rms_error


@dataclasses.dataclass
class Comparison:
    max_error: float
    rms_error: float
    agreement: float  # of the argmax, every position
    effect: float  # rms change of the oracle's logits by the codec against its bf16 cache; 0 for bf16
    failure: str  # empty: passed

    def row(self):
        return (f"{self.max_error:9.2e} {self.rms_error:9.2e} {self.effect:9.2e} {self.agreement:9.4f}  "
                f"{self.failure or 'ok'}")

    HEADER = f"{'max/std':>9s} {'rms/std':>9s} {'effect':>9s} {'argmax':>9s}"


def compare(logits, expected, tolerance, bf16=None):
    """logits against the oracle's `expected`; bf16: the oracle's bf16 logits where the cache is quantized."""
    if logits.shape != expected.shape:
        return Comparison(np.inf, np.inf, 0, 0, f"shape {logits.shape}, expected {expected.shape}")
    deviation = expected.std()
    error = (logits - expected) / deviation
    max_error, rms_error = float(np.abs(error).max()), float(np.sqrt((error * error).mean()))
    best, chosen = expected.argmax(1), logits.argmax(1)
    agreement = float((best == chosen).mean())
    effect = 0.0 if bf16 is None else float(np.sqrt((((expected - bf16) / deviation) ** 2).mean()))
    failure = ""
    if not np.isfinite(logits).all():
        failure = "logits that are not finite"
    elif bf16 is None:
        # Two candidates closer than twice the allowed error are a tie that either side may win.
        rows = np.arange(len(best))
        lost = (expected[rows, best] - expected[rows, chosen]) / deviation
        if max_error > tolerance.max_error:
            failure = f"max error > {tolerance.max_error:g}"
        elif rms_error > tolerance.rms_error:
            failure = f"rms error > {tolerance.rms_error:g}"
        elif lost.max() > 2 * tolerance.max_error:
            failure = "argmax differs"
    elif rms_error > tolerance.effect_share * effect + tolerance.rms_error:
        failure = f"rms error > {tolerance.effect_share:g} x effect + {tolerance.rms_error:g}"
    return Comparison(max_error, rms_error, agreement, effect, failure)
