"""Reader `table`: columns by name or option, odd delimiters and encodings, paths that must not leave the root."""

import csv
import io
import string

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmlab.errors import BadInput
from fmlab.readers.columns import parse_table
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from tests.contract.reader_miniatures import ECHO_ROWS, clip, dicom, echo_views, everything, gallbladder, save, speckle


def imported(home, source, **options):
    return import_dataset(home, source, "s", options=reader_options(**options), processes=0)


def test_echo_views(home, tmp_path):
    dataset = imported(home, echo_views(tmp_path / "s"))
    card, table = dataset.card, dataset.manifest()
    assert card.source == "table"
    assert (card.images, card.unlabelled, card.patients, card.sequences) == (5, 1, 3, 4)
    assert card.class_counts == {"A4C": 2, "PLAX": 2}
    assert list(table["path"]) == [row[0] for row in ECHO_ROWS]
    assert list(table["frame"]) == [3, 9, 0, 1, 1]
    assert list(table["scanner"]) == [row[5] for row in ECHO_ROWS]
    assert table.groupby("patient_id")["split"].nunique().max() == 1


def test_a_table_without_header_gives_patients_and_says_so(home, tmp_path):
    dataset = imported(home, gallbladder(tmp_path / "s"))
    assert dataset.card.class_counts == {"0": 2, "1": 2}
    assert set(dataset.manifest()["patient_id"]) == {"3", "4", "10"}
    assert any("first number was taken for the patient" in note for note in dataset.card.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_and_encodings(delimiter, encoding):
    text = delimiter.join(("file ", "Klasse")) + "\r\n" + delimiter.join(("ü.png", "größer")) + "\r\n\r\n"
    table = parse_table(text.encode(encoding), "t.csv")
    assert table.columns == {"file": ["ü.png"], "Klasse": ["größer"]}


cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,6}\.png", fullmatch=True), cells, cells), min_size=1, max_size=8))
def test_every_table_that_python_writes_is_read_back(rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("path", "label", "remark"), *rows])
    table = parse_table(buffer.getvalue().encode(), "t.csv")
    assert list(zip(*table.columns.values(), strict=True)) == rows


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_bad_input(content):
    try:
        table = parse_table(content, "t.csv")
    except BadInput:
        return
    assert len({len(column) for column in table.columns.values()}) == 1


@settings(max_examples=25, deadline=None)
@given(name=st.text(string.ascii_letters + string.digits + " ()[]+äµ,;'&%#=@!", min_size=1, max_size=30).map(str.strip))
def test_odd_file_names(tmp_path_factory, name):
    from fmlab.settings import Home

    root = tmp_path_factory.mktemp("odd")
    name = f"x{name}.png"
    save(root / "source" / name, speckle(0))
    with (root / "source" / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), (name, "a")])
    dataset = import_dataset(Home(root / "home"), root / "source", "s", processes=0)
    assert list(dataset.manifest()["path"]) == [name]


def write(root, text, *names):
    for seed, name in enumerate(names):
        save(root / name, speckle(seed))
    root.mkdir(exist_ok=True)
    (root / "t.csv").write_text(text)
    return root


def test_options_name_columns(home, tmp_path):
    text = "who,where,what,when,part,grp\n7,a.png,x,2,train,north\n7,b.png,y,3,train,south\n8,c.png,x,0,test,south\n"
    columns = {"path": "where", "label": "what", "patient": "who", "frame": "when", "split": "part", "site": "grp"}
    root = write(tmp_path / "s", text, "a.png", "b.png", "c.png")
    dataset = imported(home, root, **{f"{role}_column": column for role, column in columns.items()})
    assert dataset.card.splits == {"T1": 1, "train": 2}
    assert dataset.card.sites == {"north": 1, "south": 2}
    assert list(dataset.manifest()["patient_id"]) == ["7", "7", "8"]


def test_parquet_and_names_without_folder_or_suffix(home, tmp_path):
    save(tmp_path / "s/Images/one.png", speckle(0))
    save(tmp_path / "s/Images/two.jpg", speckle(1))
    table = pd.DataFrame({"Image_name": ["one", "two.jpg"], "Plane": ["Other", "Brain"], "age": [1.0, None]})
    table.to_parquet(tmp_path / "s/t.parquet")
    dataset = imported(home, tmp_path / "s")
    assert list(dataset.manifest()["path"]) == ["Images/one.png", "Images/two.jpg"]
    assert dataset.manifest()["age"].iloc[0] == 1.0


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,label\na.png,x\n", {"label_column": "view"}, r"no column 'view'; it has 'path', 'label'"),
        ("one,two\nx,y\n", {}, r"No column of t.csv names the files; it has 'one', 'two'"),
        ("file,filename,label\na.png,b.png,x\n", {}, r"could each be the path.*--path-column"),
        ("path,label,class\na.png,x,y\n", {}, r"could each be the label.*--label-column"),
        ("path,label\n../a.png,x\n", {}, "leaves the folder"),
        ("path,label\n/etc/passwd.png,x\n", {}, "leaves the folder"),
        ("path,label\nsub/../../a.png,x\n", {}, "leaves the folder"),
        ("path,label\nlink.png,x\n", {}, "by a link"),
        ("path,label\na.png,x\na.png,y\n", {}, "Rows 1 and 2 of t.csv name the same image"),
        ("path,label\na.png,x,z\n", {}, "Line 2 of t.csv has 3 cells"),
        ("path,label,frame\na.png,x,two\n", {}, "no frame number"),
        ("path,path\na.png,x\n", {}, "several columns called path"),
        ("path,label,split\na.png,x,../T1\n", {}, "cannot name a split"),
        ("path,label,split\na.png,x,train\nb.png,x,\n", {}, "have no split while others have one"),
        ("path,label\n,x\n", {}, "Row 1 of t.csv has no path"),
        ("", {}, "is empty"),
        ('path,label\n"a.png,x\n', {}, "cannot be read"),
    ],
)
def test_bad_tables_are_one_sentence_and_change_nothing(home, tmp_path, text, options, message):
    root = write(tmp_path / "s", text, "a.png", "b.png")
    save(tmp_path / "outside.png", speckle(9))
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(BadInput, match=message):
        import_dataset(home, root, "s", reader="table", options=reader_options(**options), processes=0)
    assert not (home.datasets / "s").exists()


def test_a_missing_file_is_a_row_with_a_reason(home, tmp_path):
    dataset = imported(home, write(tmp_path / "s", "path,label\na.png,x\ngone.png,y\n", "a.png"))
    assert (dataset.card.images, dataset.card.unreadable) == (1, 1)
    assert dataset.manifest()["problem"].iloc[1] == "The file is not there."


def test_sequence_names_that_recur_are_joined_with_their_patient(home, tmp_path):
    text = "path,label,patient,clip\na.png,x,1,1\nb.png,y,2,1\n"
    dataset = imported(home, write(tmp_path / "s", text, "a.png", "b.png"))
    assert list(dataset.manifest()["sequence_id"]) == ["1/1", "2/1"]


def test_clips_and_single_frames_of_them(home, tmp_path):
    clip(tmp_path / "s/a.mp4")
    (tmp_path / "s/t.csv").write_text("path,label,frame\na.mp4,x,2\na.mp4,y,7\n")
    dataset = imported(home, tmp_path / "s")
    assert list(dataset.manifest()["frame"]) == [2, 7]
    assert list(dataset.manifest()["label"]) == ["x", "y"]


def test_dicom_files_in_a_table_keep_nothing_that_identifies(home, tmp_path):
    dicom(tmp_path / "s/Doe_Jane.dcm", speckle(0))
    (tmp_path / "s/t.csv").write_text("path,label,patient,seen\nDoe_Jane.dcm,x,Doe-4711,2024-05-06\n")
    dataset = imported(home, tmp_path / "s")
    kept = everything(dataset.folder)
    assert dataset.card.patients == 1
    assert not any(word in kept for word in (b"Doe", b"4711", b"2024", b"Nowhere"))


def test_a_measurement_is_no_class(home, tmp_path):
    names = [f"{number}.png" for number in range(1001)]
    lines = ["path,label", *(f"{name},{number / 7}" for number, name in enumerate(names))]
    root = write(tmp_path / "s", "\n".join(lines), "0.png")
    with pytest.raises(BadInput, match="at most 1000 classes"):
        imported(home, root)
