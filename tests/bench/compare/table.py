"""Results as markdown."""
import statistics

BEGIN = "<!-- compare_llamacpp: begin -->"
END = "<!-- compare_llamacpp: end -->"
ROLES = ("bf16", "int8", "int4", "int4 per token")


def rate(result):
    return statistics.median(result["rates"])


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(ours, theirs):
    """How many times as fast; a lower bound where theirs is an upper one."""
    return f"{'>' if theirs['bound'] else ''}{rate(ours) / rate(theirs):.2f}x"


def peer_cell(result):
    return f"{'<' if result['bound'] else ''}{number(rate(result))} ({result['name']})"


def fastest(results):
    """Of llama.cpp's; None where there is none. One that was stopped may seem fast: it counts last."""
    return max(results, key=lambda result: (not result["bound"], rate(result)), default=None)


def codec_cell(role, results, peer):
    result = results.get(role)
    if result is None:
        return "-"
    codec = result["name"].split()[0].removeprefix("k=")
    return f"{ratio(result, peer)} ({codec})"


def named_cell(role, results, peer):
    result = results.get(role)
    return "-" if result is None else f"{number(rate(result))} ({ratio(result, peer)})"


def row(label, results):
    peers = [result for role, result in results.items() if role.startswith("llama.cpp ")]
    peer = fastest(peers)
    q4 = fastest([result for result in peers if result["name"].startswith("q4_0,")])
    cells = [label, peer_cell(peer), peer_cell(q4) if q4 else "-"]
    cells += [named_cell(role, results, peer) for role in ROLES]
    cells += [codec_cell(f"{extreme} codec", results, peer) for extreme in ("slowest", "fastest")]
    cells.append(ratio(results["int4"], q4) if q4 else "-")
    return "| " + " | ".join(cells) + " |"


def table(works):
    """Rows of one thread count: [(label, {role: result})]."""
    header = ["work, tok/s", "llama.cpp, its best", "llama.cpp q4_0", *ROLES, "slowest codec", "fastest codec",
              "int4 against q4_0"]
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + [row(*work) for work in works]


def repeats_text(results):
    counts = sorted({len(result["rates"]) for work in results for result in work.values()})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}, fewer where one takes long"


def write_between_markers(path, text):
    """Replaces what stands between the two marker lines of a file."""
    with open(path, encoding="utf-8") as file:
        content = file.read()
    if content.count(BEGIN) != 1 or content.count(END) != 1:
        raise SystemExit(f"{path} has no single pair of the lines '{BEGIN}' and '{END}'")
    before, _, rest = content.partition(BEGIN)
    after = rest.partition(END)[2]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{text}\n{END}{after}")
