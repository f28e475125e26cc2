"""Importing: from files on disk to a dataset.

In: a source and a name. Out: a complete `Dataset`, or an error and nothing.

Every image is decoded once, in other processes, and written in the order of the source, so the same source always
gives the same dataset. What cannot be used becomes a row with its reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from fmlab.data.folders import PROOF, recover
from fmlab.data.manifest import Dataset, check_name
from fmlab.data.writer import CardFacts, DatasetWriter
from fmlab.errors import BadInput, NameTaken
from fmlab.readers.auto import AUTO, choose_reader
from fmlab.readers.decoding import decode_all
from fmlab.readers.sources import DecodedImage, Decoding, ReaderOptions, Scan
from fmlab.settings import Home

MOST_CLASSES = 1000  # ImageNet's number: a column with more different values is a measurement or an identifier
LISTED_REMARKS = 20

Progress = Callable[[int, int, str], None]  # files done, files in all, what is happening


def import_dataset(
    home: Home,
    source: Path,
    name: str,
    *,
    reader: str = AUTO,
    options: ReaderOptions | None = None,
    folds: int | None = None,
    split_seed: int = 0,
    processes: int | None = None,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Import a folder, table, clip, DICOM file, .npz or .zip as dataset `name`.

    `folds` draws that many folds by patient instead of a test set; `processes` decode (0: this one does).
    Raises `BadInput` (nothing to read, ambiguous layout, name taken, …), `StorageFull`, `Cancelled`; then nothing is kept.
    """
    refuse_taken(home, name)
    if source.suffix.lower() == ".zip" and source.is_file():
        raise BadInput("zip")
    options = options or ReaderOptions()
    chosen = choose_reader(source, reader)
    scan = chosen.scan(source, options, home.pseudonym_key())
    check_scan(scan)
    decoding = Decoding(chosen.name, scan.root, options, home.pseudonym_key())
    with DatasetWriter(home, name) as writer:
        remarks = write_images(writer, scan, decoding, processes, on_progress, cancelled)
        facts = CardFacts(source=chosen.name, mask_sector=scan.mask_sector, notes=(*scan.notes, *remarks))
        return writer.finish(facts, scan.classes, split_seed, folds)


def refuse_taken(home: Home, name: str) -> None:
    """Raise before any work is done if the name cannot be given."""
    recover(home, check_name(name))
    if (home.datasets / name / PROOF).exists():
        raise NameTaken(f"A dataset {name!r} exists already. Choose another name, or remove that one first.")


def check_scan(scan: Scan) -> None:
    """Raise `BadInput` for labels that are no classes."""
    labels = {file.row.label for file in scan.files} - {None}
    if len(labels) > MOST_CLASSES:
        raise BadInput(
            f"The labels have {len(labels)} different values; at most {MOST_CLASSES} classes can be told apart. "
            "Choose another label column."
        )


def write_images(
    writer: DatasetWriter,
    scan: Scan,
    decoding: Decoding,
    processes: int | None,
    on_progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> tuple[str, ...]:
    """Decode every file of a scan into a writer. Returns notes on what was remarkable in how many images."""
    remarks: Counter[str] = Counter()
    for done, images in decode_all(scan.files, decoding, processes, cancelled):
        add_images(writer, images)
        remarks.update(remark for image in images for remark in image.remarks)
        if on_progress is not None and not images:
            on_progress(done, len(scan.files), "decoding")
    return tuple(f"{count} images: {remark}." for remark, count in remarks.most_common(LISTED_REMARKS))


def add_images(writer: DatasetWriter, images: Iterable[DecodedImage]) -> None:
    """Add decoded images and the reasons of the others."""
    for image in images:
        if image.pixels is None:
            writer.add_unreadable(image.row, image.problem or "It holds no pixels.")
        else:
            writer.add(image.row, image.pixels, image.mask)
