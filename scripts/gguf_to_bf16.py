#!/usr/bin/env python3
"""Decodes a GGUF model into 16 bits: every matrix becomes BF16, vectors (norms, biases) F32, metadata stay as they are.

usage: gguf_to_bf16.py SOURCE.gguf TARGET.gguf

For what needs a 16-bit model where only a quantized file is at hand: what its memory and speed are, and a source for
`kvpareto-tune awq`. The values are those of SOURCE, rounded to 8 significant bits: what its quantization has lost
stays lost, so neither accuracy nor an AWQ checkpoint speaks for the model as it was published.

Matrices are decoded a piece at a time, so that memory holds neither model. TARGET appears when it is complete. Needs
numpy and `gguf` (pip). Exit code 1, with a message, where SOURCE is no whole little-endian GGUF file, is one part of
several, or has a type that cannot be decoded.
"""
import argparse
import math
import pathlib
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, LlamaFileType, dequantize, quantize

MAGIC, VERSION = b"GGUF", 3
FILE_TYPE = "general.file_type"
PIECE_VALUES = 2**20


def open_source(path):
    try:
        reader = GGUFReader(path)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        sys.exit(f"{path} is not a whole GGUF file: {error}")
    if reader.endianess != GGUFEndian.LITTLE:
        sys.exit(f"{path} is big-endian")
    parts = reader.fields.get("split.count")
    if parts is not None and parts.contents() > 1:
        sys.exit(f"{path} is one of {parts.contents()} parts: merge them first")
    if not reader.tensors:
        sys.exit(f"{path} has no tensors")
    return reader


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(reader):
    """(number of entries, their bytes), as in the source but for the type of the file."""
    entries = [string(FILE_TYPE) + struct.pack("<II", GGUFValueType.UINT32, LlamaFileType.MOSTLY_BF16)]
    for name, field in reader.fields.items():
        if name != FILE_TYPE and not name.startswith("GGUF."):  # those are the header
            entries.append(b"".join(part.tobytes() for part in field.parts))
    return len(entries), b"".join(entries)


def target_type(tensor):
    return GGMLQuantizationType.F32 if len(tensor.shape) == 1 else GGMLQuantizationType.BF16


def target_bytes(tensor):
    return int(tensor.n_elements) * (4 if target_type(tensor) == GGMLQuantizationType.F32 else 2)


def padding(size, alignment):
    return -size % alignment


def header(reader):
    """Everything before the tensors' data, padded."""
    alignment = int(reader.alignment)
    entries, data = metadata(reader)
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(reader.tensors), entries), data]
    offset = 0
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape]
        parts.append(string(tensor.name))
        parts.append(struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, target_type(tensor), offset))
        offset += target_bytes(tensor)
        offset += padding(offset, alignment)
    result = b"".join(parts)
    return result + bytes(padding(len(result), alignment))


def pieces(tensor):
    """The tensor's values, decoded: float32 [some rows, columns] at a time."""
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    step = max(1, PIECE_VALUES // int(tensor.shape[0]))
    for first in range(0, len(rows), step):
        try:
            yield dequantize(rows[first:first + step], tensor.tensor_type)
        except NotImplementedError:
            sys.exit(f"{tensor.name} has the type {tensor.tensor_type.name}, which cannot be decoded")


def convert(reader, out):
    out.write(header(reader))
    for tensor in reader.tensors:
        for values in pieces(tensor):
            out.write(quantize(values, target_type(tensor)).tobytes())
        out.write(bytes(padding(target_bytes(tensor), int(reader.alignment))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    args = parser.parse_args()
    reader = open_source(args.source)
    partial = args.target.with_name(args.target.name + ".partial")
    try:
        with partial.open("wb") as out:
            convert(reader, out)
        partial.replace(args.target)
    except OSError as error:
        sys.exit(f"{args.target}: {error.strerror}")
    finally:
        partial.unlink(missing_ok=True)
    values = sum(math.prod(map(int, tensor.shape)) for tensor in reader.tensors)
    print(f"{args.target}: {len(reader.tensors)} tensors, {values} values, {args.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
