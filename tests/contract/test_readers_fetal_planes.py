"""Reader `fetal-planes`: the published archive in miniature, its halves, its order of classes, and what is refused."""

import pytest

from fmlab.errors import BadInput
from fmlab.readers.auto import choose_reader
from fmlab.readers.fetal_planes import PLANES
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from tests.contract.reader_miniatures import FETAL_ROWS, fetal_planes


def imported(home, source, reader="auto", **options):
    return import_dataset(home, source, "s", reader=reader, options=reader_options(**options), processes=0)


@pytest.mark.parametrize("inside", ["", "FETAL_PLANES_DB_data.csv"])
def test_the_archive_is_recognised_and_keeps_its_halves(home, tmp_path, inside):
    source = fetal_planes(tmp_path / "FETAL_PLANES_ZENODO") / inside
    assert choose_reader(source).name == "fetal-planes"
    dataset = imported(home, source)
    card, table = dataset.card, dataset.manifest()
    assert card.classes == PLANES
    assert (card.images, card.unreadable, card.patients, card.split_origin) == (4, 0, 3, "as in the source")
    assert card.splits == {"train": 3, "T1": 1}
    assert list(table["label"]) == [row[2] for row in FETAL_ROWS]
    assert list(table["patient_id"]) == [row[1] for row in FETAL_ROWS]
    assert list(table["path"]) == [f"Images/{row[0]}.png" for row in FETAL_ROWS]
    for place, name in ((3, "Brain_plane"), (4, "Operator"), (5, "US_Machine")):
        assert list(table[name]) == [row[place] for row in FETAL_ROWS]


def test_an_image_that_is_lacking_is_a_row_with_its_reason(home, tmp_path):
    source = fetal_planes(tmp_path / "s")
    (source / f"Images/{FETAL_ROWS[2][0]}.png").unlink()
    dataset = imported(home, source)
    assert (dataset.card.images, dataset.card.unreadable) == (3, 1)
    assert dataset.manifest()["problem"].notna().tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [(2, "Fetal heart", "Row 2 .* Plane 'Fetal heart'; expected one of Other"), (6, "2", "Row 2 .* Train '2'")],
)
def test_what_the_publication_does_not_have_is_refused(home, tmp_path, place, value, complaint):
    rows = [list(row) for row in FETAL_ROWS]
    rows[1][place] = value
    with pytest.raises(BadInput, match=complaint):
        imported(home, fetal_planes(tmp_path / "s", rows))


def test_another_layout_is_refused_with_advice(home, tmp_path):
    source = fetal_planes(tmp_path / "s")
    table = source / "FETAL_PLANES_DB_data.csv"
    table.write_text(table.read_text().replace("Patient_num", "Patient"))
    with pytest.raises(BadInput, match=r"no column .Patient_num.; .*--reader table"):
        imported(home, source)
    table.unlink()
    with pytest.raises(BadInput, match=r"holds no FETAL_PLANES_DB_data\.csv"):
        imported(home, source, reader="fetal-planes")
    with pytest.raises(BadInput, match="no use for --label-column"):
        imported(home, source, reader="fetal-planes", label_column="Plane")
