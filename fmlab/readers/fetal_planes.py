"""Reader `fetal-planes`: FETAL_PLANES_DB, six standard planes of fetal ultrasound, as it is published.

In: its folder, with `FETAL_PLANES_DB_data.csv` and `Images/<Image_name>.png`, or that table. Out: its images with plane,
patient and the published halves: `Train` 1 is train, 0 the test set T1. Brain plane, operator and machine are kept.

The table is separated by semicolons, the name of its last column ends with a blank, and `Image_name` lacks the suffix.

Source: X. P. Burgos-Artizzu et al., Scientific Reports 10, 10200 (2020); the data at Zenodo, record 3904280.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fmlab.data.manifest import TRAIN
from fmlab.data.splits import DRAWN_TEST_SET
from fmlab.errors import BadInput
from fmlab.readers.columns import Table, read_table
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    list_files,
    refuse_options,
    root_of,
)
from fmlab.readers.stills import decode_still
from fmlab.readers.table import scan_table, seen, top_tables

TABLE = "FETAL_PLANES_DB_data.csv"
COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")
PLANES = (
    "Other",
    "Maternal cervix",
    "Fetal abdomen",
    "Fetal brain",
    "Fetal femur",
    "Fetal thorax",
)  # the study's order
HALVES = {"1": TRAIN, "0": DRAWN_TEST_SET}
MEANT = ReaderOptions(
    path_column="Image_name", label_column="Plane", patient_column="Patient_num", split_column="Train"
)


class FetalPlanesReader:
    """FETAL_PLANES_DB as published."""

    name = "fetal-planes"
    describe = f"FETAL_PLANES_DB: {TABLE} beside the folder Images."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """By the name of its table."""
        return TABLE in (PurePosixPath(path).name for path in top_tables(listing))

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """One source file per row; a plane or a half that the publication does not have raises `BadInput`."""
        refuse_options(options, self.name, ())
        root = root_of(source)
        path = source if source.is_file() else root / TABLE
        if not path.is_file():
            raise BadInput(f"{source.name!r} holds no {TABLE}. Point to the folder that was unpacked from the archive.")
        found = scan_table(root, list_files(root), _checked(read_table(path)), MEANT, key)
        return replace(found, classes=PLANES)

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The image of a row."""
        yield from decode_still(file, decoding, default_frames=1)


def _checked(table: Table) -> Table:
    """The table with its halves as splits."""
    lacking = [name for name in COLUMNS if name not in table.columns]
    if lacking:
        raise BadInput(
            f"{table.name} has no column {lacking[0]!r}; it has {seen(table)}. Use --reader table for another layout."
        )
    for name, known in (("Plane", PLANES), ("Train", tuple(HALVES))):
        for row, cell in enumerate(table.columns[name], start=1):
            if cell not in known:
                raise BadInput(f"Row {row} of {table.name} has {name} {cell!r}; expected one of {', '.join(known)}.")
    halves = [HALVES[cell] for cell in table.columns["Train"]]
    return replace(table, columns=table.columns | {"Train": halves})
