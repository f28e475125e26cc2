"""Importing: from files on disk to a dataset.

In: a source and a name. Out: a complete `Dataset`, or an error and nothing.

Every image is decoded once, in other processes, and written in the order of the source, so the same source always
gives the same dataset. What cannot be used becomes a row with its reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fmlab.data.folders import PROOF, recover
from fmlab.data.manifest import Dataset, check_name
from fmlab.data.writer import CardFacts, DatasetWriter
from fmlab.errors import BadInput, NameTaken
from fmlab.readers.auto import AUTO, choose_reader
from fmlab.readers.decoding import decode_all
from fmlab.readers.fixes import read_fixes
from fmlab.readers.sources import DecodedImage, Decoding, ReaderOptions, Scan
from fmlab.readers.uploads import unpacked_archive
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
    fixes: Path | None = None,
    processes: int | None = None,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Import a folder, table, clip, DICOM file, .npz or .zip as dataset `name`.

    `folds` draws that many folds by patient instead of a test set; `fixes` is a file of corrected labels (`LabelFixes`);
    `processes` decode (0: this one does).
    Raises `BadInput` (nothing to read, ambiguous layout, name taken, …), `StorageFull`, `Cancelled`; then nothing is kept.
    """
    refuse_taken(home, name)
    options = options or ReaderOptions()
    corrected = None if fixes is None else read_fixes(fixes)
    with opened_source(home, source) as root:
        chosen = choose_reader(root, reader)
        scan = chosen.scan(root, options, home.pseudonym_key())
        check_scan(scan)
        decoding = Decoding(chosen.name, scan.root, options, home.pseudonym_key())
        with DatasetWriter(home, name) as writer:
            decoded = decode_all(scan.files, decoding, processes, cancelled)
            named = None if corrected is None else corrected.checked
            remarks = write_decoded(writer, decoded, len(scan.files), on_progress, named)
            notes, labels = ((), None) if corrected is None else corrected.applied()
            facts = CardFacts(source=chosen.name, mask_sector=scan.mask_sector, notes=(*scan.notes, *remarks, *notes))
            return writer.finish(facts, scan.classes, split_seed, folds, labels)


@contextmanager
def opened_source(home: Home, source: Path) -> Iterator[Path]:
    """The source itself, or for a .zip its unpacked content for as long as the block lasts."""
    if not (source.suffix.lower() == ".zip" and source.is_file()):
        yield source
        return
    with unpacked_archive(home, source) as folder:
        yield folder


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


def write_decoded(
    writer: DatasetWriter,
    decoded: Iterable[tuple[int, list[DecodedImage]]],
    files: int,
    on_progress: Progress | None,
    named: Callable[[DecodedImage], DecodedImage] | None = None,
) -> tuple[str, ...]:
    """Write decoded images, or the reasons why there are none. Returns notes on what was remarkable in how many images."""
    remarks: Counter[str] = Counter()
    for done, images in decoded:
        for image in images if named is None else map(named, images):
            if image.pixels is None:
                writer.add_unreadable(image.row, image.problem or "It holds no pixels.")
            else:
                writer.add(image.row, image.pixels, image.mask)
            remarks.update(image.remarks)
        if on_progress is not None:
            on_progress(done, files, "decoding")
    return tuple(f"{count} images: {remark}." for remark, count in remarks.most_common(LISTED_REMARKS))
