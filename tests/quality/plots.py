# SPDX-License-Identifier: Apache-2.0
"""The report's plots. Colors follow the model, not the rank; every plot has
its numbers as a table in the report too."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLORS = {"lr": "#8c8c8c", "base": "#333333", "base_mean": "#9a7b4f",
          "wide_deep": "#c49c00", "pnn": "#5aa02c", "deepfm": "#17a2a2",
          "din": "#1f5fbf", "gru_att": "#8e5bc0", "dien_aigru": "#e58fb1",
          "dien_agru": "#e0803a", "dien_plain": "#d65f5f", "dien": "#a50f15"}
WIDE = (9, 4.5)


def _color(name):
    return COLORS.get(name, "#555555")


def _save(figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _grid(axes, axis):
    axes.grid(axis=axis, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def far_below(rows):
    """Titles of those whose values would flatten all others' range."""
    found = set()
    for _, title, values in rows:
        others = [v for _, other, vs in rows if other != title for v in vs]
        if others and max(values) < min(others) - \
                1.5 * (max(others) - min(others)):
            found.add(title)
    return found


def dots(path, title, rows, label):
    """rows: (name, title, values of the seeds): a dot a seed, a line at the
    mean; the first row at the top, those far below as a number."""
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.36 * len(rows)))
    below = far_below(rows)
    left = min(v for _, words, values in rows if words not in below
               for v in values)
    for place, (name, words, values) in enumerate(rows):
        mean = sum(values) / len(values)
        if words in below:
            axes.annotate(f"\u25c2 {mean:.4f}", (left, place), fontsize=8,
                          color="#444444", va="center")
            continue
        axes.plot(values, [place] * len(values), "o", color=_color(name),
                  markersize=7, alpha=0.75)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], "-",
                  color=_color(name), linewidth=2)
        axes.annotate(f"{mean:.4f}", (max(values), place),
                      textcoords="offset points", xytext=(9, -3.5),
                      fontsize=8, color="#444444")
    axes.set_yticks(range(len(rows)), [row[1] for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=11, loc="left")
    _grid(axes, "x")
    _save(figure, path)


def lines(path, title, days, rows, label, zero=False):
    """rows: (name, title, a value a day); day numbers as UTC dates. Those far
    below are named, not drawn."""
    figure, axes = plt.subplots(figsize=WIDE)
    below = far_below(rows)
    if below:
        title += f" (far below: {', '.join(sorted(below))})"
    rows = [row for row in rows if row[1] not in below]
    for name, words, values in rows:
        axes.plot(days, values, "-", color=_color(name), linewidth=1.8,
                  marker="o", markersize=3, label=words)
    if zero:
        axes.axhline(0, color="#333333", linewidth=0.8)
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=11, loc="left")
    axes.tick_params(axis="x", labelsize=8, rotation=45 if len(days) > 9
                     else 0)
    if len(days) > 20:
        axes.set_xticks(range(0, len(days), len(days) // 12))
    _grid(axes, "y")
    if len(rows) > 1:
        axes.legend(fontsize=8, frameon=False, loc="center left",
                    bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)
