"""What is compared: works, the caches of llama.cpp, and those of this engine."""
import dataclasses

KINDS = ("prefill", "decode", "serve")
DEFAULT_WORKS = ["prefill-2048", "prefill-8128", "decode-0", "decode-2048", "decode-8128", "serve-2000"]
SERVED_REQUESTS = 8
SERVED_TOKENS = 32  # generated per request

# By name: K and V codec of the configs that every row shows.
NAMED = {
    "bf16": ("bf16", "bf16"),
    "int8": ("int8-channel", "int8-token"),
    "int4": ("int4-channel", "int4-token"),
    "int4 per token": ("int4-token", "int4-token"),
}
CHUNKS = (256, 512, 1024, 2048)  # prefill chunks that are tried
QUICK_CODECS = ("bf16", "f32", "fp8-e4m3", "int8-token-g32", "int4-token-g32-smooth", "int4-dual", "int3-channel",
                "int2-token")


def config(k, v, chunk):
    return f"k={k} v={v} sink=16 recent=0 chunk={chunk}"


@dataclasses.dataclass(frozen=True)
class Work:
    """`kind`-`depth`: prefill of so many tokens, decoding behind them, or requests of them to a server."""

    kind: str
    depth: int

    @classmethod
    def parse(cls, text):
        kind, _, depth = text.partition("-")
        if kind not in KINDS or not depth.isdigit() or (kind != "decode" and depth == "0"):
            raise ValueError(f"'{text}' is none of prefill-TOKENS, decode-DEPTH, serve-TOKENS")
        return cls(kind, int(depth))

    def __str__(self):
        return f"{self.kind}-{self.depth}"

    @property
    def label(self):
        if self.kind == "serve":
            return f"{SERVED_REQUESTS} requests of {self.depth} + {SERVED_TOKENS} tokens at once, through the server"
        return f"prefill {self.depth}" if self.kind == "prefill" else f"decode, depth {self.depth}"


@dataclasses.dataclass(frozen=True)
class PeerVariant:
    """How llama.cpp keeps its cache and computes attention."""

    k: str
    v: str
    flash: bool
    ubatch: int

    @classmethod
    def parse(cls, text):
        k, v, flash, ubatch = text.split(",")
        if flash not in ("on", "off"):
            raise ValueError(f"'{text}' is not K,V,on|off,UBATCH")
        return cls(k, v, flash == "on", int(ubatch))

    def __str__(self):
        types = self.k if self.k == self.v else f"{self.k} K, {self.v} V"
        return f"{types}, fa {'on' if self.flash else 'off'}, ubatch {self.ubatch}"


def peer_variants(kind):
    """All variants that differ for works of this kind, the likely best first."""
    ubatches = (512,) if kind == "decode" else (512, 2048)
    types = [("f16", "f16"), ("q8_0", "f16"), ("bf16", "bf16"), ("q8_0", "q8_0"), ("q4_0", "q4_0")]
    return [PeerVariant(k, v, flash, ubatch) for k, v in types for flash in (True, False) for ubatch in ubatches
            if flash or not v.startswith("q")]  # llama.cpp: a quantized V needs flash attention
