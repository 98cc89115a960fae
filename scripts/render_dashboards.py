#!/usr/bin/env python3
"""Draws the Grafana dashboards from real data, without Grafana: loads a server, lets Prometheus scrape it,
and draws what the panels' expressions return. Needs matplotlib.

usage: render_dashboards.py SERVER CLIENT OUT [SECONDS]     two binaries; folder for OUT/NAME.png; of load (120)
"""
import math
import pathlib
import sys
import tempfile
import time

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import MultipleLocator
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/deploy"))
from load import Load, settings  # noqa: E402
from panels import fill_in, panels, query_range  # noqa: E402
from processes import prometheus, server  # noqa: E402

matplotlib.use("Agg")
plt.style.use("dark_background")
plt.rcParams.update({"font.size": 7, "axes.edgecolor": "#555", "axes.facecolor": "#181b1f",
                     "figure.facecolor": "#111217", "savefig.facecolor": "#111217"})
CELL_WIDTH, CELL_HEIGHT = 0.52, 0.30  # inches of a cell of Grafana's grid
MARGIN = 0.05  # of the picture's width, for the numbers at an axis


def format_value(value: float, unit: str) -> str:
    if unit in ("bytes", "Bps"):
        for name in ("B", "KiB", "MiB", "GiB"):
            if abs(value) < 1024 or name == "GiB":
                return f"{value:.3g} {name}" + ("/s" if unit == "Bps" else "")
            value /= 1024
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    suffix = {"reqps": "/s", "ops": "/s"}.get(unit, "")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}") + suffix


def label_of(legend: str, labels: dict) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value)
    return legend or ", ".join(v for k, v in labels.items() if k != "__name__") or "value"


def draw_lines(axes, series: list, panel: dict, start: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    lines = [([t - start for t, _ in points], [v for _, v in points], label)
             for label, points in series]
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {})
    if stacked.get("mode") == "normal" and lines:
        times = sorted({t for ts, _, _ in lines for t in ts})
        rows = [[dict(zip(ts, vs)).get(t, 0.0) for t in times] for ts, vs, _ in lines]
        axes.stackplot(times, rows, labels=[label for _, _, label in lines], alpha=0.8)
    else:
        for times, values, label in lines:
            axes.plot(times, values, label=label, linewidth=1.2)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1] or 1)
    if unit in ("bytes", "Bps") and axes.get_ylim()[1] > 4:  # whole powers of two, four to eight of them
        axes.yaxis.set_major_locator(MultipleLocator(2.0 ** math.floor(math.log2(axes.get_ylim()[1] / 4))))
    axes.yaxis.set_major_formatter(lambda v, _: format_value(v, unit))
    axes.xaxis.set_major_formatter(lambda t, _: f"{t:.0f} s")
    axes.grid(color="#333", linewidth=0.5)
    axes.legend(loc="upper left", fontsize=5.5, framealpha=0.4, ncol=2)


def draw_bars(axes, series: list, unit: str) -> None:
    series = sorted(series, key=lambda item: item[1][-1][1])
    axes.barh(range(len(series)), [points[-1][1] for _, points in series], color="#3871dc")
    axes.set_yticks([])
    for i, (label, _) in enumerate(series):
        axes.text(0, i, f"  {label}", va="center", fontsize=6)
    axes.xaxis.set_major_formatter(lambda v, _: format_value(v, unit))


def draw_numbers(axes, series: list, panel: dict) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    named = panel["options"].get("textMode") == "name"
    axes.axis("off")
    for i, (label, points) in enumerate(series):
        y = 1 - (i + 0.5) / len(series)
        axes.text(0.5, y, label if named else format_value(points[-1][1], unit), ha="center",
                  va="center", fontsize=18 if len(series) == 1 else 12, color="#73bf69")
        if len(series) > 1:
            axes.text(0.5, y - 0.5 / len(series), label, ha="center", va="bottom", fontsize=6)


def draw_table(axes, rows: list) -> None:
    """rows: (labels, value). The first few; Grafana scrolls."""
    axes.axis("off")
    hidden = {"__name__", "instance", "job"}
    columns = sorted({k for labels, _ in rows for k in labels} - hidden)
    cells = [[labels.get(c, "") for c in columns] + [f"{value:.4g}"] for labels, value in rows[:9]]
    table = axes.table(cells, colLabels=[*columns, "value"], loc="upper center", cellLoc="left")
    for cell in table.get_celld().values():
        cell.set(facecolor="#181b1f", edgecolor="#333")


def draw_heatmap(axes, series: list, start: float) -> None:
    """Cumulative buckets, as they come, become requests by bucket."""
    def bound(label: str) -> float:
        return float(label.replace("+Inf", "inf"))

    series = sorted(series, key=lambda item: bound(item[0]))
    times = sorted({t for _, points in series for t, _ in points})
    cumulative = [[dict(points).get(t, 0.0) for t in times] for _, points in series]
    cells = [[max(0.0, v - w) for v, w in zip(row, below)]
             for row, below in zip(cumulative, [[0.0] * len(times), *cumulative])]
    axes.pcolormesh([t - start for t in times], range(len(cells)), cells, cmap="viridis")
    axes.set_yticks(range(0, len(series), 2), [label for label, _ in series][::2], fontsize=5)
    axes.xaxis.set_major_formatter(lambda t, _: f"{t:.0f} s")


def draw_panel(axes, panel: dict, url: str, start: float, end: float) -> None:
    axes.set_title(panel["title"], loc="left", fontsize=8)
    found, rows = [], []
    for target in panel["targets"]:
        # A number alone is to be that of a minute, not of the last moment.
        interval = "60s" if panel["type"] in ("stat", "gauge") else "6s"
        query = fill_in(target["expr"], interval=interval, time_range=f"{end - start:.0f}s")
        begin = end if target["instant"] else start
        for labels, points in query_range(url, query, begin, end, 1):
            found.append((label_of(target["legendFormat"], labels), points))
            rows.append((labels, points[-1][1]))
    unit, kind = panel["fieldConfig"]["defaults"]["unit"], panel["type"]
    if not found:
        axes.text(0.5, 0.5, "no data", ha="center", color="#777")
        axes.set(xticks=[], yticks=[])
    elif kind in ("stat", "gauge"):
        draw_numbers(axes, found, panel)
    elif kind == "bargauge":
        draw_bars(axes, found, unit)
    elif kind == "table":
        draw_table(axes, rows)
    elif kind == "heatmap":
        draw_heatmap(axes, found, start)
    else:
        draw_lines(axes, found, panel, start)


def draw_dashboard(title: str, its_panels: list, url: str, span: tuple):
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in its_panels)
    figure = plt.figure(figsize=(24 * CELL_WIDTH, rows * CELL_HEIGHT + 0.4))
    for panel in its_panels:
        grid = panel["gridPos"]
        height = rows + 1.3  # the title's line
        left, bottom = grid["x"] / 24, 1 - (grid["y"] + grid["h"] + 1.3) / height
        axes = figure.add_axes((left + MARGIN, bottom + 0.8 / height, grid["w"] / 24 - 1.2 * MARGIN,
                                (grid["h"] - 2.2) / height))
        draw_panel(axes, panel, url, *span)
    figure.text(0.01, 1 - 0.25 / (rows * CELL_HEIGHT + 0.4), title, fontsize=12)
    return figure


def main() -> int:
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    binary, client, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    seconds = float(sys.argv[4]) if len(sys.argv) == 5 else 120.0
    out.mkdir(parents=True, exist_ok=True)
    dashboards: dict = {}
    for dashboard, panel in panels():
        dashboards.setdefault((dashboard["uid"], dashboard["title"]), []).append(panel)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with server(binary, folder, settings(folder)) as (address, metrics), \
                prometheus(folder, metrics.split("/")[2]) as url:
            load, start = Load(client, address, folder), time.time()
            for share, parallel in ((0.3, 3), (0.45, 10), (0.25, 4)):
                load.run(share * seconds, parallel, words=200, tokens=80)
            span = (start, time.time())
            for (uid, title), its_panels in dashboards.items():
                file = out / f"{uid.removeprefix('kvpareto-')}.png"
                draw_dashboard(title, its_panels, url, span).savefig(file, dpi=90)
                Image.open(file).quantize(64).save(file, optimize=True)  # a third of the size
    return 0


if __name__ == "__main__":
    sys.exit(main())
