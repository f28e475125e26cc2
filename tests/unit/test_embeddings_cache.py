"""The cache of embeddings: whole chunks or none, found by content, refused when it is another request's.

Run: pytest tests/unit/test_embeddings_cache.py
"""

import dataclasses
import os

import numpy as np
import pytest

from fmlab.backbones.rows_small import PIXELS_24
from fmlab.data.preprocessing import Preprocessing
from fmlab.embeddings.cache import EmbeddingCache, make_items, open_cache
from fmlab.embeddings.keys import request_embeddings
from fmlab.errors import BadInput, StorageFull

FACTS = {"backbone": "toy", "weights": "abc"}


def rows(*numbers):
    """Features that say of which item they are: item 3 has 3, 3.5."""
    return np.array([[number, number + 0.5] for number in numbers], np.float32)


def items(*codes, copy=0):
    return make_items(np.array(codes, np.uint64), copy)


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "key", 2, FACTS)


def test_what_was_stored_is_found_in_any_order(cache):
    cache.append(items(5, 1, 2**64 - 1), rows(5, 1, 9))
    cache.append(items(4), rows(4))
    assert cache.have(items(1, 2, 4, 2**64 - 1)).tolist() == [True, False, True, True]
    found = cache.read(items(4, 2**64 - 1, 4, 5))
    assert np.array_equal(found, rows(4, 9, 4, 5))
    assert found.flags.c_contiguous
    assert found.dtype == np.float32
    assert cache.read(items()).shape == (0, 2)


def test_copies_of_an_image_are_items_of_their_own(cache):
    cache.append(items(5), rows(5))
    cache.append(items(5, copy=2), rows(7))
    assert cache.have(items(5, copy=1)).tolist() == [False]
    assert np.array_equal(cache.read(np.concatenate([items(5, copy=2), items(5)])), rows(7, 5))


def test_what_is_missing_is_said(cache):
    cache.append(items(5), rows(5))
    with pytest.raises(BadInput, match="1 of 2 embeddings are not computed yet"):
        cache.read(items(5, 6))


def test_a_reader_sees_what_another_process_wrote_since(cache, tmp_path):
    reader = EmbeddingCache(tmp_path / "key", 2, FACTS)
    assert not reader.have(items(3)).any()
    cache.append(items(3), rows(3))
    assert np.array_equal(reader.read(items(3)), rows(3))


def test_two_writers_do_not_overwrite_each_other(cache, tmp_path):
    other = EmbeddingCache(tmp_path / "key", 2, FACTS)
    cache.append(items(1), rows(1))
    other.append(items(2), rows(2))
    cache.append(items(3), rows(3))
    assert np.array_equal(EmbeddingCache(tmp_path / "key", 2, FACTS).read(items(3, 2, 1)), rows(3, 2, 1))


def test_opening_creates_nothing(cache, tmp_path):
    assert not cache.have(items(1)).any()
    assert not (tmp_path / "key").exists()


def test_what_a_kill_leaves_is_not_read_and_not_in_the_way(cache, tmp_path):
    cache.append(items(1), rows(1))
    folder = tmp_path / "key"
    np.save(folder / "chunk-00001.items.npy", items(2))  # its number was claimed, its features never came
    stray = folder / ".chunk-00001.npy.4711"
    stray.write_bytes(b"\x93NUMPY cut off")
    again = EmbeddingCache(folder, 2, FACTS)
    assert again.have(items(1, 2)).tolist() == [True, False]
    again.append(items(2), rows(2))
    assert np.array_equal(again.read(items(2, 1)), rows(2, 1))
    os.utime(stray, (1, 1))
    again.finish(2)
    assert not stray.exists()
    assert again.done


def test_a_folder_of_another_request_is_refused(cache, tmp_path):
    cache.append(items(1), rows(1))
    cache.finish(1)
    with pytest.raises(BadInput, match="differ in weights"):
        EmbeddingCache(tmp_path / "key", 2, FACTS | {"weights": "other"})
    (tmp_path / "key" / "request.json").unlink()
    with pytest.raises(BadInput, match="differ in backbone"):
        EmbeddingCache(tmp_path / "key", 2, FACTS | {"backbone": "other"})
    (tmp_path / "key" / "done.json").unlink()
    with pytest.raises(BadInput, match="for 1 items of 3 numbers"):
        EmbeddingCache(tmp_path / "key", 3, FACTS)


def test_bad_chunks_are_refused_before_anything_is_written(cache, tmp_path):
    for chunk in (rows(1, 2), rows(1).astype(np.float64), np.full((1, 2), np.nan, np.float32)):
        with pytest.raises(BadInput):
            cache.append(items(1), chunk)
    assert not (tmp_path / "key").exists()


def test_a_full_disk_leaves_nothing_half_written(cache, tmp_path, monkeypatch):
    cache.append(items(1), rows(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fmlab.embeddings.cache.os.fsync", full)
    with pytest.raises(StorageFull):
        cache.append(items(2), rows(2))
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "key").iterdir()) == [
        "chunk-00000.items.npy",
        "chunk-00000.npy",
        "request.json",
    ]
    cache.append(items(2), rows(2))
    assert np.array_equal(cache.read(items(2)), rows(2))


def test_everything_that_decides_the_numbers_is_in_the_key(home):
    request = request_embeddings(home, "pixels", PIXELS_24, Preprocessing())
    others = [
        request_embeddings(home, "other", PIXELS_24, Preprocessing()),
        request_embeddings(home, "pixels", PIXELS_24, Preprocessing("paper")),
        request_embeddings(home, "pixels", PIXELS_24, Preprocessing(mask_sector=True)),
        request_embeddings(home, "pixels", PIXELS_24, Preprocessing(), precision="bf16"),
        dataclasses.replace(request, weights="other"),
        dataclasses.replace(request, preprocessing_version=0),
    ]
    assert len({request.key, *(other.key for other in others)}) == 1 + len(others)
    assert request_embeddings(home, "pixels", PIXELS_24, Preprocessing()).key == request.key
    assert open_cache(home, request).width == 576
    with pytest.raises(BadInput, match="gives no feature 'cls'; choose pixels"):
        request_embeddings(home, "pixels", PIXELS_24, Preprocessing(), feature="cls")
