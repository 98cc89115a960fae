#!/usr/bin/env python3
"""Fails on an include that points up: a layer may include itself and what its entry allows, nothing else.

usage: check_layers.py SOURCE_ROOT
"""
import pathlib
import re
import sys

# Layer -> layers below it that it may include. `kv` takes two plain headers of base: it compiles for devices.
# The tuner reads its YAML as the engine reads tables.
ALLOWED = {
    "engine/base": set(),
    "engine/kv": {"engine/base/float16.h", "engine/base/check.h"},
    "engine/text": {"engine/ops/sample.h", "engine/base"},
    "engine/ops": {"engine/kv", "engine/base"},
    "engine/cpu": {"engine/ops", "engine/kv", "engine/base"},
    "engine/cuda": {"engine/ops", "engine/kv", "engine/base"},
    "engine/model": {"engine/text", "engine/ops", "engine/kv", "engine/base"},
    "engine/policy": {"engine/model", "engine/text", "engine/kv", "engine/base"},
    "engine/scheduler": {"engine/policy", "engine/model", "engine/text", "engine/ops", "engine/kv",
                         "engine/base", "engine/request.h", "engine/stats.h"},
    "engine": {"engine"},
    "autotuner": {"engine/engine.h", "engine/backend_factory.h", "engine/model_files.h", "engine/request.h",
                  "engine/stats.h", "engine/policy/yaml_map.h", "engine/base/check.h", "engine/base/float16.h"},
    "autotuner/simulator": {"engine/scheduler", "engine/policy", "engine/model", "engine/kv", "engine/base",
                  "engine/request.h", "engine/stats.h"},
    "server": {"engine/engine.h", "engine/request.h", "engine/stats.h", "engine/base/units.h", "proto"},
    "clients": {"proto"},
}
# Headers of other projects that whole subtrees must not see.
FORBIDDEN = [
    ("engine", re.compile(r"^(grpc|google/protobuf|prometheus|kvpareto/v1)")),
    ("engine/kv", re.compile(r"^(absl|cuda|cublas)")),
    ("engine/base engine/kv engine/text engine/ops engine/cpu engine/model engine/policy engine/scheduler",
     re.compile(r"^cuda")),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def layer_of(path: str) -> str:
    best = ""
    for layer in ALLOWED:
        if path.startswith(layer + "/") and len(layer) > len(best):
            best = layer
    return best


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    errors, files = [], 0
    for top in ("engine", "server", "autotuner", "clients"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            files += 1
            name = file.relative_to(root).as_posix()
            layer = layer_of(name)
            for include in INCLUDE.findall(file.read_text()):
                for trees, pattern in FORBIDDEN:
                    if any(name.startswith(t + "/") for t in trees.split()) and pattern.match(include):
                        errors.append(f"{name}: {layer} must not see {include}")
                if not include.startswith(("engine/", "server/", "autotuner/", "autotuner/simulator/", "clients/")):
                    continue
                if include.startswith(layer + "/"):
                    continue
                if not any(include == a or include.startswith(a + "/") for a in ALLOWED[layer]):
                    errors.append(f"{name}: {layer} must not include {include}")
    for error in errors:
        print(error)
    print(f"{files} files checked, {len(errors)} forbidden includes")
    return 1 if errors or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
