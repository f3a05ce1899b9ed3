#!/usr/bin/env python3
"""Draws the pictures of docs/BENCHMARKS.md from sweep.csv, which lies beside this file, as SVG.

    cargo bench --bench load -- --sweep --csv docs/benchmarks/sweep.csv
    python3 docs/benchmarks/plot.py

It needs the standard library alone. A point is the median of the rounds.
"""

import csv
import math
from collections import defaultdict
from html import escape
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 176, 48, 56
COLOURS = ["#0b6fb8", "#d9660a", "#2f8f4e", "#8e44ad"]
SERVERS = {"tokenecho": "", "bare": "6 4"}  # and how their lines are dashed


def read(path):
    """Returns {measure: {server: {load: median}}}."""
    values = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            values[row["measure"], row["server"], int(row["load"])].append(float(row["value"]))
    table = defaultdict(lambda: defaultdict(dict))
    for (measure, server, load), rounds in values.items():
        table[measure][server][load] = median(rounds)
    return table


class Linear:
    """An axis from zero."""

    def __init__(self, values):
        greatest = max(values) or 1
        step = 10 ** math.floor(math.log10(greatest))
        step = next(step * part for part in (0.2, 0.5, 1, 2) if greatest / (step * part) <= 6)
        self.end = step * math.ceil(greatest / step)
        self.ticks = [index * step for index in range(round(self.end / step) + 1)]

    def share(self, value):
        return value / self.end


class Log:
    """An axis of powers of ten, with ticks between them where there are few."""

    def __init__(self, values):
        self.low = math.log10(min(values))
        self.high = math.log10(max(values))
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        between = (1, 2, 5) if self.high - self.low < 3 else (1,)
        ticks = [part * 10.0**decade for decade in decades for part in between]
        self.ticks = [tick for tick in ticks if self.low - 1e-9 <= math.log10(tick) <= self.high + 1e-9]

    def share(self, value):
        return (math.log10(value) - self.low) / (self.high - self.low)


def text(x, y, content, anchor="middle", **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(content)}</text>'


def line(x1, y1, x2, y2, colour="#ddd", dash=""):
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-dasharray="{dash}"'
        f' stroke-width="{1 if colour == "#ddd" else 2}"/>'
    )


def draw(name, title, x_label, y_label, lines, x_axis=Log, y_axis=Linear):
    """Writes a picture; `lines` are (name, colour, dash, points in order)."""
    x_axis = x_axis([x for *_, points in lines for x, _ in points])
    y_axis = y_axis([y for *_, points in lines for _, y in points])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x_of(value):
        return LEFT + (right - LEFT) * x_axis.share(value)

    def y_of(value):
        return bottom - (bottom - TOP) * y_axis.share(value)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12" fill="#333"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 26, title, "start", font_size=16),
        text((LEFT + right) / 2, HEIGHT - 14, x_label),
        text(0, 0, y_label, transform=f"translate(18 {(TOP + bottom) / 2}) rotate(-90)"),
    ]
    for tick in x_axis.ticks:
        parts += [line(x_of(tick), TOP, x_of(tick), bottom), text(x_of(tick), bottom + 18, f"{tick:,.9g}")]
    for tick in y_axis.ticks:
        parts += [line(LEFT, y_of(tick), right, y_of(tick)), text(LEFT - 8, y_of(tick) + 4, f"{tick:,.9g}", "end")]
    for index, (label, colour, dash, points) in enumerate(lines):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        y = TOP + 12 + 22 * index
        parts += [line(right + 12, y - 4, right + 40, y - 4, colour, dash), text(right + 46, y, label, "start")]
    (HERE / name).write_text("\n".join(parts) + "\n</svg>\n", encoding="utf-8")


def lateness(table):
    """The share of tokens that came at most so late."""
    lines = []
    loads = sorted({load for load in table["lateness p50"]["tokenecho"] if load in (100, 1_000, 10_000)})
    for colour, streams in zip(COLOURS, loads):
        for server, dash in SERVERS.items():
            points = [
                (max(servers[server][streams], 0.01), float(measure.removeprefix("lateness p")))
                for measure, servers in table.items()
                if measure.startswith("lateness p")
            ]
            lines.append((f"{server}, {streams:,}", colour, dash, points))
    x_label = "lateness in ms, as the client sees it"
    draw("lateness.svg", "Lateness of tokens, by open streams", x_label, "% of tokens", lines)


def against(table, name, title, measure, x_label, y_label, x_axis=Log, value=lambda load, y: y):
    """A measure of both servers against the load."""
    lines = [
        (server, colour, dash, [(load, value(load, y)) for load, y in sorted(table[measure][server].items())])
        for colour, (server, dash) in zip(COLOURS, SERVERS.items())
    ]
    draw(name, title, x_label, y_label, lines, x_axis)


def main():
    table = read(HERE / "sweep.csv")
    streams = "open streams, a token each 50 ms"
    lateness(table)
    against(table, "cpu.svg", "The server's processor time for a token", "CPU a token", streams, "µs a token")
    against(
        table, "throughput.svg", "Unary requests over HTTP/1", "HTTP unary", "connections", "requests a second"
    )
    against(
        table,
        "memory.svg",
        "Memory of the open streams",
        "memory an open stream",
        streams,
        "MiB",
        x_axis=Linear,
        value=lambda load, kibibytes: load * kibibytes / 1024,
    )


if __name__ == "__main__":
    main()
