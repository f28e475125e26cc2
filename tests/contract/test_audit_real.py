"""The audit on real ultrasound, where a developer has it: it names what is wrong, and does not cry wolf."""

import csv
import random
import shutil

import pytest

from fmlab.audit.pixels import check_duplicates, split_rows
from fmlab.audit.tables import audit_tables
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options


def duplicates(home, dataset):
    return {check.key: check for check in check_duplicates(home, dataset, split_rows(dataset))}


def echo_rows(shared_data):
    with (shared_data / "echo_views" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_echo_views_is_named_for_what_is_wrong_with_it(home, shared_data):
    """Clips with mixed labels, two images without one, equal pictures under two labels; its split by patient is sound."""
    source = shared_data / "echo_views" / "labels.csv"
    columns = {"label_column": "view", "patient_column": "patient", "sequence_column": "sequence"}
    options = reader_options(**columns, frame_column="frame", site_column="scanner")
    dataset = import_dataset(home, source, "echo", options=options, processes=0)
    audit = audit_tables(dataset)
    assert audit.leaks == ()
    assert audit.check("unlabelled").count == 2
    by_clip = {}
    for row in echo_rows(shared_data):
        if row["view"]:
            by_clip.setdefault(row["sequence"], set()).add(row["view"])
    mixed = audit.check("mixed_sequences")
    assert (mixed.level, mixed.count) == ("warning", sum(len(views) > 1 for views in by_clip.values()))
    assert audit.check("two_labels").level == "warning"
    found = duplicates(home, dataset)
    assert {check.level for check in found.values()} == {"fine"}


@pytest.mark.slow
def test_echo_views_split_by_frames_is_flagged_as_leaking(home, shared_data, tmp_path):
    """Frames dealt to train and test at random, clips and patients not even named: the pictures give it away."""
    deal = random.Random(0)
    shutil.copytree(shared_data / "echo_views" / "images", tmp_path / "images")
    table = tmp_path / "frames.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for row in echo_rows(shared_data):
            writer.writerow([row["path"], row["view"], "test" if deal.random() < 0.3 else "train"])
    dataset = import_dataset(home, table, "frames", processes=0)
    found = duplicates(home, dataset)
    assert (found["frames"].level, found["near_duplicates"].level) == ("leak", "leak")
    assert found["frames"].count > 20


@pytest.mark.slow
def test_proper_splits_are_not_flagged(home, shared_data):
    """3,705 crops of 1,141 infants by patient: no false alarm, the true duplicates stand on one side."""
    options = reader_options(patient_pattern=r"^(\d+)_")
    dataset = import_dataset(home, shared_data / "gallbladder_ba", "gallbladder", options=options, processes=0)
    assert audit_tables(dataset).leaks == ()
    found = duplicates(home, dataset)
    assert (found["near_duplicates"].level, found["frames"].level) == ("fine", "fine")
    assert found["copies"].level in ("fine", "warning")
