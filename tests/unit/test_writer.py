"""Making a dataset: rows, pixels and masks in, a complete folder out, or nothing."""

import numpy as np
import pytest

from fmlab.data.manifest import COLUMNS, dataset_names, open_dataset
from fmlab.data.store import ImageStore
from fmlab.data.writer import BLOCK_ROWS, CardFacts, DatasetWriter, ImageRow, class_order
from fmlab.errors import BadInput, NameTaken

FACTS = CardFacts(source="test")


def pixels(value, size=8):
    return np.full((size, size), value % 256, np.uint8)


def written(home, rows, name="d", **options):
    with DatasetWriter(home, name) as writer:
        for number, row in enumerate(rows):
            writer.add(row, pixels(number))
        return writer.finish(FACTS, **options)


def test_counts(home):
    rows = [
        ImageRow("a.png", label="x", patient_id="1", site="north", split="train"),
        ImageRow("b.png", label="y", patient_id="2", site="north", split="T1"),
        ImageRow("c.png", patient_id="3", split="T2", extra={"age": 7.0}),
    ]
    with DatasetWriter(home, "d") as writer:
        for number, row in enumerate(rows):
            writer.add(row, pixels(number))
        writer.add_unreadable(ImageRow("d.png", label="x", patient_id="4"), "It is torn.")
        card = writer.finish(FACTS).card
    assert (card.images, card.unreadable, card.unlabelled, card.patients, card.sequences) == (3, 1, 1, 3, 3)
    assert card.class_counts == {"x": 1, "y": 1}
    assert card.splits == {"T1": 1, "T2": 1, "train": 1}
    assert card.split_classes["T1"] == {"x": 0, "y": 1}
    assert card.sites == {"north": 2}
    dataset = open_dataset(home, "d")
    assert dataset.card == card
    table = dataset.manifest()
    assert list(table.columns) == [*COLUMNS, "age"]
    assert table["age"].tolist()[2] == 7.0
    assert dataset.test_sets == ("T1", "T2")
    row = table.iloc[3]
    assert row["problem"] == "It is torn."
    assert not row["scored"]


def test_names_and_order_do_not_change_what_a_run_depends_on(home):
    rows = [ImageRow(f"{number}.png", label="xy"[number % 2], split="train") for number in range(6)]
    one, two = written(home, rows, "one"), written(home, rows, "two")
    assert (one.card.content_hash, one.card.pixels_key) == (two.card.content_hash, two.card.pixels_key)
    relabelled = [ImageRow(row.path, label="x", split="train") for row in rows]
    three = written(home, relabelled, "three", classes=("x", "y"))
    assert three.card.pixels_key == one.card.pixels_key
    assert three.card.content_hash != one.card.content_hash


def test_a_sector_is_part_of_the_pixels(home):
    plain = written(home, [ImageRow("a.png")], "plain")
    cut = written(home, [ImageRow("a.png", sector=(0.0, 0.0, 1.0, 0.0, 0.5, 1.0))], "cut")
    assert plain.card.pixels_key != cut.card.pixels_key
    assert (cut.card.sectors_found, plain.card.sectors_found) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ImageRow("a.png"), ImageRow("a.png")], "twice"),
        ([ImageRow("a.png", split="train"), ImageRow("b.png")], "1 of 2 images have no split"),
        ([ImageRow("a.png", extra={"label": "x"})], "names the manifest uses"),
        ([], "no readable image"),
    ],
)
def test_bad_rows_leave_nothing(home, rows, message):
    with pytest.raises(BadInput, match=message):
        written(home, rows)
    assert dataset_names(home) == []
    assert [path.name for path in home.datasets.iterdir()] == [".d.lock"]


def test_labels_outside_given_classes(home):
    with pytest.raises(BadInput, match="z are not among the classes x"):
        written(home, [ImageRow("a.png", label="z")], classes=("x",))


def test_a_name_is_taken_while_it_is_written_and_afterwards(home):
    writer = DatasetWriter(home, "d")
    with pytest.raises(BadInput, match="being written"):
        DatasetWriter(home, "d")
    writer.abandon()
    written(home, [ImageRow("a.png")])
    with pytest.raises(NameTaken):
        DatasetWriter(home, "d")


def test_frames_of_a_sequence_and_masks(home):
    with DatasetWriter(home, "d") as writer:
        for frame in range(3):
            writer.add(ImageRow("clip.mp4", frame=frame, sequence_id="clip"), pixels(frame), pixels(frame % 2))
        dataset = writer.finish(FACTS)
    masks = ImageStore(dataset.folder / "masks")
    assert dataset.card.sequences == 1
    assert [int(masks.read_id(i)[0, 0]) for i in dataset.manifest()["image_id"]] == [0, 1, 0]


def test_many_rows_are_collected_in_blocks(home, monkeypatch):
    monkeypatch.setattr("fmlab.data.writer.BLOCK_ROWS", 4)
    rows = [
        ImageRow(f"{n}.png", label="x", extra={"even": None if n % 2 else float(n)} if n > 5 else {}) for n in range(11)
    ]
    table = written(home, rows).manifest()
    assert table["path"].tolist() == [row.path for row in rows]
    assert table["even"].notna().sum() == 3
    assert BLOCK_ROWS > 1000


def test_class_order():
    assert class_order(["10", "9", "1"]) == ("1", "9", "10")
    assert class_order(["10", "9", "a"]) == ("10", "9", "a")
