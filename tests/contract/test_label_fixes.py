"""Corrected labels go out as CSV and come back by an import. Run: pytest tests/contract/test_label_fixes.py"""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmlab.data.manifest import dataset_names, image_id, open_dataset
from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput
from fmlab.readers.attach import attach
from fmlab.readers.fixes import as_meant, harmless, read_fixes
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import DecodedImage
from fmlab.review.exports import _csv, attached_sets, label_fixes_csv
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.label_versions import publish
from tests.contract.reader_miniatures import clips, echo_views, medmnist, save, speckle

ANNA = Actor("anna", "test")
HEADER = "path,frame,image_id,label_was,label,attached\n"


def pictures(root, patients=6, classes=("a", "b")):
    for number in range(patients):
        for place, label in enumerate(classes):
            save(root / label / f"p{number}_{label}.png", speckle(10 * number + place))
    return root


def imported(home, source, name, **options):
    return import_dataset(home, source, name, processes=0, **options)


def labels(dataset):
    rows = dataset.manifest(["image_id", "label"])
    return {
        image: label if isinstance(label, str) else None
        for image, label in zip(rows["image_id"], rows["label"], strict=True)
    }


def written(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("make", "location"),
    [(pictures, "s"), (echo_views, "s"), (clips, "s"), (medmnist, "s.npz")],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_round_trip_gives_the_labels_of_the_version_and_leaves_all_else(home, tmp_path, make, location):
    make(tmp_path / location)
    source = tmp_path / location
    dataset = imported(home, source, "first")
    classes = dataset.card.classes
    known = [image for image, label in labels(dataset).items() if label is not None]
    if len(classes) < 2:
        pytest.fail("the miniature has one class: nothing could be corrected")
    changes = {known[0]: next(name for name in classes if name != labels(dataset)[known[0]]), known[-1]: None}
    store = open_store(home)
    version = publish(store, dataset, "v2", changes, "", ANNA)
    fixes = written(tmp_path / "fixes.csv", label_fixes_csv(store, dataset, version))
    again = imported(home, source, "second", fixes=fixes)
    assert labels(again) == labels(dataset) | changes
    assert again.card.classes == classes
    assert again.card.pixels_key == dataset.card.pixels_key
    assert again.card.unlabelled == dataset.card.unlabelled + 1
    assert "fixes.csv: 1 labels corrected, 1 taken away." in again.card.notes
    kept = ["image_id", "split", "scored", "sequence_id", "patient_id"]
    assert again.manifest(kept).astype(str).equals(dataset.manifest(kept).astype(str))  # the drawn split stays, too


def test_a_class_that_no_image_has_any_more_stays_a_class(home, tmp_path):
    source = pictures(tmp_path / "s", patients=2)
    dataset = imported(home, source, "first")
    store = open_store(home)
    changes = {image: "a" for image, label in labels(dataset).items() if label == "b"}
    version = publish(store, dataset, "v2", changes, "", ANNA)
    fixes = written(tmp_path / "fixes.csv", label_fixes_csv(store, dataset, version))
    assert imported(home, source, "second", fixes=fixes).card.class_counts == {"a": 4, "b": 0}


def test_attached_images_are_corrected_where_they_are_attached(home, tmp_path):
    """One file serves both commands: each takes the lines that are meant for it."""
    base, other = pictures(tmp_path / "s"), pictures(tmp_path / "t", patients=2)
    dataset = imported(home, base, "first")
    dataset = attach(home, "first", other, "T2", processes=0)
    assert attached_sets(dataset.card) == ("T2",)
    rows = dataset.manifest(["image_id", "path", "label", "split"])
    mine = rows[(rows["split"] != "T2") & (rows["label"] == "a")]["image_id"].iloc[0]
    theirs = rows[(rows["split"] == "T2") & (rows["label"] == "b")]["image_id"].iloc[0]
    store = open_store(home)
    version = publish(store, dataset, "v2", {mine: "b", theirs: "a"}, "", ANNA)
    fixes = written(tmp_path / "fixes.csv", label_fixes_csv(store, dataset, version))
    again = imported(home, base, "second", fixes=fixes)
    assert labels(again)[mine] == "b"
    assert labels(attach(home, "second", other, "T2", processes=0, fixes=fixes))[theirs] == "a"
    with pytest.raises(BadInput, match="holds no fix for the attached test set 'T3'"):
        attach(home, "first", other, "T3", processes=0, fixes=fixes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "b/none.png,0,,b,a,\n", "does not have: b/none.png frame 0 (line 2)"),
        (HEADER + "b/p0_b.png,7,,b,a,\n", "does not have: b/p0_b.png frame 7 (line 2)"),
        (HEADER + "b/p0_b.png,0,,a,b,\n", "corrects b/p0_b.png frame 0 from 'a', but the source says 'b'"),
        (HEADER + "b/p0_b.png,0,,,a,\n", "from no label, but the source says 'b'"),
        (HEADER + "b/p0_b.png,0,,b,c,\n", "Labels c are not among the classes a, b"),
        (HEADER + "b/p0_b.png,0,0123,b,a,\n", "whose id is"),
        (HEADER + "b/p0_b.png,0,,b,b,\n", "changes nothing"),
        (HEADER + "b/p0_b.png,0,,b,a,\nb/p0_b.png,0,,b,,\n", "Lines 2 and 3 of fixes.csv are about the same image"),
        (HEADER + "b/p0_b.png,zero,,b,a,\n", "needs a path and a frame number"),
        (HEADER + ",0,,b,a,\n", "needs a path and a frame number"),
        (HEADER + "b/p0_b.png,0,,b\n", "has 4 cells"),
        (HEADER, "holds no fix for the import"),
        (HEADER + "T2/b/p0_b.png,0,,b,a,T2\n", "holds no fix for the import"),
        ("path,label\nb/p0_b.png,a\n", "has the columns path, label;"),
        ("path,label_was,label,patient\nb/p0_b.png,b,a,7\n", "label fixes have path, frame"),
        ("path,label_was,label,label\nb/p0_b.png,b,a,a\n", "each once"),
        ("", "has the columns none"),
    ],
)
def test_fixes_that_do_not_fit_are_refused_and_nothing_is_kept(home, tmp_path, text, said):
    source = pictures(tmp_path / "s")
    with pytest.raises(BadInput) as refusal:
        imported(home, source, "s", fixes=written(tmp_path / "fixes.csv", text))
    assert said in str(refusal.value)
    assert dataset_names(home) == []


def test_what_a_person_writes_by_hand_is_enough(home, tmp_path):
    """No ids, no frames, another order, a spreadsheet's semicolons."""
    source = pictures(tmp_path / "s")
    fixes = written(tmp_path / "fixes.csv", "label_was;label;path\r\nb;a;b/p0_b.png\r\n")
    assert labels(imported(home, source, "s", fixes=fixes))[image_id("b/p0_b.png", 0)] == "a"


def test_a_fixes_file_that_is_not_there_is_refused(home, tmp_path):
    with pytest.raises(BadInput, match="There are no label fixes"):
        imported(home, pictures(tmp_path / "s"), "s", fixes=tmp_path / "none.csv")


# -------------------------------------------------------------------------------------------- cells, whatever they hold

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.from_regex(
    r"\A'{0,3}[=+\-@\t\r][a-z ,;\"]{0,4}\Z"
)


@given(cell=CELLS)
@settings(max_examples=300)
def test_no_cell_is_computed_and_every_cell_is_read_back(cell):
    assert not harmless(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert as_meant(harmless(cell)) == cell


@given(
    rows=st.dictionaries(
        st.tuples(CELLS.filter(bool), st.integers(0, 9)),
        st.tuples(CELLS, CELLS).filter(lambda two: two[0] != two[1]),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_paths_and_labels_are_called_they_come_back(tmp_path, rows):
    table = [(path, frame, image_id(path, frame), was, label, None) for (path, frame), (was, label) in rows.items()]
    text = _csv(("path", "frame", "image_id", "label_was", "label", "attached"), table)
    assert [cells[0] for cells in csv.reader(io.StringIO(text, newline=""))][1:] == [harmless(path) for path, _ in rows]
    fixes = read_fixes(written(tmp_path / "fixes.csv", text))
    for (path, frame), (was, _) in rows.items():
        fixes.checked(DecodedImage(ImageRow(path, frame, label=was or None)))
    assert fixes.applied()[1] == {image_id(path, frame): label or None for (path, frame), (_, label) in rows.items()}


@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.text(max_size=60).map(lambda t: (HEADER + t).encode())
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_is_fixes_or_one_sentence(tmp_path, content):
    path = tmp_path / "fixes.csv"
    path.write_bytes(content)
    try:
        read_fixes(path)
    except BadInput as refusal:
        assert str(refusal)  # noqa: PT017 - either outcome is right


def test_the_command_line_takes_fixes(fmlab, home, tmp_path):
    source, name = pictures(tmp_path / "s"), "b/p0_b.png"
    fixes = written(tmp_path / "fixes.csv", f"path,label_was,label\n{name},b,a\n")
    status, _, err = fmlab("data", "import", source, "--name", "s", "--fixes", fixes)
    assert status == 0
    assert "fixes.csv: 1 labels corrected, 0 taken away." in err
    theirs = written(tmp_path / "theirs.csv", f"path,label_was,label,attached\nT2/{name},b,a,T2\n")
    assert fmlab("data", "attach", "s", source, "--as", "T2", "--fixes", theirs)[0] == 0
    rows = open_dataset(home, "s").manifest(["path", "label"]).set_index("path")["label"]
    assert (rows[name], rows[f"T2/{name}"]) == ("a", "a")
    status, out, err = fmlab("data", "import", source, "--name", "t", "--fixes", theirs)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
