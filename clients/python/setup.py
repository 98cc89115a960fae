"""Generates the messages and stubs of proto/kvpareto/v1 into the package while it is built."""
import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


class BuildWithStubs(build_py):
    def run(self):
        super().run()
        import grpc_tools
        from grpc_tools import protoc

        files = sorted(str(path) for path in (PROTO / "kvpareto/v1").glob("*.proto"))
        if not files:
            raise FileNotFoundError(f"no .proto files in {PROTO}: build from the source tree")
        well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
        out = self.build_lib
        if protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}",
                        f"--pyi_out={out}", f"--grpc_python_out={out}", *files]):
            raise RuntimeError("protoc failed")


setup(cmdclass={"build_py": BuildWithStubs})
