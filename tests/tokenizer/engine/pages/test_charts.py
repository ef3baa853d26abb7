"""Charts: what they draw, and what they leave out."""

from __future__ import annotations

import re

from tokenizer.engine.pages.charts import heat_map, line_chart, nice_ticks, rank_chart, scatter_chart, short


def shares(svg):
    return [float(value) for value in re.findall(r'fill-opacity="([\d.]+)"', svg)]


def test_heat_map_shades_and_tells_every_cell():
    svg = heat_map([[0.0, 5.0], [20.0, 10.0]], ["a<b", "c"], ["x", "y"], unit="mm")
    assert shares(svg) == [0, 0.25, 1, 0.5]
    assert "<title>a&lt;b, y: 5 mm</title>" in svg and "a<b" not in svg
    assert shares(heat_map([[5.0, 200.0]], ["r"], ["x", "y"], unit="%", full=100)) == [0.05, 1]
    assert shares(heat_map([[5.0, 5.0]], ["r"], ["x", "y"], unit="%", full=[5.0, 10.0])) == [1, 0.5]


def test_heat_map_of_odd_tables():
    assert heat_map([], [], [], unit="") == "" == heat_map([[]], ["r"], [], unit="")
    assert shares(heat_map([[0.0, 0.0]], ["r"], ["x", "y"], unit="")) == [0, 0], "no division by nothing"
    assert len(shares(heat_map([[1.0, 2.0], [3.0]], ["r", "s"], ["x", "y"], unit=""))) == 3, "a short last row"
    crowded = heat_map([[1.0] * 160], ["r"], [str(i) for i in range(160)], unit="")
    assert 30 < len(re.findall(r'text-anchor="middle"', crowded)) < 60, "not every column can be named"


def test_scatter_places_better_points_lower_left_and_skips_what_has_no_logarithm():
    svg = scatter_chart([("good", 100, 5), ("bad", 1000, 50), ("none", 0, 5)], x_label="bits", y_label="mm")
    x, y = ([float(v) for v in re.findall(rf'{axis}="([\d.]+)" c?[yr]', svg)] for axis in ("cx", "cy"))
    assert len(x) == len(y) == 2 and x[0] < x[1] and y[0] > y[1]
    assert "none" not in svg
    assert scatter_chart([], x_label="", y_label="") == ""


def test_numbers_are_short():
    assert [short(v) for v in (1413.4, 16.08, 0.006059, 0.0, 2_000_000)] == [
        "1,413",
        "16.1",
        "0.00606",
        "0",
        "2,000,000",
    ]
    assert nice_ticks(0, 10) == [0, 2.5, 5, 7.5, 10]


def test_charts_without_points_are_nothing():
    assert line_chart([], [], x_label="", y_label="") == "" == rank_chart([], x_label="", y_label="")
    assert line_chart([1], [float("nan")], x_label="", y_label="") == ""
