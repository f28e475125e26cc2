"""Attaching: another source becomes a further test set of a dataset.

In: a dataset, a source, the name of the new test set, and a map of the source's classes to the dataset's. Out: the
dataset's next generation; until that is complete, the old one stays, whatever happens.

Classes: a label of the source must be a class of the dataset, itself or through the map (two columns: their label, our
label; nothing on the right leaves its images out). Patients: pseudonyms of DICOM files can be compared within a home,
and a patient that stands in both is refused. Patient numbers of other sources mean nothing elsewhere: each gets the
test set's name before it, unless `same_patients` says that the numbers are the same, and then they are compared too.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, check_name, open_dataset
from fmlab.data.writer import DatasetWriter
from fmlab.errors import BadInput, NameTaken
from fmlab.readers.auto import AUTO, choose_reader
from fmlab.readers.columns import read_pairs
from fmlab.readers.decoding import decode_all
from fmlab.readers.fixes import read_fixes
from fmlab.readers.intake import Progress, check_scan, opened_source, write_decoded
from fmlab.readers.sources import DecodedImage, Decoding, ReaderOptions, Scan
from fmlab.settings import Home

LISTED = 10


def attach(
    home: Home,
    name: str,
    source: Path,
    as_set: str = "T2",
    labels: Path | None = None,
    *,
    reader: str = AUTO,
    options: ReaderOptions | None = None,
    same_patients: bool = False,
    fixes: Path | None = None,
    processes: int | None = None,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Import `source` as test set `as_set` of dataset `name`; its own split is left aside.

    `labels` maps classes; `fixes` is a file of corrected labels, in the dataset's classes. Raises `BadInput` (unknown
    classes or patients in both, all named), `NameTaken` for a test set that is there already, `StorageFull`, `Cancelled`;
    the dataset is then as it was.
    """
    dataset = open_dataset(home, name)
    _check_set(dataset, as_set)
    options = options or ReaderOptions()
    corrected = None if fixes is None else read_fixes(fixes, as_set)
    with opened_source(home, source) as root:
        chosen = choose_reader(root, reader)
        scan = chosen.scan(root, options, home.pseudonym_key())
        check_scan(scan)
        comparable = same_patients or (chosen.name == "dicom" and dataset.card.source == "dicom")
        images = _Attached(dataset, as_set, comparable)
        scan, notes = images.with_classes(scan, labels)
        decoding = Decoding(chosen.name, scan.root, options, home.pseudonym_key())
        with DatasetWriter(home, name, base=dataset) as writer:
            decoded = decode_all(scan.files, decoding, processes, cancelled)
            named = images.named if corrected is None else lambda image: corrected.checked(images.named(image))
            remarks = write_decoded(writer, decoded, len(scan.files), on_progress, named)
            images.refuse_known_patients()
            fixed, corrections = ((), None) if corrected is None else corrected.applied()
            origin = f"{as_set}: attached, read by {chosen.name}."
            notes = (origin, *(f"{as_set}: {note}" for note in (*scan.notes, *notes, *remarks, *fixed)))
            return writer.finish_attached(as_set, notes, corrections)


def _check_set(dataset: Dataset, as_set: str) -> None:
    if as_set in (TRAIN, VALIDATION):
        raise BadInput(f"Only a test set can be attached, not {as_set!r}. Call it T2, for one.")
    if check_name(as_set, "test set") in dataset.card.splits:
        raise NameTaken(f"Dataset {dataset.name!r} has a test set {as_set!r} already. Choose another name.")


class _Attached:
    """Fits a source's images to a dataset."""

    def __init__(self, dataset: Dataset, as_set: str, comparable: bool) -> None:
        self._dataset, self._set, self._comparable = dataset, as_set, comparable
        self._known = set(dataset.manifest(["patient_id"])["patient_id"].dropna()) if comparable else set()
        self._in_both: set[str] = set()

    def with_classes(self, scan: Scan, labels: Path | None) -> tuple[Scan, tuple[str, ...]]:
        """The scan with the dataset's classes for labels, without the images that the map leaves out; notes on those."""
        ours = self._dataset.card.classes
        theirs = {file.row.label for file in scan.files if file.row.label is not None} | set(scan.classes or ())
        meaning = dict(zip(ours, ours, strict=True)) | (read_class_map(labels, ours) if labels is not None else {})
        unknown = sorted(theirs - meaning.keys())
        if unknown:
            raise BadInput(
                f"The source's classes {_listed(unknown)} are none of this dataset's ({', '.join(ours)}). "
                "Give a map of their labels to ours with --labels; nothing on the right leaves a class out."
            )
        if scan.classes is not None and any(meaning[label] != label for label in theirs):
            raise BadInput("An .npz carries its labels inside; its classes cannot be mapped. Name them alike first.")
        files = [
            replace(file, row=replace(file.row, label=meaning[file.row.label] if file.row.label else None, split=None))
            for file in scan.files
            if file.row.label is None or meaning[file.row.label]
        ]
        dropped = len(scan.files) - len(files)
        notes = (f"{dropped} files of classes that the map leaves out.",) if dropped else ()
        return replace(scan, files=files, classes=None), notes

    def named(self, image: DecodedImage) -> DecodedImage:
        """An image under the test set's name, so that nothing of it can be taken for something of the dataset."""
        row, prefix = image.row, f"{self._set}/"
        patient = row.patient_id
        if patient is not None and self._comparable and patient in self._known:
            self._in_both.add(patient)
        if patient is not None and not self._comparable:
            patient = prefix + patient
        sequence = None if row.sequence_id is None else prefix + row.sequence_id
        return replace(
            image, row=replace(row, path=prefix + row.path, sequence_id=sequence, patient_id=patient, split=None)
        )

    def refuse_known_patients(self) -> None:
        """Raise `BadInput` naming the patients that the dataset has already."""
        if self._in_both:
            raise BadInput(
                f"{len(self._in_both)} patients of the source are in dataset {self._dataset.name!r} already: "
                f"{_listed(sorted(self._in_both))}. A test set may not hold them; take them out of the source."
            )


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + rest


def read_class_map(path: Path, ours: tuple[str, ...]) -> dict[str, str]:
    """Their label → our class, or an empty string to leave it out; a class that we do not have raises `BadInput`."""
    rows = read_pairs(path)
    if rows[0][1] and rows[0][1] not in ours:
        rows = rows[1:]  # a header
    unknown = sorted({right for _, right in rows if right} - set(ours))
    if unknown:
        raise BadInput(f"The class map {path.name} names {_listed(unknown)}; this dataset has {', '.join(ours)}.")
    twice = sorted({label for label, _ in rows if sum(label == other for other, _ in rows) > 1})
    if twice:
        raise BadInput(f"The class map {path.name} names {_listed(twice)} more than once. Keep one line for each.")
    return dict(rows)
