"""The images of a pretraining: the reference pixels, measured, shared, refused when they do not match; nothing half-made.

Run: pytest tests/unit/test_pretrain_images.py
"""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fmlab.data.manifest import content_codes
from fmlab.data.preprocessing import InputSpec, fit, mask_outside
from fmlab.data.store import ImageStore
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, Cancelled
from fmlab.pretrain import images as module
from fmlab.pretrain.images import PretrainImages, mean_and_std, prepare

SECTOR = (0.5, 0.0, 1.0, 1.0, 0.0, 1.0)
COLUMNS = ["image_id", "content_hash", "sector"]
KEPT = 24


def made(home, name, count, colour=False, seed=0):
    """Noise of two shapes, every third with a sector."""
    rng = np.random.default_rng(seed)
    with DatasetWriter(home, name) as writer:
        for number in range(count):
            shape = ((30, 48), (40, 40))[number % 2]
            pixels = rng.integers(0, 200, (*shape, 3) if colour else shape, dtype=np.uint8)
            row = ImageRow(f"{number:03}.png", label="ab"[number % 2], patient_id=f"P{number}")
            writer.add(replace(row, sector=SECTOR if number % 3 == 2 else None), pixels)
        return writer.finish(CardFacts("toy"))


def rows_of(*datasets):
    tables = [dataset.manifest(COLUMNS).assign(dataset=dataset.name) for dataset in datasets]
    return pd.concat(tables, ignore_index=True)


def prepared(home, rows, kept=KEPT, resize="crop", channels=1, mask_sector=False, **options):
    return prepare(home, rows, kept, resize, channels, mask_sector, **options)


@pytest.fixture
def grey(home):
    return made(home, "grey", 9)


@pytest.fixture
def mixed_rows(home, grey):
    """Rows of a grey and a coloured dataset, in no order."""
    coloured = made(home, "coloured", 5, colour=True, seed=1)
    return rows_of(grey, coloured).sample(frac=1, random_state=0)


def wanted_pixels(home, rows, resize, channels, mask_sector, colour):
    """What one who reads, masks and fits each image by itself gets."""
    pixels = []
    for row in rows.itertuples():
        image = ImageStore(home.datasets / row.dataset / "store").read_id(row.image_id)
        image = mask_outside(image, row.sector) if mask_sector else image
        if channels == 1 and image.ndim == 3:
            image = np.asarray(Image.fromarray(image).convert("L"))
        image = fit(image, InputSpec(KEPT, resize, KEPT, "bicubic", (0.5,) * 3, (0.2,) * 3))
        pixels.append(np.repeat(image[..., None], 3, axis=2) if colour and image.ndim == 2 else image)
    return np.stack(pixels)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("mask_sector", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_reference_ones(home, mixed_rows, monkeypatch, resize, mask_sector, channels):
    monkeypatch.setattr(module, "BLOCK", 4)  # several blocks, the last one smaller
    images = prepared(home, mixed_rows, resize=resize, channels=channels, mask_sector=mask_sector)
    wanted = wanted_pixels(home, mixed_rows, resize, channels, mask_sector, colour=channels == 3)
    assert len(images) == 14
    assert images.colour == (channels == 3)
    positions = np.array([13, 0, 7, 7])
    batch = images.batch(positions)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.numpy(), wanted[positions])
    np.testing.assert_array_equal(images.codes, content_codes(mixed_rows["content_hash"]))
    scaled = (wanted / 255).reshape(-1, channels)
    np.testing.assert_allclose(images.mean, scaled.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(images.std, scaled.std(axis=0), atol=1e-12)


def test_grey_images_stay_in_one_plane_when_three_channels_are_asked_for(home, grey):
    images = prepared(home, rows_of(grey), channels=3)
    assert images.batch(np.arange(2)).shape == (2, KEPT, KEPT)
    assert not images.colour
    assert len(set(images.mean)) == len(set(images.std)) == 1
    assert len(images.mean) == len(images.std) == 3


@given(arrays(np.uint8, st.tuples(st.integers(1, 50), st.sampled_from([1, 3]))))
@settings(max_examples=50, deadline=None)
def test_mean_and_deviation_are_numpys(pixels):
    levels = np.stack([np.bincount(plane, minlength=256) for plane in pixels.T])
    mean, std = mean_and_std(levels)
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=0), atol=1e-9)


def test_the_same_images_are_decoded_once_and_anything_else_is_another_folder(home, grey, monkeypatch):
    rows = rows_of(grey)
    first = prepared(home, rows)
    monkeypatch.setattr(module, "_write", None)  # whoever decodes again, fails
    assert prepared(home, rows).folder == first.folder
    monkeypatch.undo()
    others = [
        prepared(home, rows.iloc[::-1]),
        prepared(home, rows.iloc[:-1]),
        prepared(home, rows, kept=16),
        prepared(home, rows, resize="pad"),
        prepared(home, rows, channels=3),
        prepared(home, rows, mask_sector=True),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 7
    np.testing.assert_array_equal(others[0].batch(np.array([8])), first.batch(np.array([0])))


def test_it_tells_how_far_it_is(home, grey, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    told = []
    prepared(home, rows_of(grey), on_progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 9), (4, 9), (8, 9), (9, 9)]


# ---- what is refused


def test_a_map_that_was_made_for_others_is_refused(home, grey):
    rows = rows_of(grey)
    images = prepared(home, rows)
    facts = json.loads((images.folder / "done.json").read_text())["facts"]
    with pytest.raises(BadInput, match="another pretraining \\(they differ in content, mask_sector\\)"):
        PretrainImages(images.folder, facts | {"content": "0" * 32, "mask_sector": True}, images.codes)
    (images.folder / "done.json").write_text('{"facts": 3}')
    with pytest.raises(BadInput, match="another pretraining"):
        prepared(home, rows)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.unlink(),
        lambda path: np.save(path, np.zeros((9, KEPT, KEPT), np.float32)),
        lambda path: np.save(path, np.zeros((9, KEPT, KEPT, 3), np.uint8)),
        lambda path: np.save(path, np.zeros((8, KEPT, KEPT), np.uint8)),
        lambda path: np.save(path, np.array([{}] * 9), allow_pickle=True),
    ],
    ids=["cut short", "gone", "other numbers", "in colour", "one less", "a pickle"],
)
def test_a_damaged_map_is_refused(home, grey, damage):
    images = prepared(home, rows_of(grey))
    damage(images.folder / "images.npy")
    with pytest.raises(BadInput, match="are damaged; remove that folder"):
        prepared(home, rows_of(grey))


@pytest.mark.parametrize("levels", [None, [[1] * 256], [[0] * 256] * 3, "x"])
def test_counts_that_cannot_be_are_refused(home, grey, levels):
    images = prepared(home, rows_of(grey))
    done = json.loads((images.folder / "done.json").read_text())
    (images.folder / "done.json").write_text(json.dumps(done | {"levels": levels}))
    with pytest.raises(BadInput, match="are damaged; remove that folder"):
        prepared(home, rows_of(grey))


def test_no_image_at_all_is_refused(home, grey):
    with pytest.raises(BadInput, match="no image to pretrain on"):
        prepared(home, rows_of(grey).iloc[:0])


def test_an_unreadable_row_is_named(home, grey):
    rows = rows_of(grey)
    rows.loc[[3, 5], "content_hash"] = None
    with pytest.raises(BadInput, match=f"2 of 9 images are unreadable, {rows['image_id'][3]} of dataset 'grey'"):
        prepared(home, rows)


def test_an_image_whose_pixels_are_gone_is_named_and_nothing_is_left(home, grey):
    rows = rows_of(grey)
    shard = grey.folder / "store" / "shard-00000.bin"
    os.truncate(shard, shard.stat().st_size - 10)
    last = ImageStore(grey.folder / "store").index["image_id"].iloc[-1]
    with pytest.raises(BadInput, match=f"Image {last} of dataset 'grey' cannot be read"):
        prepared(home, rows)
    assert left(home) == []


def test_an_image_that_is_not_in_the_store_is_named(home, grey):
    rows = rows_of(grey)
    rows.loc[2, "image_id"] = "f" * 16
    with pytest.raises(BadInput, match="f" * 16):
        prepared(home, rows)
    assert left(home) == []


def left(home):
    """Names of the files below the folder of pretrainings."""
    return sorted(path.name for path in (home.path / "pretraining").rglob("*") if path.is_file())


# ---- interruptions


def test_a_cancelled_preparation_leaves_nothing(home, grey, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        prepared(home, rows_of(grey), cancelled=lambda: next(asked))
    assert left(home) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decoding")]
    assert len(prepared(home, rows_of(grey))) == 9


def test_what_a_kill_leaves_does_not_look_whole_and_is_cleared_away(home, grey):
    def killed(done, total):
        if done:
            os._exit(9)

    child = os.fork()
    if child == 0:
        try:
            prepared(home, rows_of(grey), on_progress=killed)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (stray,) = left(home)
    assert stray.startswith(".images.npy.")
    images = prepared(home, rows_of(grey))
    assert left(home) == ["done.json", "images.npy"]
    np.testing.assert_array_equal(
        images.batch(np.arange(9)), wanted_pixels(home, rows_of(grey), "crop", 1, False, False)
    )


def test_pixels_without_their_proof_are_made_again(home, grey):
    images = prepared(home, rows_of(grey))
    before = images.batch(np.arange(9))
    (images.folder / "done.json").unlink()
    np.save(images.folder / "images.npy", np.zeros((9, KEPT, KEPT), np.uint8))
    assert torch.equal(prepared(home, rows_of(grey)).batch(np.arange(9)), before)


# ---- ahead


def test_work_comes_in_order_and_not_far_ahead(home, grey):
    images, begun = prepared(home, rows_of(grey)), []

    def work(positions):
        begun.append(positions)
        return images.batch(np.array([positions])), torch.get_num_threads()

    stream = images.ahead(range(9), work, threads=2)
    first, threads = next(stream)
    assert threads == 1
    assert len(begun) <= 4
    rest = [batch for batch, _ in stream]
    assert torch.equal(torch.cat([first, *rest]), images.batch(np.arange(9)))
    assert not working()


def test_an_error_comes_in_its_turn_and_closing_stops_the_threads(home, grey):
    images, before = prepared(home, rows_of(grey)), torch.get_num_threads()

    def work(number):
        if number == 2:
            raise ValueError("the third")
        return number

    stream = images.ahead(range(9), work)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(stream)
    assert not working()
    stream = images.ahead(range(1000), lambda number: number)
    assert next(stream) == 0
    stream.close()
    assert not working()
    assert torch.get_num_threads() == before
    assert list(images.ahead([], work)) == []


def working():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pretrain-images")]
