"""Label fixes: corrected labels that an import applies, read from a CSV file.

In: a file with the columns path, frame, image_id, label_was, label, and perhaps attached; a source being imported, which
names the same images. Out: the labels that images get in place of the source's own, each checked against the image it
is meant for.

    path              frame  image_id          label_was  label  attached
    images/P1_S1.png  0      0123456789abcdef  A4C        PLAX                 its label becomes PLAX
    images/P2_S3.png  4      fedcba9876543210  A4C                             it is imported unlabelled
    T2/P9_S9.png      0      00112233aabbccdd  PLAX       A4C    T2            an image of the attached test set T2

An image is known by its path and frame; image_id may be empty. The split is drawn with the labels from before, so that
every image stays where it was. A cell that a spreadsheet would take for a formula carries an apostrophe in front.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fmlab.data.manifest import image_id
from fmlab.errors import BadInput
from fmlab.readers.columns import read_cells
from fmlab.readers.sources import DecodedImage

COLUMNS = ("path", "frame", "image_id", "label_was", "label", "attached")
NEEDED = ("path", "label_was", "label")  # a file without frames is about still images
LISTED = 10  # of many, how many an error names
FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet computes, or one that was made harmless


def harmless(cell: str) -> str:
    """The cell as a spreadsheet shows it and does not compute it; `as_meant` undoes it."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_meant(cell: str) -> str:
    """The cell without the apostrophe that `harmless` put before it."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


@dataclass(frozen=True)
class LabelFix:
    """One line of the file."""

    line: int
    path: str
    frame: int
    label_was: str | None
    label: str | None  # None: taken out


class LabelFixes:
    """The fixes of a file that are meant for one source, held against its images as they come in."""

    def __init__(self, name: str, fixes: Mapping[str, LabelFix]) -> None:
        """`fixes`: image id → what is meant for it. `name`: the file's, for sentences."""
        self._name, self._fixes = name, fixes
        self._unseen = dict(fixes)

    def checked(self, image: DecodedImage) -> DecodedImage:
        """The image, unchanged; `BadInput` if a fix is meant for it that was made for another label."""
        fix = self._unseen.pop(image_id(image.row.path, image.row.frame), None)
        if fix is not None and fix.label_was != image.row.label:
            raise BadInput(
                f"Line {fix.line} of {self._name} corrects {fix.path} frame {fix.frame} from {_words(fix.label_was)}, "
                f"but the source says {_words(image.row.label)}. Make the fixes anew from this source's dataset."
            )
        return image

    def applied(self) -> tuple[tuple[str, ...], dict[str, str | None]]:
        """After all images were checked: a note for the card, and image id → its label, None: unlabelled.

        An image of the file that the source did not have raises `BadInput`.
        """
        if self._unseen:
            named = [f"{fix.path} frame {fix.frame} (line {fix.line})" for fix in self._unseen.values()]
            rest = f" and {len(named) - LISTED:,} more" if len(named) > LISTED else ""
            raise BadInput(
                f"{self._name} corrects images that the source does not have: {', '.join(named[:LISTED])}{rest}. "
                "Import the source that the fixes were made for, or take these lines out."
            )
        labels = {image: fix.label for image, fix in self._fixes.items()}
        removed = sum(label is None for label in labels.values())
        note = f"{self._name}: {len(labels) - removed:,} labels corrected, {removed:,} taken away."
        return (note,), labels


def _words(label: str | None) -> str:
    return "no label" if label is None else repr(label)


def read_fixes(path: Path, attached: str = "") -> LabelFixes:
    """The fixes in a file that are meant for the import of a dataset, or for the test set `attached` to it.

    Raises:
        BadInput: the file is no such table, says two things of one image, changes nothing, or has no line for this source.
    """
    if not path.is_file():
        raise BadInput(f"There are no label fixes {str(path)!r}. Check the path.")
    (_, header), *lines = read_cells(path) or [(1, [])]
    missing = [name for name in NEEDED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        raise BadInput(
            f"{path.name} has the columns {', '.join(header) or 'none'}; label fixes have {', '.join(COLUMNS)}, each once. "
            "Export them with `fmlab review fixes`."
        )
    fixes: dict[str, LabelFix] = {}
    for line, cells in lines:
        if len(cells) != len(header):
            raise BadInput(f"Line {line} of {path.name} has {len(cells)} cells, the first line has {len(header)}.")
        row = dict(zip(header, map(as_meant, cells), strict=True))
        if row.get("attached", "") != attached:
            continue
        fix = _fix(row, line, path.name)
        image = image_id(fix.path, fix.frame)
        if row.get("image_id", "") not in ("", image):
            raise BadInput(
                f"Line {line} of {path.name} names {fix.path} frame {fix.frame}, whose id is {image}, and the id "
                f"{row['image_id']!r}. Repair that line, or leave the column image_id out."
            )
        if image in fixes:
            raise BadInput(f"Lines {fixes[image].line} and {line} of {path.name} are about the same image. Keep one.")
        fixes[image] = fix
    if not fixes:
        whom = f"the attached test set {attached!r}" if attached else "the import of a dataset"
        raise BadInput(f"{path.name} holds no fix for {whom}. Leave --fixes out, or give another file.")
    return LabelFixes(path.name, fixes)


def _fix(row: Mapping[str, str], line: int, name: str) -> LabelFix:
    frame = row.get("frame", "0") or "0"
    if not row["path"] or not (frame.isascii() and frame.isdigit()):
        raise BadInput(f"Line {line} of {name} needs a path and a frame number, got {row['path']!r} and {frame!r}.")
    if row["label_was"] == row["label"]:
        raise BadInput(
            f"Line {line} of {name} changes nothing: the label was {_words(row['label'] or None)} before, too."
        )
    return LabelFix(line, row["path"], int(frame), row["label_was"] or None, row["label"] or None)
