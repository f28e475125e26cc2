"""The parts of pages that need no page: tables, words, pictures."""

import base64
import io
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fmlab.data.manifest import Card
from fmlab.runs.records import Run
from fmlab.ui.dataset_tables import class_table, split_order
from fmlab.ui.format import ago, count, duration, escaped, size
from fmlab.ui.pictures import data_url
from fmlab.ui.run_tables import filtered, in_frozen_order, log_end, settings_table


def card(**changes):
    facts = {
        "name": "toy",
        "source": "folder",
        "classes": ("a", "b"),
        "images": 6,
        "unreadable": 0,
        "unlabelled": 0,
        "sequences": 6,
        "patients": None,
        "splits": {"T1": 2, "train": 4},
        "class_counts": {"a": 4, "b": 2},
        "split_classes": {"train": {"a": 2, "b": 2}, "T1": {"a": 2, "b": 0}},
        "sites": {},
        "split_origin": "as in the source",
        "longest_side": 1024,
        "sectors_found": 0,
        "mask_sector": False,
        "pixels_key": "0",
        "content_hash": "0",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Card(**(facts | changes))


def run(key, size, state="done"):
    config = {"backbone": "pixels-24", "subset": {"size": size, "seed": 0}}
    return Run(key * 8, "adapt", config, "g", state, "cpu", "", None, None, 1.0, None, None, 1)


def test_the_class_table_counts_each_class_in_each_split_train_first():
    assert split_order(card()) == ["train", "T1"]
    table = class_table(card())
    assert table["train"].tolist() == [2, 2]
    assert table["T1"].tolist() == [2, 0]
    assert table["Share"].round(1).tolist() == [66.7, 33.3]


def test_rows_stay_where_they_were_chosen_whatever_happens_to_the_queue():
    """A selection is row positions: after a reorder the second row must still be the run that was second."""
    runs = pd.DataFrame({"key": ["x", "y", "z"], "state": ["done", "queued", "queued"], "kind": "adapt"})
    now = runs.iloc[[2, 0]].assign(state="done")  # y is gone, z moved up
    assert in_frozen_order(now, ["x", "y", "z"])["key"].tolist() == ["x", "z"]
    assert filtered(runs, ["queued"], None)["key"].tolist() == ["y", "z"]


def test_settings_side_by_side_can_be_reduced_to_the_differences():
    runs = [run("a", 1), run("b", 2)]
    assert settings_table(runs, differences_only=True)["Setting"].tolist() == ["subset.size"]
    everything = settings_table(runs, differences_only=False)["Setting"].tolist()
    assert "backbone" in everything
    assert settings_table(runs[:1], differences_only=True)["Setting"].tolist() == everything


def test_the_end_of_a_long_log_begins_with_a_whole_line(tmp_path):
    path = tmp_path / "log.txt"
    assert log_end(path) == ""
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    lines = log_end(path).splitlines()
    assert lines[-1] == "line 19999"
    assert all(line.startswith("line ") for line in lines)
    assert len(lines) < 10_000


@pytest.mark.parametrize(
    "text", ["![a](http://b/c.png)", "<script>", "[link](http://x)", "$x^2$", "**bold**", "`", "a_b_c", ":red[x]"]
)
def test_nothing_from_a_file_keeps_a_meaning_in_markdown(text):
    bare = escaped(text)
    assert bare.replace("\\", "") == text
    assert all(bare[place - 1] == "\\" for place, sign in enumerate(bare) if sign in "![]()<>$*`_:")


def test_commands_in_back_quotes_stay_code():
    assert escaped("Import it with `fmlab data import`.") == r"Import it with `fmlab data import`\."


def test_numbers_read_like_a_person_wrote_them():
    assert [duration(value) for value in (0.4, 7, 75, 3700)] == ["0.4 s", "7 s", "1 min 15 s", "1 h 1 min"]
    assert [size(value) for value in (999, 1_500, 31_000_000)] == ["999 B", "1.5 kB", "31 MB"]
    assert [count(1, "run"), count(2500, "run")] == ["1 run", "2,500 runs"]
    now = datetime(2026, 5, 2, 12, tzinfo=UTC)
    assert ago("2026-05-02T11:55:00+00:00", now) == "5 min ago"
    assert ago("2026-05-01T10:00:00+00:00", now) == "1 May 2026"


def test_a_picture_is_a_small_webp_with_the_sector_drawn_on_it():
    grey = np.zeros((400, 800), np.uint8)
    url = data_url(grey, sector=(0.0, 0.0, 1.0, 0.0, 0.5, 1.0), longest_side=200)
    head, content = url.split(",")
    assert head == "data:image/webp;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert picture.shape == (100, 200, 3)
    assert picture[0].max() > 150  # the outline runs along the top
    assert picture[60:, :20].max() < 30  # and not outside the triangle
