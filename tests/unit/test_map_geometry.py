"""What is sent to the embedding map: bytes that say what they hold, colours that differ, links that are read."""

import json

import numpy as np
import pytest

from fmlab.errors import BadInput
from fmlab.ui.embedding_map import (
    MISSING,
    MapColumn,
    Panel,
    category_colours,
    check_outlines,
    geometry_blob,
    geometry_digest,
)

LABEL = MapColumn("label", "Label", "category", np.array([0, 1, MISSING], np.uint16), ("a", "b"))
PANEL = Panel("one", np.array([0, 1, 2], "f4"), np.array([0, 1, np.nan], "f4"))


def test_the_blob_holds_the_arrays_at_multiples_of_four():
    number = MapColumn("confidence", "Confidence", "number", np.array([0.5, np.nan, 1], "f4"))
    blob = geometry_blob([PANEL], [LABEL, number])
    length = int.from_bytes(blob[40:44], "little")
    header = json.loads(blob[44 : 44 + length])
    assert [column["name"] for column in header["columns"]] == ["label", "confidence"]
    start = (44 + length + 3) // 4 * 4
    assert np.frombuffer(blob, "<f4", 3, start).tolist() == [0, 1, 2]
    assert np.frombuffer(blob, "<u2", 3, start + 24).tolist() == [0, 1, MISSING]
    assert np.frombuffer(blob, "<f4", 3, start + 32)[[0, 2]].tolist() == [0.5, 1]
    assert len(blob) == start + 24 + 8 + 12


def test_the_digest_changes_with_the_content():
    assert geometry_digest(geometry_blob([PANEL], [LABEL])) == geometry_digest(geometry_blob([PANEL], [LABEL]))
    other = Panel("two", PANEL.x, PANEL.y)
    assert geometry_digest(geometry_blob([PANEL], [LABEL])) != geometry_digest(geometry_blob([other], [LABEL]))


@pytest.mark.parametrize(
    ("panels", "columns", "words"),
    [
        ([], [LABEL], "at least one panel"),
        ([Panel("one", np.zeros(100_001), np.zeros(100_001))], [], "at most 100,000"),
        ([Panel("one", np.zeros(2), np.zeros(2))], [LABEL], "length 2"),
        ([PANEL], [LABEL, LABEL], "name of its own"),
        ([PANEL], [MapColumn("label", "Label", "category", np.array([0, 1, 2]), ("a", "b"))], "beyond its 2"),
        ([PANEL], [MapColumn("label", "Label", "category", LABEL.values, ("a", "b"), (("#000000", "#FFFFFF"),))], "1 colours"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(panels, columns, words):
    with pytest.raises(BadInput, match=words):
        geometry_blob(panels, columns)


def test_thirty_categories_have_thirty_colours_on_light_and_dark_pages():
    colours = category_colours(31)
    for mode in (0, 1):
        assert len({pair[mode] for pair in colours}) == 30
    assert colours[30] == colours[0]


@pytest.mark.parametrize("text", ["", "a0_1.2_3.4_5.6", "a0_1.2_-3.4_5.6~s1_1.2_3.4_5.10000"])
def test_outlines_in_a_link_are_read(text):
    assert check_outlines(text) == text


@pytest.mark.parametrize(
    "text", ["a0_1.2_3.4", "b0_1.2_3.4_5.6", "a2_1.2_3.4_5.6", "a0_1.2_3.4_5.6~", "<script>", "a0" + "_1.2" * 61]
)
def test_what_is_no_outline_is_refused(text):
    with pytest.raises(BadInput, match="no outline on the map"):
        check_outlines(text)
