#!/usr/bin/env python3
"""Fails when a document of the tree links to, or names in `code`, a file that is not there, or a source
file names a document that is not there.

usage: check_docs.py SOURCE_ROOT
"""
import pathlib
import re
import sys

LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
# `scripts/test.sh`, `engine/kv/arena.h`: words in code that look like files of this tree.
TOP = "autotuner|clients|deploy|docker|docs|engine|proto|scripts|server|tests"
PATH = re.compile(rf"`((?:{TOP})/[\w./-]+\.\w+)`")

# What comments in sources say.
DOCUMENT = re.compile(r"(?<![\w./-])docs/[\w./-]+\.md\b")
SOURCES = {".h", ".cc", ".cu", ".cuh", ".proto", ".py", ".sh", ".yaml"}


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    folders = [root, *(root / top for top in TOP.split("|"))]
    documents = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for folder in folders[1:]:
        documents += sorted(folder.rglob("*.md"))
    errors, references = [], 0
    for document in documents:
        text = document.read_text(encoding="utf-8")
        targets = [(link, document.parent / link) for link in LINK.findall(text)
                   if "://" not in link and not link.startswith("mailto:")]
        targets += [(path, root / path) for path in PATH.findall(text)]
        references += len(targets)
        errors += [f"{document.relative_to(root)}: no {name}"
                   for name, target in targets if not target.exists()]
    for source in (file for folder in folders[1:] for file in sorted(folder.rglob("*"))):
        if source.suffix not in SOURCES:
            continue
        names = set(DOCUMENT.findall(source.read_text(encoding="utf-8")))
        references += len(names)
        errors += [f"{source.relative_to(root)}: no {name}"
                   for name in sorted(names) if not (root / name).exists()]
    for error in errors:
        print(error)
    print(f"{len(documents)} documents, {references} references, {len(errors)} broken")
    return 1 if errors or references == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
