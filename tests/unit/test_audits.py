"""From a finding to a refusal: what the audit of a dataset does to its studies, and what the command line says."""

import json

import numpy as np
import pytest

from fmlab.audit.pixels import check_duplicates, split_rows
from fmlab.audit.report import Audit
from fmlab.data.manifest import open_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.audits import audit_of, audit_under_way, pictures_known, request_audit
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from tests.toys import CLASSES, half_bright, halves
from tests.unit.test_audit_pixels import by_clip, by_frame, clips

ANNA = Actor("anna", "test")


def study(dataset, **changes):
    facts = {"name": "s", "dataset": dataset, "backbones": ["pixels-24"], "adaptations": ["knn"], "scheme": "images"}
    return study_config(facts | {"sizes": [4], "seeds": 1} | changes)


def look_at_pictures(home, store, dataset):
    """What the worker would do, here: the checks that embed nothing."""
    run = request_audit(store, dataset, ANNA)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    audit = Audit(tuple(check_duplicates(home, dataset, split_rows(dataset))))
    queue.finish({run.key: {"content_hash": dataset.card.content_hash, "audit": audit.plain()}}, 1.0)
    queue.release()


def test_until_somebody_looks_the_pictures_are_unknown(home):
    dataset, store = clips(home, by_frame), open_store(home)
    audit = audit_of(home, store, dataset)
    assert not pictures_known(audit)
    assert audit.leaks == ()
    launch(home, store, study("clips"), ANNA)


def test_a_split_by_frames_refuses_studies_once_it_was_looked_at(home):
    dataset, store = clips(home, by_frame), open_store(home)
    look_at_pictures(home, store, dataset)
    assert pictures_known(audit_of(home, store, dataset))
    with pytest.raises(BadInput, match=r"made by frames.*typing the dataset's name"):
        launch(home, store, study("clips"), ANNA)
    assert store.studies() == []
    record = launch(home, store, study("clips", allow_leaking="clips"), ANNA)
    assert any("leaks" in note for note in record.notes)


def test_a_proper_split_is_launched_after_a_look(home):
    dataset, store = clips(home, by_clip), open_store(home)
    look_at_pictures(home, store, dataset)
    assert launch(home, store, study("clips"), ANNA).notes == ()


def test_a_look_at_other_content_says_nothing(home):
    """The dataset is imported again, properly split this time: the old finding is forgotten."""
    store = open_store(home)
    look_at_pictures(home, store, clips(home, by_frame))
    for path in sorted((home.datasets / "clips").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = clips(home, by_clip)
    assert not pictures_known(audit_of(home, store, again))
    assert audit_of(home, store, again).leaks == ()


def test_a_patient_on_both_sides_is_refused_without_a_look(home):
    rng = np.random.default_rng(0)
    with DatasetWriter(home, "leaky") as writer:
        for number in range(12):
            side, split = CLASSES[number % 2], "T1" if number % 3 == 0 else "train"
            row = ImageRow(f"{number}.png", label=side, patient_id=f"p{number // 4}", split=split)
            writer.add(row, half_bright(side, rng))
        writer.finish(CardFacts("toy"), CLASSES)
    with pytest.raises(BadInput, match=r"leaks: patient p0, patient p1, patient p2 stand on both sides"):
        launch(home, open_store(home), study("leaky"), ANNA)


def test_asking_twice_is_one_run(home):
    dataset, store = halves(home, patients=6), open_store(home)
    assert not audit_under_way(store, dataset)
    first = request_audit(store, dataset, ANNA)
    assert request_audit(store, dataset, ANNA).key == first.key
    assert audit_under_way(store, dataset)
    assert store.counts() == {"queued": 1}


def test_check_looks_once_and_then_knows(fmlab, home):
    """The whole way: command line, store, launcher, worker process, and back."""
    clips(home, by_frame, clips=8)
    status, out, err = fmlab("data", "check", "clips")
    assert status == 1, err
    assert out.splitlines()[0].startswith("leak: ")
    assert "made by frames" in out
    assert "run a study" in err.lower()  # what could not be asked, and why
    status, out, _ = fmlab("data", "check", "clips", "--json")
    told = json.loads(out)
    assert status == 1
    assert told["leaks"]
    assert {check["key"] for check in told["checks"]} >= {"groups", "frames", "copies", "label_errors", "shortcut"}
    assert open_store(home).counts() == {"done": 1}


def test_check_without_pixels_reads_the_tables_alone(fmlab, home):
    clips(home, by_frame, clips=8)
    status, _, err = fmlab("data", "check", "clips", "--no-pixels")
    assert status == 0
    assert "have not been looked at" in err
    assert open_store(home).runs().empty
    assert open_dataset(home, "clips").card.images == 32
