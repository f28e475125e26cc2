"""Which reader takes a source: the one that is asked for, or the only one that recognises it.

In: a source and a reader's name or `auto`. Out: the reader. A source that several recognise is an error that names them.
"""

from pathlib import Path

from fmlab.errors import BadInput, NotFound
from fmlab.readers.dicom import DicomReader
from fmlab.readers.fetal_planes import FetalPlanesReader
from fmlab.readers.folder import FolderReader, places, separate_masks
from fmlab.readers.npz import NpzReader
from fmlab.readers.sources import Listing, Reader, list_files
from fmlab.readers.table import TableReader, top_tables
from fmlab.readers.video import VideoReader

AUTO = "auto"
READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (FolderReader(), TableReader(), DicomReader(), VideoReader(), NpzReader(), FetalPlanesReader())
}
PUBLISHED = ("fetal-planes",)  # layouts of one publication: what they recognise is theirs


def choose_reader(source: Path, name: str = AUTO) -> Reader:
    """The reader of that name, or for `auto` the one that recognises the source; `BadInput` if none or several do."""
    if not source.exists():
        raise NotFound(f"There is no file or folder {str(source)!r}. Check the path.")
    if name != AUTO:
        if name not in READERS:
            raise BadInput(f"There is no reader {name!r}; there are: {AUTO}, {', '.join(READERS)}.")
        return READERS[name]
    listing = list_files(source)
    for published in PUBLISHED:
        if READERS[published].recognises(source, listing):
            return READERS[published]
    recognised = [reader for reader in READERS.values() if reader.recognises(source, listing)]
    if len(recognised) > 1 and READERS["table"] in recognised and not _has_class_folders(listing):
        return READERS["table"]  # it names the files, and nothing but it can tell their classes
    if len(recognised) == 1:
        return recognised[0]
    if recognised:
        names = " or ".join(reader.name for reader in recognised)
        raise BadInput(f"{source.name!r} could be read as {names}. Say which with --reader.")
    raise BadInput(_nothing_fits(source, listing))


def _has_class_folders(listing: Listing) -> bool:
    paths = (*listing.stills, *listing.clips, *listing.dicoms)
    return len({place.label for place in places(separate_masks(paths)[0])} - {None}) > 1


def _nothing_fits(source: Path, listing: Listing) -> str:
    kinds = {
        "folder": listing.stills,
        "video": listing.clips,
        "dicom": listing.dicoms,
        "table": top_tables(listing),
        "npz": listing.arrays,
    }
    present = [name for name, paths in kinds.items() if paths]
    if not present:
        return (
            f"{source.name!r} holds no images, clips, DICOM files, table or .npz. Point to a folder or file that does."
        )
    return f"{source.name!r} holds files for the readers {', '.join(present)} and its layout fits none. Say which with --reader."
