"""Every method and field of kvpareto.v1 says what it is."""
import pathlib
import tempfile
import unittest

import grpc_tools
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from real_server import ROOT

PROTO = ROOT / "proto"
# Field numbers of FileDescriptorProto and so on: what the path of a location means.
FIELDS = {(4,): "message", (4, 2): "field", (5,): "enum", (5, 2): "enum value", (6,): "service", (6, 2): "method"}


def described(file: descriptor_pb2.FileDescriptorProto) -> tuple[list[str], list[str]]:
    """What there is in the file, and what of it has no comment."""
    everything, bare = [], []
    for location in file.source_code_info.location:
        kind = FIELDS.get(tuple(location.path[::2]))
        if kind is None or len(location.path) % 2:
            continue
        where = f"{file.name}:{location.span[0] + 1}: {kind}"
        everything.append(where)
        # Messages and enums are explained by what is in them.
        if not (location.leading_comments or location.trailing_comments) and kind in ("field", "method"):
            bare.append(where)
    return everything, bare


class ProtosTest(unittest.TestCase):
    def test_comments(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "protos"
            well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
            files = [str(p.relative_to(PROTO)) for p in sorted((PROTO / "kvpareto/v1").glob("*.proto"))]
            self.assertEqual(protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", "--include_source_info",
                                          f"--descriptor_set_out={out}", *files]), 0)
            found = [described(f) for f in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file]
        self.assertGreater(sum(len(everything) for everything, _ in found), 150)
        self.assertEqual([where for _, bare in found for where in bare], [])


if __name__ == "__main__":
    unittest.main()
