"""Readers `video` and `npz`: clips as sequences, arrays as images."""

import numpy as np
import pytest

from fmlab.data.store import ImageStore
from fmlab.errors import BadInput
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import ReaderOptions, chosen_frames, reader_options
from tests.contract.reader_miniatures import clip, clips, gif, medmnist, save, speckle


def test_clips_are_sequences_with_their_folders_class(home, tmp_path):
    dataset = import_dataset(home, clips(tmp_path / "s"), "s", processes=0)
    card, table = dataset.card, dataset.manifest()
    assert card.source == "video"
    assert card.class_counts == {"Cov": 20, "Reg": 10 + 30 + 4 + 1}
    assert card.sequences == 6
    assert table.groupby("sequence_id")["split"].nunique().max() == 1
    store = ImageStore(dataset.folder / "store")
    rows = table[table["path"] == "Cov/Cov+Atlas (1).mp4"].sort_values("frame")
    brightness = [store.read_id(i).mean() for i in rows["image_id"]]
    assert np.abs(np.array(brightness) - 20 * np.arange(10)).max() < 6


def test_frames_at_a_stride_or_a_count(home, tmp_path):
    clip(tmp_path / "s/a/x.mp4")
    for name, options, expected in (("n", {"frames": 5}, [1, 3, 5, 7, 9]), ("m", {"stride": 4}, [0, 4, 8])):
        dataset = import_dataset(home, tmp_path / "s", name, options=reader_options(**options), processes=0)
        assert list(dataset.manifest()["frame"]) == expected
    with pytest.raises(BadInput, match="not both"):
        reader_options(frames=2, stride=2)
    with pytest.raises(BadInput, match="frames"):
        reader_options(frames=0)


def test_evenly_spaced_frames_favour_neither_end():
    assert chosen_frames(10, ReaderOptions(frames=3), 32).tolist() == [1, 5, 8]
    assert chosen_frames(3, ReaderOptions(), 32).tolist() == [0, 1, 2]
    many = chosen_frames(1000, ReaderOptions(), 32)
    assert len(many) == 32
    assert many[0] == 999 - many[-1] or abs(int(many[0]) - (999 - int(many[-1]))) <= 1


def test_broken_clips_are_rows_with_a_reason(home, tmp_path):
    gif(tmp_path / "s/a/good.gif")
    whole = clip(tmp_path / "s/a/cut.mp4").read_bytes()
    (tmp_path / "s/a/cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "s/a/empty.avi").write_bytes(b"")
    (tmp_path / "s/a/text.mov").write_bytes(b"no clip" * 50)
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    assert (dataset.card.images, dataset.card.unreadable) == (4, 3)


def test_a_clip_alone(home, tmp_path):
    dataset = import_dataset(home, clip(tmp_path / "x.mp4"), "s", processes=0)
    assert (dataset.card.images, dataset.card.unlabelled, dataset.card.sequences) == (10, 10, 1)


def test_the_folder_reader_leaves_clips_out_and_says_so(home, tmp_path):
    clip(tmp_path / "s/a/x.mp4")
    save(tmp_path / "s/a/x.png", speckle(0))
    dataset = import_dataset(home, tmp_path / "s", "s", reader="folder", processes=0)
    assert dataset.card.images == 1
    assert any("1 .mp4" in note for note in dataset.card.notes)


@pytest.mark.parametrize("channels", [None, 3])
def test_medmnist(home, tmp_path, channels):
    arrays = medmnist(tmp_path / "x.npz", channels)
    dataset = import_dataset(home, tmp_path / "x.npz", "s", processes=0)
    assert dataset.card.classes == ("0", "10")
    assert dataset.card.splits == {"T1": 3, "train": 5, "val": 2}
    store, table = ImageStore(dataset.folder / "store"), dataset.manifest().set_index("path")
    assert (store.read_id(table.loc["test_images/2", "image_id"]) == arrays["test_images"][2]).all()
    assert list(table["label"][:5]) == ["0", "10", "0", "10", "0"]


def test_arrays_that_are_not_that_layout(home, tmp_path):
    cases = {
        "several labels": {
            "train_images": np.zeros((2, 28, 28), np.uint8),
            "train_labels": np.zeros((2, 14), np.uint8),
        },
        "expected train_images": {"x": np.zeros(3)},
        "cannot be read": {"train_images": np.zeros((2, 28, 28), np.uint8), "train_labels": np.array([{}, {}])},
        "expected uint8": {"train_images": np.zeros((2, 28, 28)), "train_labels": np.zeros((2, 1), np.uint8)},
    }
    cases["14 labels per image"] = cases.pop("several labels")
    for message, arrays in cases.items():
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(BadInput, match=message):
            import_dataset(home, tmp_path / "x.npz", "s", processes=0)


def test_a_truncated_archive_keeps_the_images_before_the_damage(home, tmp_path):
    images = speckle(0, 60 * 200, 200).reshape(60, 200, 200)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.zeros((60, 1), np.uint8))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[2_000_000] ^= 0xFF  # in the last third of the pixels: the check sum at their end no longer fits
    (tmp_path / "x.npz").write_bytes(content)
    dataset = import_dataset(home, tmp_path / "x.npz", "s", processes=0)
    assert dataset.card.unreadable == 1
    assert "damaged" in dataset.manifest()["problem"].dropna().iloc[0]
