# SPDX-License-Identifier: GPL-2.0-only
"""Plots of what was measured, as SVG that stands in a page, with the page's font and ink."""

from __future__ import annotations

import re
import sys
from typing import Any

import pygal
from pygal.style import Style

from pyctl.lab.store import NightRow, Store

# It leaves a finder for maps, of a kind that Python does not know any more and warns of.
sys.meta_path[:] = [one for one in sys.meta_path if hasattr(one, "find_spec")]

# More lines than these nobody can tell apart.
SHOWN_BOARDS = 8
_COLOURS = ("#3b82f6", "#d97706", "#10b981", "#ec4899", "#8b5cf6", "#0891b2", "#dc2626", "#65a30d")
_FAINT = "#88888855"
_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="currentColor",
    foreground_strong="currentColor",
    foreground_subtle=_FAINT,
    guide_stroke_color=_FAINT,
    major_guide_stroke_color=_FAINT,
    guide_stroke_dasharray="none",
    major_guide_stroke_dasharray="none",
    colors=_COLOURS,
    font_family="inherit",
    title_font_size=14,
    legend_font_size=12,
    label_font_size=11,
    major_label_font_size=11,
)
_SETTINGS = {
    "style": _STYLE,
    "js": [],
    "disable_xml_declaration": True,
    "width": 760,
    "height": 280,
    "truncate_legend": -1,
    "legend_at_bottom": True,
    "min_scale": 3,
    "max_scale": 6,
    "include_x_axis": True,
    "no_data_text": "",
}


def plots_of(store: Store, last: NightRow, nights: int) -> list[str]:
    """The plots of a night: each quantity over the nights before it, and all of the last one."""
    known = [one for one in store.nights() if one.id <= last.id]
    shown = list(reversed(known[:nights]))
    place = {one.id: number for number, one in enumerate(shown)}
    series: dict[tuple[str, str, str], dict[str, list[float | None]]] = {}
    for night, board, path, numbers in store.measured(place):
        for name, quantity in numbers.items():
            lines = series.setdefault((path, name, quantity["unit"]), {})
            values = lines.setdefault(board, [None] * len(shown))
            values[place[night]] = quantity["value"]
    labels = [one.started[5:10] for one in shown]
    over_nights = [
        _over_nights(f"{path}: {name}", unit, labels, lines)
        for (path, name, unit), lines in sorted(series.items())
        if len(shown) > 1
    ]
    return over_nights + _last(series)


def _over_nights(
    title: str, unit: str, labels: list[str], lines: dict[str, list[float | None]]
) -> str:
    boards = sorted(lines, key=lambda name: -_moved(lines[name]))[:SHOWN_BOARDS]
    if len(lines) > len(boards):
        title += f" ({len(boards)} of {len(lines)} boards: those that moved most)"
    chart = pygal.Line(
        **_SETTINGS,
        title=title,
        y_title=unit or None,
        show_dots=len(labels) < 40,
        x_labels_major_count=8,
        show_minor_x_labels=False,
    )
    chart.x_labels = labels
    for name in boards:
        chart.add(name, lines[name])
    return _svg(chart)


def _moved(values: list[float | None]) -> float:
    """How far a quantity has gone, relative to what it is."""
    known = [value for value in values if value is not None]
    return (max(known) - min(known)) / (abs(known[-1]) or 1.0) if known else 0.0


def _last(series: dict[tuple[str, str, str], dict[str, list[float | None]]]) -> list[str]:
    """Of the last night: all quantities of one thing that have the same unit, board by board."""
    groups: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for (path, name, unit), lines in series.items():
        for board, values in lines.items():
            if values[-1] is not None:
                groups.setdefault((path, unit), {}).setdefault(board, {})[name] = values[-1]
    return [
        _distribution(f"{path}, last night", unit, boards)
        for (path, unit), boards in sorted(groups.items())
        if max(map(len, boards.values())) > 1
    ]


def _distribution(title: str, unit: str, boards: dict[str, dict[str, float]]) -> str:
    names = sorted({name for values in boards.values() for name in values})
    shown = sorted(boards, key=lambda name: -max(boards[name].values()))[: 2 * SHOWN_BOARDS]
    if len(boards) > len(shown):
        title += f" ({len(shown)} of {len(boards)} boards: those with the most)"
    chart = pygal.Bar(**_SETTINGS, title=title, y_title=unit or None)
    chart.x_labels = shown
    for name in names:
        chart.add(name, [boards[board].get(name) for board in shown])
    return _svg(chart)


def _svg(chart: Any) -> str:
    text = chart.render(is_unicode=True)
    # What would show values on hover, and cannot: its library is elsewhere.
    text = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
