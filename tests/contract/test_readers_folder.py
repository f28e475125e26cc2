"""Reader `folder`: classes, splits and masks from folder names; malformed images become rows with a reason."""

import numpy as np
import pytest
from PIL import Image

from fmlab.data.store import ImageStore
from fmlab.errors import BadInput
from fmlab.readers.folder import places, separate_masks
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from tests.contract.reader_miniatures import busi, png_bytes, save, speckle


def rows(dataset):
    return dataset.manifest().set_index("path")


def test_busi_masks_are_masks_and_several_are_joined(home, tmp_path):
    dataset = import_dataset(home, busi(tmp_path / "busi"), "busi", processes=0)
    assert dataset.card.source == "folder"
    assert dataset.card.class_counts == {"benign": 2, "malignant": 1, "normal": 1}
    assert (dataset.card.images, dataset.card.patients, dataset.card.sequences) == (4, None, 4)
    masks, table = ImageStore(dataset.folder / "masks"), rows(dataset)
    joined = masks.read_id(table.loc["benign/benign (1).png", "image_id"])
    assert joined[:, :5].all()
    assert joined[:, -5:].all()
    assert joined[:, 5:-5].sum() == 0
    assert set(np.unique(joined)) == {0, 1}
    assert masks.read_id(table.loc["normal/normal (1).png", "image_id"]).sum() == 0
    assert table.loc["benign/benign (1).png", "mask_path"].count("|") == 1


def test_pixels_are_stored_as_they_are_grey_as_one_channel(home, tmp_path):
    grey = speckle(1)
    save(tmp_path / "s/a/grey.png", grey)
    save(tmp_path / "s/a/grey-as-rgb.png", np.dstack([grey] * 3))
    save(tmp_path / "s/b/colour.png", speckle(2, channels=3))
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    store, table = ImageStore(dataset.folder / "store"), rows(dataset)
    for name in ("a/grey.png", "a/grey-as-rgb.png"):
        assert (store.read_id(table.loc[name, "image_id"]) == grey).all()
    assert (store.read_id(table.loc["b/colour.png", "image_id"]) == speckle(2, channels=3)).all()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a/1.png", "b/2.png"], [(None, "a"), (None, "b")]),
        (["1.png", "2.png"], [(None, None), (None, None)]),
        (["images/1.png"], [(None, None)]),
        (["wrap/a/1.png", "wrap/b/1.png"], [(None, "a"), (None, "b")]),
        (["Train/a/1.png", "valid/a/1.png", "test/b/2.png"], [("train", "a"), ("val", "a"), ("T1", "b")]),
        (["train/1.png", "T2/2.png"], [("train", None), ("T2", None)]),
        (["a/deep/er/1.png", "b/2.png"], [(None, "a"), (None, "b")]),
        (["a/1.png", "2.png"], [(None, "a"), (None, None)]),
        (["only/1.png", "only/2.png"], [(None, "only"), (None, "only")]),
    ],
)
def test_what_folders_say(paths, expected):
    assert [(place.split, place.label) for place in places(paths)] == expected


def test_masks_in_a_folder_of_their_own_and_masks_without_an_image():
    stills = ["images/a.png", "masks/a.png", "b/x_Mask.png", "b/x.jpg", "b/lonely_mask.png", "unmasked.png"]
    images, masks, orphans = separate_masks(stills)
    assert images == ["images/a.png", "b/x.jpg", "unmasked.png"]
    assert masks == {"images/a.png": ("masks/a.png",), "b/x.jpg": ("b/x_Mask.png",)}
    assert orphans == 1


def test_a_split_of_the_source_is_kept(home, tmp_path):
    for seed, name in enumerate(("train/a/1.png", "train/b/2.png", "validation/a/3.png", "test/b/4.png")):
        save(tmp_path / "s" / name, speckle(seed))
    card = import_dataset(home, tmp_path / "s", "s", processes=0).card
    assert card.splits == {"T1": 1, "train": 2, "val": 1}
    assert card.split_origin == "as in the source"


def malformed(root):
    """One good image, and one of everything that can be wrong with one."""
    whole = png_bytes(speckle(0, 40, 40))
    save(root / "a/good.png", speckle(0))
    bad = {
        "a/empty.png": b"",
        "a/text.png": b"not an image at all",
        "a/cut.png": whole[: len(whole) // 2],
        "a/cut.jpg": jpeg_bytes(speckle(1, 60, 60))[:1500],
        "a/line.png": png_bytes(speckle(2, 1, 600)),
        "a/thin.png": png_bytes(speckle(2, 10, 600)),
        "a/bomb.png": png_bytes(np.zeros((9000, 9000), np.uint8)),
        "a/float.tif": None,
    }
    for name, content in bad.items():
        if content is not None:
            (root / name).write_bytes(content)
    Image.fromarray(speckle(3).astype(np.float32)).save(root / "a/float.tif")
    return root, set(bad)


def jpeg_bytes(pixels):
    import io

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


def test_malformed_images_become_rows_with_a_reason(home, tmp_path):
    root, bad = malformed(tmp_path / "s")
    dataset = import_dataset(home, root, "s", processes=0)
    table = rows(dataset)
    assert (dataset.card.images, dataset.card.unreadable) == (1, len(bad))
    unusable = table[table["problem"].notna()]
    assert set(unusable.index) == bad
    assert unusable["split"].isna().all()
    assert not unusable["scored"].any()
    assert "600×1" in table.loc["a/line.png", "problem"]
    assert "64 megapixels" in table.loc["a/bomb.png", "problem"]
    assert table.loc["a/empty.png", "problem"] == "The file is empty."


def test_unusual_pixel_formats(home, tmp_path):
    root = tmp_path / "s"
    grey = speckle(5)
    deep = (np.arange(24 * 24).reshape(24, 24) * 113).astype(np.uint16)
    save(root / "sixteen.png", deep)
    save(root / "alpha.png", np.dstack([speckle(6, channels=3), speckle(7)]))
    (root / "palette.png").parent.mkdir(exist_ok=True)
    Image.fromarray(speckle(8, channels=3)).quantize(16).save(root / "palette.png")
    turned = Image.fromarray(speckle(9, 10, 20))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    turned.save(root / "turned.png", exif=exif)
    Image.fromarray(grey).convert("1").save(root / "bits.png")
    dataset = import_dataset(home, root, "s", processes=0)
    store, table = ImageStore(dataset.folder / "store"), rows(dataset)

    def stored(name):
        return store.read_id(table.loc[name, "image_id"])

    assert (stored("sixteen.png") == deep >> 8).all()
    assert (stored("alpha.png") == speckle(6, channels=3)).all()
    assert (stored("palette.png") == np.asarray(Image.open(root / "palette.png").convert("RGB"))).all()
    assert (stored("turned.png") == np.rot90(speckle(9, 10, 20), -1)).all()
    assert set(np.unique(stored("bits.png"))) == {0, 255}
    assert any("16-bit" in note for note in dataset.card.notes)
    assert any("alpha" in note for note in dataset.card.notes)


def test_large_images_are_scaled_down_with_their_masks(home, tmp_path):
    save(tmp_path / "s/a/big.png", speckle(0, 300, 2048))
    half = np.zeros((300, 2048), np.uint8)
    half[:, :1024] = 255
    save(tmp_path / "s/a/big_mask.png", half)
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    row = rows(dataset).iloc[0]
    assert (row["height"], row["width"]) == (150, 1024)
    mask = ImageStore(dataset.folder / "masks").read_id(row["image_id"])
    assert mask.shape == (150, 1024)
    assert mask[:, :512].all()
    assert not mask[:, 512:].any()


def test_a_mask_that_does_not_fit_is_left_out_and_the_image_stays(home, tmp_path):
    save(tmp_path / "s/a/x.png", speckle(0))
    save(tmp_path / "s/a/x_mask.png", speckle(0, 9, 9))
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    assert dataset.card.images == 1
    assert rows(dataset)["mask_path"].isna().all()
    assert any("mask left out" in note for note in dataset.card.notes)


def test_patients_from_file_names(home, tmp_path):
    for name in ("a/p1_1.png", "a/p1_2.png", "b/p2_1.png"):
        save(tmp_path / "s" / name, speckle(hash(name) % 1000))
    options = reader_options(patient_pattern=r"^p(\d+)_")
    dataset = import_dataset(home, tmp_path / "s", "s", options=options, processes=0)
    assert dataset.card.patients == 2
    with pytest.raises(BadInput, match="finds no patient"):
        import_dataset(home, tmp_path / "s", "t", options=reader_options(patient_pattern=r"^q(\d+)"), processes=0)
    with pytest.raises(BadInput, match="one"):
        reader_options(patient_pattern=r"^p\d+")


def test_a_folder_without_images_changes_nothing(home, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/readme.md").write_text("nothing here")
    with pytest.raises(BadInput, match="no images"):
        import_dataset(home, tmp_path / "s", "s")
    assert not list(home.datasets.glob("s*"))


def test_only_unreadable_images_are_no_dataset(home, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"no readable image.*The file is empty"):
        import_dataset(home, tmp_path / "s", "s", processes=0)
    assert [path.name for path in home.datasets.iterdir()] == [".s.lock"]


def test_linked_folders_are_followed_and_circles_end(home, tmp_path):
    save(tmp_path / "elsewhere/x.png", speckle(0))
    save(tmp_path / "s/a/y.png", speckle(1))
    (tmp_path / "s/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "s/a/round").symlink_to(tmp_path / "s")
    card = import_dataset(home, tmp_path / "s", "s", processes=0).card
    assert card.class_counts == {"a": 1, "b": 1}
