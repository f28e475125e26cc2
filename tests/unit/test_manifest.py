"""The manifest: opening costs the card alone, damage is named, the first rows come without reading everything."""

import os

import numpy as np
import pandas as pd
import pytest

from fmlab.data.folders import previous_folder
from fmlab.data.manifest import check_name, content_codes, dataset_names, id_codes, image_id, open_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, NotFound


@pytest.fixture
def dataset(home, monkeypatch):
    monkeypatch.setattr("fmlab.data.writer.BLOCK_ROWS", 10)
    with DatasetWriter(home, "d") as writer:
        for n in range(60):
            row = ImageRow(
                f"{n}.png", frame=n, label=None if n == 59 else "ab"[n >= 30], sequence_id=f"s{n // 3}",
                split="T1" if n % 6 < 3 else "train",
            )  # fmt: skip
            writer.add(row, np.full((4, 4), n, np.uint8))
        return writer.finish(CardFacts(source="test"))


def test_first_rows_are_of_different_sequences_and_all_classes(dataset):
    rows = dataset.first_rows()
    assert rows["label"].fillna("none").value_counts().to_dict() == {"a": 4, "b": 4, "none": 1} or set(
        rows["label"].dropna()
    ) == {"a", "b"}
    assert rows["sequence_id"].is_unique
    assert set(dataset.first_rows("T1", per_class=2)["split"]) == {"T1"}
    assert len(dataset.first_rows("T1", per_class=2)) == 4
    assert len(dataset.first_rows("nowhere")) == 0


def test_columns(dataset):
    assert list(dataset.manifest(["label", "split"]).columns) == ["label", "split"]
    with pytest.raises(BadInput, match="has no column nonsense"):
        dataset.manifest(["nonsense"])


def test_rows_of_a_few_images_come_in_the_order_asked_for(dataset):
    """From several blocks of the manifest, the one without a label among them; the same image may be asked for twice."""
    table = dataset.manifest(["image_id", "frame", "label"]).set_index("frame")
    frames = [59, 3, 31, 3]
    rows = dataset.rows_of(table.loc[frames, "image_id"].tolist(), ["frame", "label"])
    assert [row["frame"] for row in rows] == frames
    assert [row["label"] for row in rows] == [None, "a", "b", "a"]
    assert dataset.rows_of([], ["label"]) == []
    with pytest.raises(NotFound, match=r"1 images are not in dataset 'd', \w{16} for one"):
        dataset.rows_of([rows[0]["image_id"], image_id("other", 0)], ["label"])


def test_opening_reads_no_manifest(home, dataset):
    (dataset.folder / "manifest.parquet").unlink()
    again = open_dataset(home, "d")
    assert again.card.images == 60
    with pytest.raises(BadInput, match="missing or damaged"):
        again.manifest()


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing PAR1", None])
def test_damaged_manifests_are_named(dataset, damage):
    path = dataset.folder / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    with pytest.raises(BadInput, match="'d' is missing or damaged"):
        dataset.manifest()
    with pytest.raises(BadInput, match="'d' is missing or damaged"):
        dataset.first_rows()


def test_damaged_cards_are_named(home, dataset):
    card = dataset.folder / "card.json"
    text = card.read_text()
    card.write_text(text.replace('"images": 60', '"images": "many"'))
    with pytest.raises(BadInput, match="damaged at 'images'"):
        open_dataset(home, "d")
    card.write_text(text[:100])
    with pytest.raises(BadInput, match="not readable JSON"):
        open_dataset(home, "d")


def test_names(home, dataset):
    assert dataset_names(home) == ["d"]
    with pytest.raises(NotFound, match="there are: d"):
        open_dataset(home, "e")
    for bad in ("", ".hidden", "a/b", "a b", "x" * 65, "ü"):
        with pytest.raises(BadInput, match="cannot name a dataset"):
            check_name(bad)


def test_a_kill_between_the_two_renames_of_a_swap_is_mended(home, dataset):
    for look in (lambda: open_dataset(home, "d").card.images == 60, lambda: dataset_names(home) == ["d"]):
        os.rename(dataset.folder, previous_folder(home, "d"))
        assert look()
        assert dataset.folder.is_dir()


def test_an_id_is_of_the_path_and_the_frame():
    assert image_id("a.png", 0) == image_id("a.png", 0)
    assert len({image_id("a.png", 0), image_id("a.png", 1), image_id("b.png", 0)}) == 3
    assert len(image_id("a.png", 0)) == 16


def test_identities_become_numbers_whatever_holds_them():
    ids = ["0" * 15 + "a", "ffffffffffffffff"]
    for held in (ids, pd.Series(ids), pd.Series(ids, dtype=object), np.array(ids), pd.Series(["", *ids])[1:]):
        assert id_codes(held).tolist() == [10, 2**64 - 1]
    assert content_codes([ids[0] + ids[1]]).tolist() == [10]
    assert id_codes([]).dtype == np.uint64
    for wrong in ("a", "g" * 16, "é" * 8, None):
        with pytest.raises(BadInput, match="hex digit"):
            id_codes([ids[0], wrong])
