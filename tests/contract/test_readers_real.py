"""Readers on real ultrasound, where a developer has it: counts as the sources' own documents give them."""

import numpy as np
import pydicom
import pytest

from fmlab.data.store import ImageStore
from fmlab.readers.dicom import read_header
from fmlab.readers.intake import import_dataset


@pytest.mark.slow
def test_gallbladder(home, shared_data):
    card = import_dataset(home, shared_data / "gallbladder_ba", "g", processes=0).card
    assert (card.images, card.unreadable, card.unlabelled, card.patients) == (3705, 0, 0, 1141)
    assert set(card.classes) == {"0", "1"}
    assert (card.leaking, card.sectors_found) == ((), 0)


@pytest.mark.slow
def test_echo_views(home, shared_data):
    dataset = import_dataset(home, shared_data / "echo_views", "e", processes=0)
    card = dataset.card
    assert (card.images, card.patients, card.sequences, card.unlabelled) == (422, 34, 87, 2)
    assert card.classes == ("A4C", "PLAX", "PSAX")
    assert card.leaking == ()
    assert card.sectors_found > 350  # some fill the picture


def test_busi(home, shared_data):
    card = import_dataset(home, shared_data / "busi", "b", processes=0).card
    assert (card.images, card.patients) == (66, None)
    assert card.class_counts == {"benign": 22, "malignant": 22, "normal": 22}


@pytest.mark.slow
def test_lung_pocus(home, shared_data):
    source = shared_data / "lung_pocus"
    dataset = import_dataset(home, source, "l", processes=0)
    clips = sum(1 for path in source.glob("*/*"))
    assert dataset.card.sequences == clips == 34
    assert dataset.card.classes == ("Cov", "Pneu", "Reg", "Vir")
    assert dataset.card.unreadable == 0
    assert dataset.manifest().groupby("sequence_id").size().max() <= 32


def test_dicom(home, shared_data):
    """All readable; the same picture in other transfer syntaxes and byte orders has the same colours."""
    source = shared_data / "dicom_us"
    dataset = import_dataset(home, source, "d", processes=0)
    frames = sum(
        int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames") or 1) for path in source.iterdir()
    )
    assert (dataset.card.images, dataset.card.unreadable, dataset.card.sequences) == (frames, 0, 17)
    assert dataset.card.mask_sector
    table, store = dataset.manifest(), ImageStore(dataset.folder / "store")
    order = sorted(path.name for path in source.iterdir())
    sectors = table.assign(sector=table["sector"].astype(str)).groupby("sequence_id")["sector"]
    assert sectors.nunique().max() == 1  # a clip has one sector
    first = dict(zip(order, table.drop_duplicates("sequence_id", keep="first")["image_id"], strict=True))
    pictures = {name: store.read_id(image).astype(int) for name, image in first.items()}
    for one, other in (
        ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm"),
        ("OBXXXX1A.dcm", "OBXXXX1A_rle.dcm"),
        ("OBXXXX1A_2frame.dcm", "OBXXXX1A_expb_2frame.dcm"),
        ("US1_UNCR.dcm", "US1_J2KR.dcm"),
        ("color-pl.dcm", "color-px.dcm"),
    ):
        assert (pictures[one] == pictures[other]).all(), (one, other)
    assert np.abs(pictures["US1_UNCI.dcm"] - pictures["US1_J2KI.dcm"]).mean() < 2
    # The first bytes of a 16-bit palette, by hand: entry 1 is 0x0100 in the file's byte order.
    assert pictures["OBXXXX1A_expb.dcm"].max() == 255
    assert read_header(source / "OBXXXX1A_expb.dcm").RedPaletteColorLookupTableData[2:4] == b"\x00\x01"


@pytest.mark.slow
def test_hc18(home, shared_data):
    """Its table names 999 images, of which a part is here; the others are rows that say so."""
    source = shared_data / "hc18"
    present = [path for path in source.rglob("*.png") if "_Mask" not in path.name]
    dataset = import_dataset(home, source, "h", processes=0)
    assert dataset.card.images == len(present) == dataset.card.unlabelled
    assert dataset.manifest()["spacing_mm"].notna().all()
    assert len(ImageStore(dataset.folder / "masks")) == len(present)
