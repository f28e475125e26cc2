"""Tables as text: every cell a string, whatever file it came from.

In: a CSV, TSV or Parquet file. Out: a `Table` of named columns; an empty cell is an empty string.

Labels such as `01` and `1` stay apart, because nothing is converted before its meaning is known.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fmlab.errors import BadInput
from fmlab.readers.sources import kind_of

DELIMITERS = ",;\t|"
JUDGED_ROWS = 50  # enough to tell a delimiter and a header
FILE_KINDS = ("stills", "clips", "dicoms")


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the file. Without a header they are called 1, 2, 3 …"""

    name: str
    columns: dict[str, list[str]]
    has_header: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def names_files(self, column: str) -> bool:
        """Whether the first cells of a column all look like files that a reader could open."""
        cells = [cell for cell in self.columns[column][:JUDGED_ROWS] if cell]
        return bool(cells) and all(kind_of(cell) in FILE_KINDS for cell in cells)


def read_table(path: Path) -> Table:
    """The table in a file; one that is empty, ragged or damaged raises `BadInput` naming the line."""
    if path.suffix.lower() == ".parquet":
        return _from_parquet(path)
    return parse_table(path.read_bytes(), path.name)


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The lines of a text table with two columns, the first line included, whether or not it is a header."""
    if not path.is_file():
        raise BadInput(f"There is no table {str(path)!r}. Check the path.")
    text, _ = _decode(path.read_bytes(), path.name)
    rows = _parse(text, _delimiter(text), path.name)
    for line, cells in rows or [(1, [])]:
        if len(cells) != 2:
            raise BadInput(f"Line {line} of {path.name} has {len(cells)} cells; this table needs two columns.")
    return [(left, right) for _, (left, right) in rows]


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """The numbered lines of a text table as they are written, blanks around cells kept, blank lines left out."""
    text, _ = _decode(path.read_bytes(), path.name)
    return _parse(text, _delimiter(text), path.name, stripped=False)


def parse_table(content: bytes, name: str) -> Table:
    """The table in the bytes of a delimited text file."""
    text, notes = _decode(content, name)
    rows = _parse(text, _delimiter(text), name)
    if not rows:
        raise BadInput(f"The table {name} is empty. It needs a row per image.")
    width = len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            raise BadInput(
                f"Line {line} of {name} has {len(cells)} cells, the first line has {width}. Repair that line."
            )
    cells = [row for _, row in rows]
    has_header = not any(kind_of(cell) in FILE_KINDS for cell in cells[0])
    names = [cell or f"column {i + 1}" for i, cell in enumerate(cells[0])] if has_header else _numbers(width)
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise BadInput(f"The table {name} has several columns called {', '.join(twice)}. Give each its own name.")
    body = cells[1:] if has_header else cells
    columns = {column: [row[i] for row in body] for i, column in enumerate(names)}
    return Table(name, columns, has_header, notes)


def _numbers(width: int) -> list[str]:
    return [str(number + 1) for number in range(width)]


def _decode(content: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return text, (f"{name} is not UTF-8; read as Windows-1252.",) if encoding == "cp1252" else ()
    raise BadInput(f"{name} is not a text table. Save it as CSV in UTF-8.")


def _delimiter(text: str) -> str:
    """The delimiter that cuts the first lines into the same number of cells, the most if several do."""
    start = "\n".join(text.splitlines()[:JUDGED_ROWS])
    best, most = ",", 1
    for delimiter in DELIMITERS:
        widths = [len(row) for row in csv.reader(io.StringIO(start), delimiter=delimiter) if row]
        even = len(set(widths)) == 1
        if widths and (even or best == ",") and widths[0] > most:
            best, most = delimiter, widths[0]
    return best


def _parse(text: str, delimiter: str, name: str, stripped: bool = True) -> list[tuple[int, list[str]]]:
    """Numbered lines of cells, without the blanks around them if `stripped`; blank lines left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            bare = [cell.strip() for cell in cells]
            if any(bare):
                rows.append((reader.line_num, bare if stripped else cells))
    except csv.Error as error:
        raise BadInput(f"Line {reader.line_num} of {name} cannot be read ({error}). Repair that line.") from error
    return rows


def _from_parquet(path: Path) -> Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path.name} is not a readable Parquet file ({error}).") from error
    nested = [field.name for field in table.schema if pa.types.is_nested(field.type) or pa.types.is_binary(field.type)]
    columns = {
        name: [_as_text(v) for v in table[name].to_pylist()] for name in table.column_names if name not in nested
    }
    notes = (f"Columns {', '.join(nested)} of {path.name} hold no plain values and were left out.",) if nested else ()
    if not len(table):
        raise BadInput(f"The table {path.name} is empty. It needs a row per image.")
    return Table(path.name, columns, True, notes)


def _as_text(value: object) -> str:
    if value is None or value != value:  # null or NaN
        return ""
    # Whole numbers beside nulls are stored as floats; their label is 1 and not 1.0.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
