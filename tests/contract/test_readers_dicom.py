"""Reader `dicom`: every kind of pixel as it is meant, and nothing that identifies."""

import numpy as np
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from fmlab.data.store import ImageStore
from fmlab.errors import BadInput
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from tests.contract.reader_miniatures import dicom, everything, save, speckle, ultrasound_region

IDENTIFIERS = (b"Doe", b"4711", b"Jane", b"1970", b"Nowhere", b"ACC-99", b"Roe", b"1.2.3.4", b"Sonic", b"2024")


def only_image(home, tmp_path, *arguments, **options):
    dicom(tmp_path / "s/x.dcm", *arguments, **options)
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    assert dataset.card.unreadable == 0, dataset.manifest()["problem"].tolist()
    return ImageStore(dataset.folder / "store").read(0)


GREY = speckle(1)
COLOUR = speckle(2, channels=3)


def test_monochrome(home, tmp_path):
    assert (only_image(home, tmp_path, GREY) == GREY).all()


def test_monochrome1_is_inverted(home, tmp_path):
    assert (only_image(home, tmp_path, GREY, "MONOCHROME1") == 255 - GREY).all()


def test_twelve_bits_without_a_window_are_scaled_from_their_full_range(home, tmp_path):
    deep = np.linspace(0, 4095, 576).reshape(24, 24).astype(np.uint16)
    shown = only_image(home, tmp_path, deep, bits=12)
    assert (shown == np.round(deep / 4095 * 255)).all()


def test_signed_values_through_a_window(home, tmp_path):
    signed = np.arange(-288, 288, dtype=np.int16).reshape(24, 24)
    shown = only_image(home, tmp_path, signed, bits=16, WindowCenter=[0.5, 9], WindowWidth=[257, 9])
    # PS3.3 C.11.2.1.2: from centre − 0.5 − (width − 1) / 2 to centre − 0.5 + (width − 1) / 2
    assert (shown == np.round(np.clip(signed / 256 + 0.5, 0, 1) * 255)).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_colours(home, tmp_path, syntax):
    assert (only_image(home, tmp_path, COLOUR, "RGB", syntax=syntax) == COLOUR).all()


def test_ybr_becomes_rgb(home, tmp_path):
    ybr = np.zeros((24, 24, 3), np.uint8)
    ybr[...] = (76, 85, 255)  # red in full-range YCbCr
    red = only_image(home, tmp_path, ybr, "YBR_FULL")[0, 0].astype(int)
    assert np.abs(red - (254, 0, 0)).max() <= 2


def test_jpeg(home, tmp_path):
    smooth = np.dstack([np.tile(np.arange(24, dtype=np.uint8) * 8, (24, 1)), np.full((24, 24, 2), 60, np.uint8)])
    shown = only_image(home, tmp_path, smooth, "YBR_FULL_422", syntax=JPEGBaseline8Bit)
    assert np.abs(shown.astype(int) - smooth).max() < 16


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("depth", [8, 16])
def test_palettes(home, tmp_path, syntax, depth):
    """16-bit entries are cut to 8 bits unless 8-bit colours were written into them; big-endian files swap their bytes."""
    tables = np.random.default_rng(3).integers(1, 256, (3, 256)).astype(np.uint16)
    stored = (tables << 8 if depth == 16 else tables).astype("<u2" if syntax == ImplicitVRLittleEndian else ">u2")
    palette = {}
    for name, entries in zip(("Red", "Green", "Blue"), stored, strict=True):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    shown = only_image(home, tmp_path, GREY, "PALETTE COLOR", syntax=syntax, **palette)
    assert (shown == tables.T[GREY]).all()


def test_frames_are_a_sequence(home, tmp_path):
    frames = np.stack([speckle(number) for number in range(7)])
    dicom(tmp_path / "s/x.dcm", frames, frames=7)
    dicom(tmp_path / "s/y.dcm", speckle(9), patient="other")
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    table = dataset.manifest()
    assert (dataset.card.images, dataset.card.sequences, dataset.card.patients) == (8, 2, 2)
    assert table.groupby("sequence_id").size().tolist() in ([7, 1], [1, 7])
    store = ImageStore(dataset.folder / "store")
    clip = table[table.groupby("sequence_id")["path"].transform("size") == 7].sort_values("frame")
    assert all((store.read_id(i) == frames[n]).all() for n, i in zip(clip["frame"], clip["image_id"], strict=True))
    few = import_dataset(home, tmp_path / "s", "few", options=reader_options(frames=2), processes=0)
    assert sorted(few.manifest()["frame"]) == [0, 1, 5]  # the middles of two halves of 7, and the single one


def test_nothing_that_identifies_is_kept(home, tmp_path):
    dicom(tmp_path / "s/Doe_Jane/Doe.dcm", GREY)
    dicom(tmp_path / "s/Doe_Jane/broken.dcm", GREY)
    content = (tmp_path / "s/Doe_Jane/broken.dcm").read_bytes()
    (tmp_path / "s/Doe_Jane/broken.dcm").write_bytes(content[:-100])
    (tmp_path / "s/report.Doe").write_bytes(b"")
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    kept = everything(home.datasets)
    assert not [word for word in IDENTIFIERS if word in kept]
    assert not [word for word in IDENTIFIERS if word.lower() in (dataset.folder / "card.json").read_bytes().lower()]
    assert dataset.card.unreadable == 1
    assert dataset.card.unlabelled == 1
    assert dataset.card.mask_sector
    assert any("give classes with --labels" in note for note in dataset.card.notes)


def test_one_patient_is_one_pseudonym_in_a_home_and_another_elsewhere(home, tmp_path):
    from fmlab.settings import Home

    dicom(tmp_path / "one/a.dcm", speckle(1))
    dicom(tmp_path / "two/b.dcm", speckle(2))
    first, second = (import_dataset(home, tmp_path / name, name, processes=0) for name in ("one", "two"))
    elsewhere = import_dataset(Home(tmp_path / "elsewhere"), tmp_path / "one", "one", processes=0)
    patients = [dataset.manifest()["patient_id"][0] for dataset in (first, second, elsewhere)]
    assert patients[0] == patients[1] != patients[2]
    assert first.manifest()["site"][0] == second.manifest()["site"][0]


def test_folders_are_classes_and_a_table_can_say_otherwise(home, tmp_path):
    for seed, name in enumerate(("A4C/1.dcm", "A4C/2.dcm", "PLAX/3")):
        dicom(tmp_path / "s" / name, speckle(seed), patient=f"p{seed}")
    assert import_dataset(home, tmp_path / "s", "s", processes=0).card.class_counts == {"A4C": 2, "PLAX": 1}
    (tmp_path / "map.csv").write_text("A4C/1.dcm,x\nPLAX/3,y\n")
    options = reader_options(labels=tmp_path / "map.csv")
    card = import_dataset(home, tmp_path / "s", "t", options=options, processes=0).card
    assert (card.class_counts, card.unlabelled) == ({"x": 1, "y": 1}, 1)
    (tmp_path / "map.csv").write_text("path,label\nA4C/9.dcm,x\n")
    with pytest.raises(BadInput, match="not DICOM files of the source"):
        import_dataset(home, tmp_path / "s", "u", options=options, processes=0)


def test_spacing_and_region(home, tmp_path):
    """A fan of speckle on black, a headline of the same speckle above it: the region in the header keeps the headline out."""
    picture = np.zeros((200, 300), np.uint8)
    picture[60:190, 50:250] = speckle(1, 130, 200)
    picture[:25] = speckle(2, 25, 300)
    tags = {"SequenceOfUltrasoundRegions": ultrasound_region(40, 50, 260, 195)}
    dicom(tmp_path / "s/x.dcm", picture, **tags)
    row = import_dataset(home, tmp_path / "s", "s", processes=0).manifest().iloc[0]
    assert row["spacing_mm"] == pytest.approx(0.5)
    points = np.asarray(row["sector"]).reshape(-1, 2) * (300, 200)
    assert np.abs(points.min(axis=0) - (50, 60)).max() <= 4
    assert np.abs(points.max(axis=0) - (250, 190)).max() <= 4


def test_unusable_files_are_rows_with_a_reason_and_without_text_of_theirs(home, tmp_path):
    dicom(tmp_path / "s/good.dcm", GREY)
    whole = (tmp_path / "s/good.dcm").read_bytes()
    cases = {"empty": b"", "text": b"Doe^Jane is not DICOM" * 40, "header": whole[:400], "cut": whole[:-200]}
    for name, content in cases.items():
        (tmp_path / f"s/{name}.dcm").write_bytes(content)
    dicom(tmp_path / "s/line.dcm", speckle(1, 1, 600))
    dicom(tmp_path / "s/bomb.dcm", GREY)
    huge = (
        (tmp_path / "s/bomb.dcm")
        .read_bytes()
        .replace(b"\x28\x00\x10\x00US\x02\x00\x18\x00", b"\x28\x00\x10\x00US\x02\x00\xff\xff")
    )
    huge = huge.replace(b"\x28\x00\x11\x00US\x02\x00\x18\x00", b"\x28\x00\x11\x00US\x02\x00\xff\xff")
    (tmp_path / "s/bomb.dcm").write_bytes(huge)
    dataset = import_dataset(home, tmp_path / "s", "s", processes=0)
    assert (dataset.card.images, dataset.card.unreadable) == (1, 6)
    reasons = " ".join(dataset.manifest()["problem"].dropna())
    assert "megapixels" in reasons
    assert not any(word.decode() in reasons for word in IDENTIFIERS)


def test_images_beside_dicom_files_are_ambiguous(home, tmp_path):
    dicom(tmp_path / "s/x.dcm", GREY)
    save(tmp_path / "s/x.png", GREY)
    with pytest.raises(BadInput, match=r"folder or dicom.*--reader"):
        import_dataset(home, tmp_path / "s", "s", processes=0)
    dataset = import_dataset(home, tmp_path / "s", "s", reader="dicom", processes=0)
    assert any("left out: 1 .png" in note for note in dataset.card.notes)
