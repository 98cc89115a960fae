#!/usr/bin/env python3
"""Writes the texts of an R package's data: every character vector of more than 100 elements as lines.

usage: r_texts.py DATA.rdb PREFIX        (writes PREFIX_0.txt, PREFIX_1.txt, ...)

An .rdb file is a row of objects: length of the content (big-endian), a letter for the compression
("Z": lzma, "2": bzip2, none: zlib), and the content, a serialization in XDR ("R Internals", 1.8). In
it a character vector is the flags 16, its length, and as many strings: flags whose low byte is 9,
length, bytes.
"""
import bz2
import lzma
import pathlib
import struct
import sys
import zlib

STRINGS, STRING = 16, 9
SHORTEST = 100


def objects(data: bytes):
    at = 0
    while at + 5 < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4:at + 5]
        if kind == b"Z":
            decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])
        else:
            decoder = bz2.BZ2Decompressor() if kind == b"2" else zlib.decompressobj()
        begin = at + (5 if kind in b"Z2" else 4)
        content = decoder.decompress(data[begin:])
        if len(content) != size:
            raise SystemExit(f"an object of {len(content)} bytes should have {size}")
        yield content
        at = len(data) - len(decoder.unused_data)


def strings_at(content: bytes, at: int):
    """The character vector that begins there, and where it ends; None if there is none."""
    flags, count = struct.unpack_from(">II", content, at)
    if flags & 0xff != STRINGS or count > len(content):
        return None
    at += 8
    strings = []
    for _ in range(count):
        if at + 8 > len(content):
            return None
        flags, size = struct.unpack_from(">II", content, at)
        if flags & 0xff != STRING or size > len(content) - at:
            return None
        strings.append(content[at + 8:at + 8 + size].decode("utf-8", "replace"))
        at += 8 + size
    return strings, at


def longest_strings(content: bytes):
    best, at = [], 0
    while at + 8 <= len(content):
        found = strings_at(content, at)
        if found and found[0]:
            best = max(best, found[0], key=len)
            at = found[1]
        else:
            at += 1
    return best


def main() -> int:
    data, prefix = pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2]
    written = 0
    for content in objects(data):
        lines = longest_strings(content)
        if len(lines) > SHORTEST:
            pathlib.Path(f"{prefix}_{written}.txt").write_text("\n".join(lines), encoding="utf-8")
            written += 1
    print(f"texts: {written} written to {prefix}_*.txt")
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
