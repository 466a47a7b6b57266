"""Pictures: well-formed SVG whose parts lie where the numbers say, written whole or not at all."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from unrolled import drawing
from unrolled.drawing import Drawing

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: Drawing) -> ET.Element:
    return ET.fromstring(picture.svg())


def texts(picture: Drawing) -> list[str]:
    """Each text of the picture, its indices written as _."""
    found = []
    for element in parsed(picture).iter(f"{SVG}text"):
        parts = [element.text or ""]
        for span in element:
            parts += ["_" + (span.text or "") if span.text != "\u200b" else "", span.tail or ""]
        found.append("".join(parts))
    return found


@pytest.fixture
def picture() -> Drawing:
    return Drawing(300, 200, "A <picture> & more")


def test_shade_runs_from_blue_over_white_to_orange():
    assert drawing.shade(0.0) == "#ffffff"
    assert drawing.shade(1.0) == drawing.shade(7.0) == drawing.ORANGE
    assert drawing.shade(-2.0, limit=2.0) == drawing.BLUE
    assert drawing.shade(float("nan")) == drawing.shade(float("inf")) == drawing.GRID


def test_shares_run_from_white_to_blue():
    assert drawing.shade(1.0, limit=None) == drawing.BLUE
    assert drawing.shade(-1.0, limit=None) == drawing.shade(0.0, limit=None) == "#ffffff"


@pytest.mark.parametrize(("color", "ink"), [("#ffffff", drawing.INK), (drawing.BLUE, drawing.PAPER)])
def test_words_on_a_colour_can_be_read(color, ink):
    assert drawing.readable_on(color) == ink


def test_what_is_written_is_escaped(picture):
    picture.text((10, 10), 'a < b & "c"')
    picture.formula((10, 30), "1 < W_hh")
    assert texts(picture) == ['a < b & "c"', "1 < W_hh"]
    assert parsed(picture).find(f"{SVG}title").text == "A <picture> & more"


def test_a_formula_lowers_its_indices_and_text_does_not(picture):
    picture.formula((0, 0), "h_t = W_hh h_{t-1}", size=10)
    picture.text((0, 0), "a_file_name")
    formula, plain = parsed(picture).iter(f"{SVG}text")
    assert [span.text for span in formula] == ["t", "\u200b", "hh", "\u200b", "t-1", "\u200b"]
    moved = [float(span.get("dy")) for span in formula]
    assert moved[0] > 0
    assert sum(moved) == 0
    assert plain.text == "a_file_name"


def test_an_arrow_points_to_its_last_point(picture):
    picture.arrow([(10, 50), (100, 50)], width=2)
    shaft, head = (part.get("d") for part in parsed(picture).iter(f"{SVG}path"))
    assert head.startswith("M100,50L")
    assert shaft.startswith("M10,50L")
    end = float(shaft.split("L")[1].split(",")[0])
    assert 80 < end < 100, "the shaft ends inside the head"


@pytest.mark.parametrize(("points", "kind"), [(3, "Q"), (4, "C")])
def test_an_arrow_can_be_a_curve(picture, points, kind):
    picture.arrow([(10, 10), (60, 90), (120, 90), (150, 10)][:points])
    assert kind in next(parsed(picture).iter(f"{SVG}path")).get("d")


def test_cells_have_the_colours_and_numbers_of_a_matrix(picture):
    picture.cells((20, 30), [[1.0, -1.0], [0.0, 0.5]], size=(40, 20))
    boxes = list(parsed(picture).iter(f"{SVG}rect"))[1:]
    assert [(b.get("x"), b.get("y")) for b in boxes] == [
        ("20", "30"),
        ("60", "30"),
        ("20", "50"),
        ("60", "50"),
    ]
    assert [b.get("fill") for b in boxes[:3]] == [drawing.ORANGE, drawing.BLUE, "#ffffff"]
    assert texts(picture) == ["+1.00", "-1.00", "+0.00", "+0.50"]


def test_a_vector_is_a_column_of_cells_and_numbers_can_be_left_out(picture):
    picture.cells((0, 0), [0.1, 0.2, 0.3], form="")
    boxes = list(parsed(picture).iter(f"{SVG}rect"))[1:]
    assert [b.get("x") for b in boxes] == ["0"] * 3
    assert texts(picture) == []


def test_a_network_draws_every_neuron_and_every_weight():
    columns = [("x", [0.5, -0.5]), ("h_1", [0.1, 0.2, 0.3])]
    weights = np.array([[1.0, -1.0], [0.5, 0.1], [0.0, 0.2]])
    picture = drawing.network("Heading", "h = W x", columns, [("W_1", drawing.BLUE, weights)], below=50)
    root = parsed(picture)
    lines = [path for path in root.iter(f"{SVG}path") if path.get("stroke") == drawing.BLUE]
    assert len(list(root.iter(f"{SVG}circle"))) == 5
    assert len(lines) == 6
    assert [bool(line.get("stroke-dasharray")) for line in lines] == [False, True, False, False, False, False]
    assert {"Heading", "x", "h_1", "W_1", "+0.50", "+0.20"} <= set(texts(picture))
    assert picture.height == 442


def test_inputs_stand_under_a_network_by_name(picture):
    drawing.inputs(
        picture, 150, {"x_1": np.array([0.1, 0.2]), "x_2": np.array([0.3, 0.4])}, "W_xh", drawing.BLUE
    )
    assert {"x_1", "x_2", "W_xh", "+0.40"} <= set(texts(picture))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.87, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 5, [1, 2, 3, 4, 5]),
        (-30, 70, [-40, -20, 0, 20, 40, 60, 80]),
        (0, 1234, [0, 500, 1000, 1500]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, expected):
    assert drawing.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9, 1e12])
def test_ticks_of_one_value_still_have_a_width(value):
    found = drawing.ticks(value, value)
    assert found[0] <= value <= found[-1]
    assert found[0] < found[-1]


def plot(series, **options) -> Drawing:
    return drawing.line_plot(series, title="Title", x_label="across", y_label="up", **options)


def line_of(picture: Drawing, color: str = drawing.BLUE) -> list[str]:
    return [p.get("d") for p in parsed(picture).iter(f"{SVG}path") if p.get("stroke") == color]


def test_a_plot_puts_values_where_the_axes_say():
    picture = plot({"rising": ([0, 5, 10], [0.0, 0.5, 1.0])}, y_range=(0, 1), levels={"chance": 0.5})
    assert line_of(picture)[0] == "M72,346L344,219L616,92"
    assert {"Title", "across", "up", "rising", "chance", "0.2", "10"} <= set(texts(picture))


def test_a_plot_breaks_its_line_where_there_is_no_number():
    values = [float("nan"), 1.0, 2.0, float("nan"), float("inf"), 3.0, 4.0]
    run, other, legend = line_of(plot({"gaps": (range(7), values)}))
    assert run.count("L") == other.count("L") == legend.count("L") == 1


def test_a_plot_of_nothing_is_empty_axes():
    assert len(line_of(plot({"nothing": ([], [])}))) == 1, "the legend alone"


def test_lines_of_a_plot_differ_by_dashes_too():
    picture = plot({str(k): ([0, 1], [0, k]) for k in range(6)})
    dashes = {
        (p.get("stroke"), p.get("stroke-dasharray")) for p in parsed(picture).iter(f"{SVG}path")
        if p.get("stroke") not in (drawing.GRID, drawing.QUIET)
    }  # fmt: skip
    assert len({dash for _, dash in dashes}) == len(dashes) == 6


def test_values_outside_the_range_stay_inside_the_frame():
    assert line_of(plot({"high": ([0, 1], [-5, 5])}, y_range=(0, 1)))[0] == "M72,346L616,92"


def test_a_heatmap_names_its_sides_and_shades_by_the_largest():
    picture = drawing.heatmap(
        [[4, 0], [2, np.nan]], ["yes", "no"], ["said yes", "said no"], title="Counts", form=".0f"
    )
    fills = [r.get("fill") for r in list(parsed(picture).iter(f"{SVG}rect"))[1:]]
    assert fills == [drawing.BLUE, "#ffffff", drawing.shade(0.5, None), drawing.GRID]
    assert {"yes", "no", "said yes", "said no", "Counts", "4", "2"} <= set(texts(picture))


def test_saving_makes_the_folder_and_replaces_what_was_there(picture, tmp_path):
    path = tmp_path / "new" / "name.svg"
    assert picture.save(path) == path
    picture.text((0, 0), "ünder ∂")
    picture.save(path)
    assert "ünder ∂" in path.read_text(encoding="utf-8")
    assert os.listdir(path.parent) == ["name.svg"]


def test_a_failed_save_leaves_the_old_picture_and_no_rest(picture, tmp_path, monkeypatch):
    path = picture.save(tmp_path / "name.svg")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    picture.text((0, 0), "more")
    with pytest.raises(OSError, match="disk full"):
        picture.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["name.svg"]
