#!/usr/bin/env python3
"""Writes man pages and shell completions from what the programs say of themselves.

usage: describe_programs.py KVPARETO SERVER TUNE SIM OUT     four binaries; OUT gets man1/, bash/ and zsh/
"""
import pathlib
import re
import subprocess
import sys


def output_of(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, text=True,
                          capture_output=True).stdout


def roff(text: str) -> str:
    """Text as it stands, in roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def man_page(name: str, summary: str, sections: list, version: str) -> str:
    page = f'.TH {name.upper()} 1 "" "KV Pareto {version}" "User Commands"\n'
    page += f".SH NAME\n{roff(name)} \\- {roff(summary)}\n"
    for title, text in sections:
        page += f".SH {title}\n.nf\n{roff(text.strip())}\n.fi\n"
    return page


def client_sections(client: pathlib.Path) -> list:
    """The help of the program and of each of its commands."""
    text = output_of(client, "--help")
    commands = re.findall(r"^  ([a-z]+) ", text.split("flags of every command")[0], re.MULTILINE)
    return [("SYNOPSIS", text)] + [(command.upper(), output_of(client, command, "--help"))
                                   for command in commands]


def flags_help(binary: pathlib.Path, selection: str) -> str:
    """What Abseil's --help prints, which it ends with status 1."""
    text = subprocess.run([str(binary), selection], check=False, text=True,
                          capture_output=True).stdout
    return re.sub(r"Try --helpfull.*", "", text, flags=re.DOTALL)


def main() -> int:
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    client, server, tune, sim, out = (pathlib.Path(argument) for argument in sys.argv[1:])
    version = output_of(server, "--version").split()[1]
    see = ("SEE ALSO", "kvpareto(1), kvpareto-server(1), kvpareto-tune(1), kvpareto-sim(1)")
    pages = {
        "kvpareto": man_page("kvpareto", "ask a KV Pareto server",
                             [*client_sections(client), see], version),
        "kvpareto-server": man_page("kvpareto-server", "serve language models over gRPC",
                                    [("SYNOPSIS", flags_help(server, "--help")), see], version),
        "kvpareto-tune": man_page("kvpareto-tune", "measure Pareto tables of a model",
                                  [("SYNOPSIS", flags_help(tune, "--help=autotuner/")), see], version),
        "kvpareto-sim": man_page("kvpareto-sim", "simulate a KV Pareto server or a fleet of them",
                                 [("SYNOPSIS", flags_help(sim, "--help")), see], version)}
    for folder in ("man1", "bash", "zsh"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (out / "man1" / f"{name}.1").write_text(page, encoding="utf-8")
    (out / "bash/kvpareto").write_text(output_of(client, "completion", "bash"), encoding="utf-8")
    (out / "zsh/_kvpareto").write_text(output_of(client, "completion", "zsh"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
