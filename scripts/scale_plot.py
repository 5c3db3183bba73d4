"""Plots what a vector costs as collections grow.

usage: scale_plot.py RESULTS.jsonl OUT.svg

RESULTS.jsonl holds a line of `search-scale` for every size.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

PANELS = [
    ("load, CPU us a vector", lambda run: 1e6 * run["load_cpu_s"] / run["count"]),
    ("memory, bytes a component", lambda run: (run["own_mb"] << 20) / run["count"] / run["dimensions"]),
    ("disk, bytes a component", lambda run: (run["disk_mb"] << 20) / run["count"] / run["dimensions"]),
    ("search, median us", lambda run: run["all"]["p50_us"]),
]


def main():
    runs = [json.loads(line) for line in open(sys.argv[1]) if line.strip()]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(14, 3.5))
    for axis, (title, value) in zip(axes, PANELS):
        for dimensions in sorted({run["dimensions"] for run in runs}):
            mine = sorted((run for run in runs if run["dimensions"] == dimensions), key=lambda run: run["count"])
            axis.plot([run["count"] for run in mine], [value(run) for run in mine], marker="o", label=f"{dimensions} dimensions")
        axis.set(title=title, xscale="log", xlabel="vectors", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[2])


if __name__ == "__main__":
    main()
