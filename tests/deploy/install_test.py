#!/usr/bin/env python3
"""What `cmake --install` puts where: programs that run, a man page and completion for each command.

usage: install_test.py CMAKE BUILD     the program cmake, and a folder in which everything is built
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

CMAKE, BUILD = "", ""
COMPLETE = """source "$1"; COMP_WORDS=(kvpareto "${@:2}"); COMP_CWORD=$(($# - 1)); _kvpareto
printf '%s\\n' "${COMPREPLY[@]}" """


def output_of(*command) -> str:
    return subprocess.run([str(word) for word in command], check=True, text=True,
                          capture_output=True).stdout


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        subprocess.run([CMAKE, "--install", BUILD], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "DESTDIR": cls.folder.name})
        (program,) = pathlib.Path(cls.folder.name).rglob("bin/kvpareto")
        cls.prefix = program.parent.parent
        cls.commands = re.findall(r"^  ([a-z]+) ", output_of(program, "--help").split("flags of")[0],
                                  re.MULTILINE)

    def test_programs_run(self):
        self.assertIn("kvpareto-server ", output_of(self.prefix / "bin/kvpareto-server", "--version"))
        self.assertIn("health", self.commands)

    def test_man_pages_tell_everything(self):
        pages = {page.stem: page.read_text(encoding="utf-8")
                 for page in (self.prefix / "share/man/man1").iterdir()}
        self.assertEqual(set(pages), {"kvpareto", "kvpareto-server", "kvpareto-tune", "kvpareto-sim"})
        for command in self.commands:
            self.assertIn(f".SH {command.upper()}\n", pages["kvpareto"])
        self.assertIn("\\-\\-config", pages["kvpareto-server"])
        self.assertIn("\\-\\-contexts", pages["kvpareto-tune"])
        self.assertIn("\\-\\-traffic", pages["kvpareto-sim"])

    def complete(self, *words) -> list:
        script = self.prefix / "share/bash-completion/completions/kvpareto"
        return output_of("bash", "-c", COMPLETE, "complete", script, *words).split()

    def test_bash_completes(self):
        self.assertEqual(self.complete(""), self.commands)
        self.assertEqual(self.complete("plan", "--bud"), ["--budget"])
        self.assertEqual(self.complete("plan", "--bogus"), [])

    def test_the_service_starts_what_is_installed(self):
        (unit,) = self.prefix.rglob("kvpareto.service")
        (config,) = pathlib.Path(self.folder.name).rglob("etc/kvpareto/server.yaml")
        command = re.search(r"^ExecStart=(\S+) --config=(\S+)$", unit.read_text(encoding="utf-8"),
                            re.MULTILINE)
        self.assertTrue(pathlib.Path(self.folder.name + command[1]).exists())
        self.assertEqual(self.folder.name + command[2], str(config))
        subprocess.run([self.prefix / "bin/kvpareto-server", "--check", f"--config={config}"], check=True)
        table = re.search(r"table: (\S+)", config.read_text(encoding="utf-8"))[1]
        self.assertTrue(pathlib.Path(self.folder.name + table).exists())


if __name__ == "__main__":
    CMAKE, BUILD = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
