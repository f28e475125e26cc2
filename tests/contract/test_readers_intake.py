"""Importing as a whole: same source, same dataset; processes; cancel, full disk and kill leave nothing; upload; attach."""

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from fmlab.data.manifest import dataset_names, open_dataset, remove_dataset
from fmlab.data.store import ImageStore
from fmlab.errors import BadInput, Cancelled, NameTaken, NotFound, StorageFull
from fmlab.files import storage_errors
from fmlab.readers.attach import attach
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from fmlab.readers.uploads import forget_dropped, keep_dropped
from tests.contract.reader_miniatures import (
    archive,
    busi,
    clip,
    clips,
    dicom,
    echo_views,
    gallbladder,
    png_bytes,
    save,
    speckle,
)


def left_behind(home):
    """What lies in the home beside datasets, locks and the pseudonym key."""
    names = [
        path.name for path in (*home.datasets.glob("*"), *home.uploads.glob("*")) if not path.name.endswith(".lock")
    ]
    return sorted(name for name in names if name not in dataset_names(home))


def pictures(root, patients=6, classes=("a", "b"), prefix="p"):
    """One image per patient and class: p0_a.png …"""
    for number in range(patients):
        for place, label in enumerate(classes):
            save(root / label / f"{prefix}{number}_{label}.png", speckle(10 * number + place + len(prefix)))
    return root


# ---- importing ----


@pytest.mark.parametrize("make", [busi, echo_views, gallbladder, clips])
def test_the_same_source_is_the_same_dataset_however_many_processes(home, tmp_path, make):
    source = make(tmp_path / "s")
    one, two = import_dataset(home, source, "one", processes=0), import_dataset(home, source, "two", processes=2)
    assert one.card.content_hash == two.card.content_hash
    assert one.card.pixels_key == two.card.pixels_key
    left, right = one.manifest(), two.manifest()
    assert left.astype(str).equals(right.astype(str))
    same = [ImageStore(d.folder / "store") for d in (one, two)]
    assert all((same[0].read(i) == same[1].read(i)).all() for i in range(len(same[0])))


CRASH = """
import os, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("crash.png"):
        os.kill(os.getpid(), 9)
sys.addaudithook(watch)
"""


def test_a_decoder_that_crashes_costs_its_file_alone(home, tmp_path, monkeypatch):
    """Python starts every process with `sitecustomize`; this one dies at a certain file, as by a fault in a C library."""
    source = pictures(tmp_path / "s", patients=3)
    save(source / "a/p1_crash.png", speckle(99))
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(CRASH)
    monkeypatch.syspath_prepend(tmp_path / "start")
    dataset = import_dataset(home, source, "s", processes=1)
    table = dataset.manifest().set_index("path")
    assert (dataset.card.images, dataset.card.unreadable) == (6, 1)
    assert table.loc["a/p1_crash.png", "problem"] == "The decoder crashed on this file."
    undisturbed = ImageStore(dataset.folder / "store").read_id(table.loc["b/p2_b.png", "image_id"])
    assert (undisturbed == np.asarray(Image.open(source / "b/p2_b.png"))).all()


def test_cancelling_does_not_wait_for_a_long_file(home, tmp_path):
    clip(tmp_path / "s/long.mp4", frames=700, height=480, width=640)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        import_dataset(home, tmp_path / "s", "s", processes=1, cancelled=lambda: time.monotonic() - started > 0.5)
    assert time.monotonic() - started < 10
    assert left_behind(home) == []


def test_progress_and_cancel(home, tmp_path):
    source = pictures(tmp_path / "s", patients=40)
    seen = []
    import_dataset(home, source, "s", processes=0, on_progress=lambda done, of, what: seen.append((done, of)))
    assert seen[-1] == (80, 80)
    assert seen == sorted(seen)
    for processes in (0, 1):
        with pytest.raises(Cancelled):
            import_dataset(home, source, "t", processes=processes, cancelled=lambda: True)
    assert left_behind(home) == []


def test_a_full_disk_keeps_nothing(home, tmp_path, monkeypatch):
    source = pictures(tmp_path / "s")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    import_dataset(home, source, "before", processes=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="disk is full") as caught:
            import_dataset(home, source, "s", processes=0)
        assert caught.value.exit_status == 2
        with pytest.raises(StorageFull):
            attach(home, "before", source, "T2", processes=0)
    assert left_behind(home) == []
    assert open_dataset(home, "before").card.images == 12


def test_names(home, tmp_path):
    source = pictures(tmp_path / "s")
    import_dataset(home, source, "s", processes=0)
    with pytest.raises(NameTaken):
        import_dataset(home, source, "s", processes=0)
    with pytest.raises(BadInput, match="cannot name a dataset"):
        import_dataset(home, source, "../s", processes=0)
    with pytest.raises(NotFound):
        import_dataset(home, tmp_path / "nowhere", "t", processes=0)
    with pytest.raises(BadInput, match="no reader 'x'"):
        import_dataset(home, source, "t", reader="x")
    with pytest.raises(BadInput, match="no use for --frame-column"):
        import_dataset(home, source, "t", options=reader_options(frame_column="f"), processes=0)
    with pytest.raises(BadInput, match="Option frames"):
        reader_options(frames="three")
    remove_dataset(home, "s")
    assert dataset_names(home) == []
    with pytest.raises(NotFound):
        remove_dataset(home, "s")


def test_one_class_and_no_class_import_too(home, tmp_path):
    save(tmp_path / "one/only/x.png", speckle(0))
    save(tmp_path / "none/x.png", speckle(0))
    assert import_dataset(home, tmp_path / "one", "one", processes=0).card.class_counts == {"only": 1}
    none = import_dataset(home, tmp_path / "none", "none", processes=0).card
    assert (none.classes, none.unlabelled, none.splits) == ((), 1, {"train": 1})


def test_folds_on_request(home, tmp_path):
    options = reader_options(patient_pattern=r"^p(\d+)_")
    source = pictures(tmp_path / "s", patients=9)
    dataset = import_dataset(home, source, "s", options=options, folds=3, processes=0)
    table = dataset.manifest()
    assert dataset.card.splits == {"train": 18}
    assert dataset.card.folds == 3
    assert sorted(table["fold"].unique()) == [0, 1, 2]
    assert table.groupby("patient_id")["fold"].nunique().max() == 1


def test_killed_imports_leave_nothing_after_the_next(home, tmp_path):
    source = pictures(tmp_path / "s", patients=40)
    code = f"""
        from pathlib import Path
        from fmlab.settings import Home
        from fmlab.readers.intake import import_dataset
        def stop(done, of, what):
            if done: print("now", flush=True); import time; time.sleep(60)
        import_dataset(Home(Path({str(home.path)!r})), Path({str(source)!r}), "s", processes=0, on_progress=stop)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"now\n"
    with pytest.raises(BadInput, match="being written by another import"):
        import_dataset(home, source, "s", processes=0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert dataset_names(home) == []
    import_dataset(home, source, "s", processes=0)
    assert left_behind(home) == []


# ---- uploads ----


def import_dropped(home, files, name):
    """What the page does: keep the files, import them in a run, forget them."""
    source = keep_dropped(home, files)
    dataset = import_dataset(home, source, name, processes=0)
    forget_dropped(home, source)
    return dataset


def test_a_zip_by_path_and_dropped(home, tmp_path):
    files = {f"Top/{label}/{i}.png": png_bytes(speckle(i)) for i, label in enumerate("aabb")}
    files["__MACOSX/Top/a/._0.png"] = b"resource fork"
    packed = archive(tmp_path / "x.zip", files)
    by_path = import_dataset(home, packed, "path", processes=0)
    with packed.open("rb") as file:
        dropped = import_dropped(home, [("x.zip", file)], "dropped")
    assert by_path.card.class_counts == dropped.card.class_counts == {"a": 2, "b": 2}
    assert by_path.card.content_hash == dropped.card.content_hash
    assert list(home.uploads.iterdir()) == []


def test_dropped_dicom_files_and_clips(home, tmp_path):
    contents = [
        ("a.dcm", dicom(tmp_path / "a.dcm", speckle(1)).read_bytes()),
        ("b", dicom(tmp_path / "b", speckle(2)).read_bytes()),
    ]
    dropped = import_dropped(home, [(name, io.BytesIO(content)) for name, content in contents], "d")
    assert (dropped.card.source, dropped.card.images) == ("dicom", 2)
    content = clip(tmp_path / "c.mp4").read_bytes()
    assert import_dropped(home, [("c.mp4", io.BytesIO(content))], "c").card.sequences == 1
    with pytest.raises(BadInput, match="Two of the dropped files"):
        import_dropped(home, [("c.mp4", io.BytesIO(content))] * 2, "e")
    assert list(home.uploads.iterdir()) == []


def linked(path):
    entry = zipfile.ZipInfo("link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as target:
        target.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"../out.png": b"x"}, "outside the upload"),
        ({"/out.png": b"x"}, "outside the upload"),
        ({"a\\..\\..\\out.png": b"x"}, "outside the upload"),
        ({"C:/out.png": b"x"}, "outside the upload"),
        ({"a.png": bytes(200 << 20)}, "would unpack from"),
        ({}, "is empty"),
        (linked, "holds a link"),
        (lambda path: path.write_bytes(b"no archive"), "damaged or of an unknown kind"),
    ],
)
def test_hostile_archives(home, tmp_path, files, message):
    packed = tmp_path / "x.zip"
    if callable(files):
        files(packed)
    else:
        archive(packed, files)
    with pytest.raises(BadInput, match=message):
        import_dataset(home, packed, "x", processes=0)
    assert not (tmp_path / "out.png").exists()
    assert not (home.path / "out.png").exists()
    assert list(home.uploads.iterdir()) == []
    assert not (home.datasets / "x").exists()


def test_an_upload_whose_import_was_killed_is_removed_by_the_next(home, tmp_path):
    stale = home.uploads / "0123"
    save(stale / "x.png", speckle(0))
    (home.uploads / "0123.lock").touch()
    import_dataset(home, archive(tmp_path / "y.zip", {"a/y.png": png_bytes(speckle(1))}), "y", processes=0)
    assert not stale.exists()


def test_the_disk_is_the_disk_and_not_the_archive(tmp_path):
    with pytest.raises(StorageFull), storage_errors("x"):
        raise OSError(errno.ENOSPC, "full")


# ---- attaching ----


PATIENTS = reader_options(patient_pattern=r"p(\d+)_")


@pytest.fixture
def base(home, tmp_path):
    return import_dataset(home, pictures(tmp_path / "base"), "base", options=PATIENTS, processes=0)


def test_attach_keeps_what_was_and_adds_a_test_set(home, tmp_path, base):
    other = pictures(tmp_path / "other", patients=2, classes=("A", "b", "odd"), prefix="qp")
    (tmp_path / "map.csv").write_text("theirs,ours\nA,a\nodd,\nb,b\n")
    (base.folder / "truth.parquet").write_bytes(b"what a dataset keeps beside its manifest")
    before = {path: path.read_bytes() for path in (base.folder / "store").iterdir() if path.suffix == ".bin"}
    with pytest.raises(BadInput, match=r"A, odd are none of this dataset's \(a, b\)"):
        attach(home, "base", other, options=PATIENTS, processes=0)
    new = attach(home, "base", other, "T2", tmp_path / "map.csv", options=PATIENTS, processes=0)
    assert open_dataset(home, "base").card == new.card
    assert new.card.splits == base.card.splits | {"T2": 4}
    assert new.card.split_classes["T2"] == {"a": 2, "b": 2}
    assert new.card.pixels_key == base.card.pixels_key
    assert new.card.content_hash != base.card.content_hash
    assert new.card.patients == base.card.patients + 2
    assert new.test_sets == ("T1", "T2")
    assert (new.folder / "truth.parquet").read_bytes() == b"what a dataset keeps beside its manifest"
    assert all(path.read_bytes() == content for path, content in before.items())
    table = new.manifest()
    assert len(table) == base.card.images + 4
    added = table[table["split"] == "T2"]
    assert added["path"].str.startswith("T2/").all()
    assert added["patient_id"].str.startswith("T2/").all()
    store = ImageStore(new.folder / "store")
    assert len(store) == len(table)
    name = added["path"].iloc[0].removeprefix("T2/")
    assert (store.read_id(added["image_id"].iloc[0]) == np.asarray(Image.open(other / name))).all()
    with pytest.raises(NameTaken):
        attach(home, "base", other, "T2", tmp_path / "map.csv", processes=0)
    assert left_behind(home) == []


def test_attach_refuses_patients_that_are_known(home, tmp_path, base):
    other = pictures(tmp_path / "other", patients=2)
    with pytest.raises(BadInput, match=r"2 patients of the source are in dataset 'base' already: 0, 1\."):
        attach(home, "base", other, options=PATIENTS, same_patients=True, processes=0)
    assert open_dataset(home, "base").card == base.card
    assert attach(home, "base", other, options=PATIENTS, processes=0).card.leaking == ()


def test_attach_compares_dicom_patients(home, tmp_path):
    for number in range(4):
        dicom(tmp_path / f"one/{'ab'[number % 2]}/{number}.dcm", speckle(number), patient=f"p{number}")
    dicom(tmp_path / "two/a/x.dcm", speckle(9), patient="p3")
    dicom(tmp_path / "two/b/y.dcm", speckle(10), patient="new")
    import_dataset(home, tmp_path / "one", "d", processes=0)
    with pytest.raises(BadInput, match="1 patients of the source are in dataset 'd' already: patient-"):
        attach(home, "d", tmp_path / "two", processes=0)
    (tmp_path / "two/a/x.dcm").unlink()
    assert attach(home, "d", tmp_path / "two", processes=0).card.splits["T2"] == 1


@pytest.mark.parametrize(
    ("as_set", "text", "message"),
    [
        ("train", None, "Only a test set"),
        ("a/b", None, "cannot name a test set"),
        ("T2", "a,zebra\n", "names zebra; this dataset has a, b"),
        ("T2", "a,a\na,b\nb,b\n", "names a more than once"),
        ("T2", "a,b,c\n", "needs two columns"),
    ],
)
def test_attach_with_bad_input_changes_nothing(home, tmp_path, base, as_set, text, message):
    if text is not None:
        (tmp_path / "map.csv").write_text("their,our\n" + text)
    with pytest.raises(BadInput, match=message):
        attach(home, "base", tmp_path / "base", as_set, tmp_path / "map.csv" if text else None, processes=0)
    assert open_dataset(home, "base").card == base.card


KILLED = """
import os, sys
from pathlib import Path
from fmlab.data.manifest import open_dataset
from fmlab.data.store import ImageStore
from fmlab.settings import Home
from fmlab.readers.attach import attach

home, source = Home(Path(sys.argv[1])), Path(sys.argv[2])

def attach_until(moment):
    seen = 0
    def watch(event, arguments):
        nonlocal seen
        if event == "os.rename" and "datasets" in str(arguments[0]):
            seen += 1
            if seen == moment:
                os._exit(9)  # before the rename takes place
    sys.addaudithook(watch)
    attach(home, "base", source, processes=0)

def look(moment):
    dataset = open_dataset(home, "base")
    table, store = dataset.manifest(), ImageStore(dataset.folder / "store")
    whole = len(table) == len(store) == dataset.card.images == store.positions(table["image_id"]).size
    print(moment, dataset.card.images, whole, flush=True)

def forked(act, moment):  # a process of its own without the seconds that imports take
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act(moment)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

code, moment = 9, 0
while code == 9:
    moment += 1
    code = forked(attach_until, moment)
    if forked(look, moment):
        sys.exit(1)
sys.exit(code)
"""


def test_a_kill_in_any_moment_of_attach_leaves_the_old_or_the_new(home, tmp_path, base):
    """Killed before its first, second … rename, until none is left to be killed at."""
    source = pictures(tmp_path / "other", patients=2)
    command = [sys.executable, "-c", KILLED, str(home.path), str(source)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) >= 7  # two indices, manifest, card, two renames of the swap, and the one that nobody killed
    assert lines[:-1] == [f"{moment} 12 True" for moment in range(1, len(lines))]
    assert lines[-1].endswith(" 16 True")
    assert left_behind(home) == []


def test_importing_many_small_images_is_quick(home, tmp_path):
    """Half a millisecond per image is the writer's and the manifest's; this bar is ten times that."""
    source = pictures(tmp_path / "s", patients=200)
    started = time.process_time()
    import_dataset(home, source, "s", processes=0)
    assert time.process_time() - started < 400 * 5e-3
