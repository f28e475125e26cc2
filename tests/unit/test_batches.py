"""Training images: the reference pixels, once or again, in order and in any company; the same draws for the same seed.

Run: pytest tests/unit/test_batches.py
"""

import threading
from dataclasses import replace

import numpy as np
import pytest

from fmlab.data.augmentation import augmented, drawn, margin_for
from fmlab.data.preprocessing import InputSpec, fit, mask_outside
from fmlab.data.store import ImageStore
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.training.batches import AHEAD, TrainingImages, Variation

SPEC = InputSpec(32, "crop", 36, "bilinear", (0.5,) * 3, (0.2,) * 3)
SECTOR = (0.5, 0.0, 1.0, 1.0, 0.0, 1.0)
EVERYTHING = Variation(augment=True, flip=True, jitter=0.2)
GREY, COLOUR = 9, 12  # images; the coloured ones come last


@pytest.fixture
def dataset(home):
    """Noise of two shapes: grey, then in colour; some with a sector; the first two with equal pixels."""
    rng = np.random.default_rng(7)
    with DatasetWriter(home, "noise") as writer:
        for number in range(COLOUR):
            shape = (40, 60) if number % 2 else (48, 48)
            pixels = rng.integers(30, 256, shape if number < GREY else (*shape, 3), dtype=np.uint8)
            row = ImageRow(f"{number:02}.png", label="ab"[number % 2], patient_id=f"P{number}")
            sector = SECTOR if number % 3 == 2 else None
            writer.add(replace(row, sector=sector), pixels)
            if number == 0:
                writer.add(replace(row, path="00-twin.png"), pixels)
        return writer.finish(CardFacts("toy"))


def items(dataset, copies=4):
    """All items, copies of an image side by side, images in the order of their names."""
    rows = dataset.manifest(["image_id", "path", "content_hash", "sector"]).sort_values("path")
    each = copies + 1
    return rows.loc[rows.index.repeat(each)].assign(copy=np.tile(np.arange(each, dtype=np.uint8), len(rows)))


def images_of(dataset, **options):
    copies = options.pop("copies", 4)
    return TrainingImages(dataset.folder, items(dataset, copies), SPEC, options.pop("mask_sector", True), **options)


def batches(images, order, epoch=0):
    return [batch.numpy() for batch in images.ahead(order, epoch)]


def one_by_one(images, epoch=0):
    return [images.batch(np.array([position]), epoch).numpy()[0] for position in range(len(images))]


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("training-images")]


def blacken(dataset):
    """Overwrite the stored pixels: what is read from now on is black."""
    for shard in (dataset.folder / "store").glob("shard-*.bin"):
        with shard.open("r+b") as file:
            file.write(bytes(shard.stat().st_size))


@pytest.mark.parametrize("memory_bytes", [None, 0, 20_000])
@pytest.mark.parametrize("mask_sector", [True, False])
def test_items_are_masked_then_copied_then_fitted_like_test_images(dataset, mask_sector, memory_bytes):
    images = images_of(dataset, mask_sector=mask_sector, memory_bytes=memory_bytes)
    store, rows = ImageStore(dataset.folder / "store"), items(dataset)
    by_hand = []
    for row in rows.itertuples():
        image = mask_outside(store.read_id(row.image_id), row.sector if mask_sector else None)
        by_hand.append(fit(augmented(image, row.content_hash, row.copy), SPEC))
    assert len(images) == len(by_hand) == 5 * (COLOUR + 1)
    for epoch in range(2):
        assert same(one_by_one(images, epoch), by_hand)


def test_without_a_column_of_copies_the_items_are_the_images(dataset):
    rows = items(dataset, copies=0)
    bare = TrainingImages(dataset.folder, rows.drop(columns="copy"), SPEC, mask_sector=True)
    assert same(one_by_one(bare), one_by_one(images_of(dataset, copies=0)))


def test_a_batch_is_grey_until_one_of_its_images_is_in_colour(dataset):
    images = images_of(dataset, copies=0)
    grey, colour = images.batch(np.array([3, 1, 3]), 0), images.batch(np.array([3, len(images) - 1]), 0)
    assert tuple(grey.shape) == (3, 32, 32)
    assert tuple(colour.shape) == (2, 32, 32, 3)
    assert all((colour[0, ..., channel] == grey[0]).all() for channel in range(3))
    assert (colour[1, ..., 0] != colour[1, ..., 1]).any()


@pytest.mark.parametrize("variation", [Variation(), EVERYTHING])
@pytest.mark.parametrize("threads", [1, 4])
def test_prepared_ahead_they_come_in_order_whatever_the_company_and_the_memory(dataset, variation, threads):
    alone = one_by_one(images_of(dataset, variation=variation, seed=3, memory_bytes=0), epoch=2)
    images = images_of(dataset, variation=variation, seed=3, threads=threads)
    grey = np.flatnonzero(items(dataset)["path"] < f"{GREY:02}")
    order = np.split(np.random.default_rng(0).permutation(grey), [7, 14, 30])
    for _ in range(2):  # read, then from memory
        found = batches(images, order, epoch=2)
        assert [len(batch) for batch in found] == [len(positions) for positions in order]
        assert same(list(np.concatenate(found)), [alone[position] for position in np.concatenate(order)])
    assert not reading_threads()


def test_what_is_drawn_follows_from_seed_epoch_content_and_copy_alone(dataset):
    def seen(seed=3, epoch=0, rows=slice(None)):
        chosen = items(dataset).iloc[rows]
        return one_by_one(TrainingImages(dataset.folder, chosen, SPEC, True, EVERYTHING, seed), epoch)

    first = seen()
    assert same(first, seen())
    assert same(first[::-1], seen(rows=slice(None, None, -1)))
    for other in (seen(seed=4), seen(epoch=1)):
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert same(first[:5], first[5:10])  # the twins
    unvaried = one_by_one(images_of(dataset))
    turns = [np.abs(a.astype(int) - b).mean() for a, b in zip(first, unvaried, strict=True)]
    assert len({round(turn, 6) for turn in turns}) == len(turns) - 5  # every image and copy its own


def test_a_variant_turns_in_what_stood_beside_the_crop(dataset):
    images = images_of(dataset, copies=0, mask_sector=False, variation=Variation(augment=True), seed=1)
    margin = margin_for(SPEC.size)
    store, rows = ImageStore(dataset.folder / "store"), items(dataset, copies=0)
    for position in (2, 3):  # 40 by 60 and 48 by 48
        row = rows.iloc[position]
        wide = fit(store.read_id(row["image_id"]), replace(SPEC, size=SPEC.size + 2 * margin))
        draw = np.random.default_rng((1, 5, int(row["content_hash"][:16], 16), 0))
        found = images.batch(np.array([position]), 5)[0].numpy()
        assert (found == drawn(wide, draw, margin=margin)).all()
        inside = wide[margin:-margin, margin:-margin]
        assert (inside == fit(store.read_id(row["image_id"]), SPEC)).all()
    assert (one_by_one(images, epoch=5)[2][:, [0, -1]] > 0).mean() > 0.9  # sides of a wide image, not black


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_inputs_that_show_the_whole_image_have_nothing_beside_it(dataset, resize):
    spec = replace(SPEC, resize=resize)
    images = TrainingImages(dataset.folder, items(dataset, 0), spec, False, Variation(augment=True))
    store, row = ImageStore(dataset.folder / "store"), items(dataset, 0).iloc[2]
    draw = np.random.default_rng((0, 0, int(row["content_hash"][:16], 16), 0))
    by_hand = drawn(fit(store.read_id(row["image_id"]), spec), draw)
    assert (images.batch(np.array([2]), 0)[0].numpy() == by_hand).all()


def test_flips_and_jitter_alone_leave_the_picture_upright(dataset):
    plain = one_by_one(images_of(dataset, copies=0))
    flipped = one_by_one(images_of(dataset, copies=0, variation=Variation(flip=True), seed=1))
    mirrored = [np.array_equal(variant, image[:, ::-1]) for variant, image in zip(flipped, plain, strict=True)]
    upright = [np.array_equal(variant, image) for variant, image in zip(flipped, plain, strict=True)]
    assert all(one != other for one, other in zip(mirrored, upright, strict=True))
    assert 0 < sum(mirrored) < len(plain)
    jittered = one_by_one(images_of(dataset, copies=0, variation=Variation(jitter=0.3), seed=1))
    for variant, image in zip(jittered, plain, strict=True):
        assert not np.array_equal(variant, image)
        assert np.corrcoef(variant.ravel(), image.ravel())[0, 1] > 0.98


def test_what_was_seen_is_kept_and_the_rest_is_read_again(dataset):
    everything = np.arange(GREY)
    kept, unkept = images_of(dataset, copies=0), images_of(dataset, copies=0, memory_bytes=0)
    half = images_of(dataset, copies=0, memory_bytes=4 * 32 * 32 + 1000)
    before = kept.batch(everything, 0)
    assert (half.batch(everything, 0) == before).all()
    unkept.batch(everything, 0)
    blacken(dataset)
    assert (kept.batch(everything, 1) == before).all()
    assert not unkept.batch(everything, 1).any()
    again = half.batch(everything, 1)
    assert (again[:4] == before[:4]).all()
    assert not again[4:].any()


def test_only_a_few_batches_are_prepared_ahead_and_closing_ends_the_work(dataset):
    asked = []

    class Order(list):
        def __iter__(self):
            for positions in super().__iter__():
                asked.append(positions)
                yield positions

    images = images_of(dataset, threads=2)
    stream = images.ahead(Order(np.array([position]) for position in range(60)), 0)
    next(stream)
    assert len(asked) == 2 + AHEAD
    next(stream)
    assert len(asked) == 2 + AHEAD + 1
    assert reading_threads()
    stream.close()
    assert not reading_threads()


def test_an_image_that_cannot_be_read_ends_the_stream_with_its_error(dataset):
    images = images_of(dataset, copies=0, threads=2)
    shard = next((dataset.folder / "store").glob("shard-*.bin"))
    with shard.open("r+b") as file:
        file.truncate(48 * 48 * 3)
    stream = images.ahead([np.array([position]) for position in range(len(images))], 0)
    with pytest.raises(ValueError, match="reshape"):
        list(stream)
    assert not reading_threads()
    assert list(images.ahead([], 0)) == []
