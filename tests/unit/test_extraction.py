"""Extraction: the same numbers as by hand, in any order, once for equal pixels, and after a kill.

Run: pytest tests/unit/test_extraction.py
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.pixels import normalised, stacked
from fmlab.data.augmentation import augmented
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import InputSpec, Preprocessing, mask_outside, normalise, prepare
from fmlab.data.store import ImageStore
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.embeddings.cache import items_of, open_cache
from fmlab.embeddings.extraction import extract, load_requested
from fmlab.embeddings.keys import request_embeddings
from fmlab.embeddings.pipeline import CPU_BATCH, stream_features
from fmlab.errors import BadInput, Cancelled
from fmlab.settings import Home

COLUMNS = ["image_id", "content_hash", "sector"]
SECTOR = (0.5, 0.0, 1.0, 1.0, 0.0, 1.0)


def make_dataset(home, images=21, size=(40, 60)):
    """Noise: grey, every fifth in colour, two of three with a sector, the last two with equal pixels."""
    rng = np.random.default_rng(5)
    with DatasetWriter(home, "noise") as writer:
        for number in range(images):
            shape = (*size, 3) if number % 5 == 2 else size
            sector = SECTOR if number % 3 else None
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            row = ImageRow(f"{number}.png", label="ab"[number % 2], patient_id=f"P{number}", sector=sector)
            writer.add(row, pixels)
        writer.add(ImageRow("twin.png", label="a", patient_id="P0", sector=sector), pixels)
        writer.add_unreadable(ImageRow("cut.png", label="a"), "truncated")
        return writer.finish(CardFacts("toy"))


def prepared(home, key="random-vit-tiny", style="native"):
    dataset = make_dataset(home)
    request = request_embeddings(home, dataset.card.pixels_key, find_backbone(home, key), Preprocessing(style, True))
    manifest = dataset.manifest(COLUMNS)
    return dataset, request, manifest[manifest["content_hash"].notna()]


def run_extraction(home, dataset, request, rows, **hooks):
    cache = open_cache(home, request)
    counts = list(extract(dataset, load_requested(home, request), request, rows, cache, **hooks))
    return cache, counts


@pytest.mark.parametrize(
    ("key", "style"), [("random-vit-tiny", "native"), ("pixels-24", "paper"), ("efficientnet-lite0", "native")]
)
def test_embeddings_equal_preprocessing_and_forward_by_hand(home, key, style):
    dataset, request, rows = prepared(home, key, style)
    cache, counts = run_extraction(home, dataset, request, rows)
    assert counts[0] == 0
    assert counts[-1] == 21  # the twins are one
    store = ImageStore(dataset.folder / "store")
    images = [prepare(store.read_id(row.image_id), request.spec, row.sector) for row in rows.itertuples()]
    with torch.inference_mode():
        by_hand = load_requested(home, request).features(torch.from_numpy(np.stack(images))).numpy()
    found = cache.read(items_of(rows))
    # By hand in one batch of 22, extracted in batches of 8: the last bits depend on the size of a batch, and on that alone.
    assert np.abs(found - by_hand).max() <= 5e-6 * max(1.0, np.abs(by_hand).max())
    assert cache.done


def test_copies_are_masked_then_tilted_or_resampled_then_prepared(home):
    dataset, request, rows = prepared(home, "pixels-24")
    items = rows.loc[rows.index.repeat(5)].assign(copy=np.tile(np.arange(5, dtype=np.uint8), len(rows)))
    cache, counts = run_extraction(home, dataset, request, items)
    assert counts[-1] == 5 * 21
    store = ImageStore(dataset.folder / "store")
    images = [
        augmented(mask_outside(store.read_id(row.image_id), row.sector), row.content_hash, row.copy)
        for row in items.itertuples()
    ]
    prepared_copies = np.stack([prepare(image, request.spec) for image in images])
    with torch.inference_mode():
        by_hand = load_requested(home, request).features(torch.from_numpy(prepared_copies)).numpy()
    assert np.abs(cache.read(items_of(items)) - by_hand).max() <= 5e-6 * max(1.0, np.abs(by_hand).max())
    originals, _ = run_extraction(home, dataset, request, rows)
    assert len(originals) == 5 * 21  # they were there already


def test_order_and_company_leave_no_trace_in_the_numbers(home, tmp_path):
    """Backwards, then one image after all the others: other batches, other places within them, the same bits."""
    dataset, request, rows = prepared(home, "efficientnet-lite0")
    first, _ = run_extraction(home, dataset, request, rows)
    backwards = open_cache(Home(tmp_path / "backwards"), request)
    backbone = load_requested(home, request)
    list(extract(dataset, backbone, request, rows.iloc[:0:-1], backwards))
    list(extract(dataset, backbone, request, rows, backwards))
    assert np.array_equal(first.read(items_of(rows)), backwards.read(items_of(rows)))


def test_what_is_there_is_not_computed_again(home):
    dataset, request, rows = prepared(home, "pixels-24")
    run_extraction(home, dataset, request, rows.iloc[:10])
    progress = []
    _, counts = run_extraction(home, dataset, request, rows, on_progress=lambda *facts: progress.append(facts))
    assert counts[0] == 10
    assert progress[0][:2] == (10, 21)
    assert progress[-1][:2] == (21, 21)
    assert all(earlier[0] <= later[0] for earlier, later in itertools.pairwise(progress))
    _, counts = run_extraction(home, dataset, request, rows.iloc[::-1])
    assert counts == [21]


def test_most_wanted_first_and_used_as_soon_as_stored(home, monkeypatch):
    monkeypatch.setattr("fmlab.embeddings.extraction.CHUNK_SECONDS", 0.0)
    dataset, request, rows = prepared(home, "pixels-24")
    cache = open_cache(home, request)
    stream = extract(dataset, load_requested(home, request), request, rows.iloc[::-1], cache)
    assert (next(stream), next(stream)) == (0, CPU_BATCH)
    assert cache.have(items_of(rows.iloc[-CPU_BATCH:])).all()
    assert not cache.have(items_of(rows.iloc[:3])).any()
    stream.close()


def test_a_stop_keeps_what_was_computed(home):
    dataset, request, rows = prepared(home, "pixels-24")
    with pytest.raises(Cancelled):
        run_extraction(home, dataset, request, rows, cancelled=lambda: True)
    cache = open_cache(home, request)
    assert 0 < len(cache) < 21
    assert not cache.done


def test_what_cannot_be_embedded_is_refused(home):
    dataset, request, rows = prepared(home, "pixels-24")
    with pytest.raises(BadInput, match="1 of these images are unreadable"):
        run_extraction(home, dataset, request, dataset.manifest(COLUMNS))
    with pytest.raises(BadInput, match="no augmented copy 5"):
        run_extraction(home, dataset, request, rows.assign(copy=5))
    other = load_requested(home, request_embeddings(home, "x", find_backbone(home, "random-vit-tiny"), Preprocessing()))
    with pytest.raises(BadInput, match="Load what the request names"):
        next(extract(dataset, other, request, rows, open_cache(home, request)))


def test_relabelled_or_renamed_images_are_found_by_their_pixels(home):
    dataset, request, rows = prepared(home, "pixels-24")
    cache, _ = run_extraction(home, dataset, request, rows)
    renamed = rows.assign(image_id="0123456789abcdef", label="b")
    assert cache.have(items_of(renamed)).all()


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_fast_normalisation_has_the_bits_of_the_reference(channels_last):
    spec = InputSpec(16, "squash", 16, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    colour = np.stack([every, every[..., ::-1], 255 - every], axis=3)
    for pixels in (every, colour):
        fast = normalised(torch.from_numpy(pixels.copy()), spec, channels_last)
        assert np.array_equal(fast[0].numpy(), normalise(pixels[0], spec))


def test_a_batch_that_is_not_full_is_filled_up_with_black():
    image = np.full((4, 4), 200, np.uint8)
    for other in (image, np.stack([image] * 3, axis=2)):
        for _ in range(20):  # fresh memory may be black by chance
            batch = stacked([image, other], 64, pinned=False)
            assert (batch[:2] == 200).all()
            assert not batch[2:].any()


def test_the_callers_threads_stay_as_they_are(home):
    before = torch.get_num_threads()
    card = find_backbone(home, "pixels-24")
    backbone = load_requested(home, request_embeddings(home, "x", card, Preprocessing()))
    stream = stream_features(lambda index: np.full((30, 30), index, np.uint8), 50, backbone, card.spec, "pixels")
    first = next(stream)
    assert np.allclose(first[:, 0] * 255, range(CPU_BATCH))
    stream.close()
    assert torch.get_num_threads() == before


def test_an_error_in_reading_one_image_ends_the_extraction_with_it(home):
    card = find_backbone(home, "pixels-24")
    backbone = load_requested(home, request_embeddings(home, "x", card, Preprocessing()))

    def read(index):
        if index == 20:
            raise OSError("the disk is gone")
        return np.zeros((9, 9), np.uint8)

    with pytest.raises(OSError, match="the disk is gone"):
        list(stream_features(read, 40, backbone, card.spec, "pixels"))


PROGRAM = """
import sys
from pathlib import Path
import fmlab.embeddings.extraction as extraction
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.pixels import normalised, stacked
from fmlab.embeddings.cache import open_cache
from fmlab.embeddings.keys import request_embeddings
from fmlab.settings import Home

extraction.CHUNK_SECONDS = 0.0
home = Home(Path(sys.argv[1]))
dataset = open_dataset(home, "noise")
request = request_embeddings(home, dataset.card.pixels_key, find_backbone(home, "random-vit-tiny"), Preprocessing("native", True))
rows = dataset.manifest(["image_id", "content_hash", "sector"]).dropna(subset="content_hash")
cache = open_cache(home, request)
for done in extraction.extract(dataset, extraction.load_requested(home, request), request, rows, cache):
    print(done, flush=True)
    if done:
        sys.stdin.readline()  # held here, in the middle, until it is killed
"""


def test_killed_in_the_middle_and_taken_up_again_gives_the_same_bits(home, tmp_path):
    dataset, request, rows = prepared(home)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert process.stdout.readline() == "0\n"
    assert process.stdout.readline() == f"{CPU_BATCH}\n"
    time.sleep(0.2)  # the next batches are being computed
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    resumed, counts = run_extraction(home, open_dataset(home, "noise"), request, rows)
    assert counts[0] == CPU_BATCH
    undisturbed = open_cache(Home(tmp_path / "other"), request)
    list(extract(dataset, load_requested(home, request), request, rows, undisturbed))
    assert np.array_equal(resumed.read(items_of(rows)), undisturbed.read(items_of(rows)))
