"""The image store: what goes in comes out, by position and by id; the index makes images exist."""

import numpy as np
import pytest

from fmlab.data.store import ImageStore, ImageStoreWriter, stored_images
from fmlab.errors import BadInput, NotFound


def identity(number):
    return f"{number:016x}"


def test_grey_and_colour_of_any_size(tmp_path):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, shape, np.uint8) for shape in ((5, 7), (3, 4, 3), (1, 1), (9, 2, 3))]
    writer = ImageStoreWriter(tmp_path)
    for number, image in enumerate(images):
        writer.append(identity(number * 1000), image)
    assert not (tmp_path / "index.parquet").exists()  # nothing exists before close
    writer.close()
    store = ImageStore(tmp_path)
    assert len(store) == 4
    for number, image in enumerate(images):
        assert (store.read(number) == image).all()
        assert (store.read_id(identity(number * 1000)) == image).all()
    assert not store.read(0).flags.writeable


def test_shards_end_at_their_size_and_later_ones_are_appended(tmp_path, monkeypatch):
    monkeypatch.setattr("fmlab.data.store.SHARD_BYTES", 100)
    for start in (0, 3):
        writer = ImageStoreWriter(tmp_path)
        for number in range(start, start + 3):
            writer.append(identity(number), np.full((8, 8), number, np.uint8))
        writer.close()
    assert len(list(tmp_path.glob("shard-*.bin"))) == 6
    store = ImageStore(tmp_path)
    assert [int(store.read_id(identity(number))[0, 0]) for number in range(6)] == list(range(6))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(NotFound, match="no image store"):
        len(ImageStore(tmp_path))
    ImageStoreWriter(tmp_path).close()
    with pytest.raises(NotFound, match="empty"):
        ImageStore(tmp_path).read_id(identity(1))
    writer = ImageStoreWriter(tmp_path)
    writer.append(identity(1), np.zeros((2, 2), np.uint8))
    writer.close()
    with pytest.raises(NotFound, match=f"{identity(2)} for one"):
        ImageStore(tmp_path).positions([identity(1), identity(2)])
    assert ImageStore(tmp_path).positions([]).size == 0


def test_a_few_images_are_read_without_the_rest(tmp_path):
    writer = ImageStoreWriter(tmp_path)
    for number in range(5):
        writer.append(identity(number), np.full((2, 3, 3) if number % 2 else (4, 2), number, np.uint8))
    writer.close()
    found = stored_images(tmp_path, [identity(4), identity(1)])
    assert {name: (image.shape, int(image.max())) for name, image in found.items()} == {
        identity(4): ((4, 2), 4),
        identity(1): ((2, 3, 3), 1),
    }
    with pytest.raises(NotFound, match=f"{identity(9)} for one"):
        stored_images(tmp_path, [identity(9)])
    (tmp_path / "shard-00000.bin").write_bytes(b"short")
    with pytest.raises(BadInput, match="missing or damaged"):
        stored_images(tmp_path, [identity(4)])
    with pytest.raises(BadInput, match="missing or damaged"):
        stored_images(tmp_path / "nowhere", [identity(4)])


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros(4, np.uint8)])
def test_only_bytes_in_one_or_three_channels(tmp_path, pixels):
    with pytest.raises(BadInput, match="the store takes uint8"):
        ImageStoreWriter(tmp_path).append(identity(0), pixels)
