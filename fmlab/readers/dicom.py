"""Reader `dicom`: single and multi-frame DICOM files, stripped of everything that identifies.

In: DICOM files with any suffix or none, below a folder. Out: 8-bit images, with pseudonyms for patient, study, series,
site and file path, hashed with a secret of the home, so that one patient is one pseudonym in all imports into it.

Kept: pixels, pseudonyms, pixel spacing, the region of the scan, the class that folders or a table give. Not kept:
names, dates, institution, device and any other text of the header, and file names. Burnt-in text is in the pixels:
masking outside the sector is therefore on by default.

Pixels: YBR and palettes become RGB; MONOCHROME is windowed as the header asks, else scaled from its full stored range
to 0–255, and MONOCHROME1 inverted. Sources: DICOM PS3.3 C.7.6.3, C.8.5.5 (ultrasound regions), C.11.2 (windowing).
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_voi, iter_pixels
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from fmlab.data.writer import ImageRow
from fmlab.errors import BadInput, UnreadableImage
from fmlab.readers.columns import read_pairs
from fmlab.readers.folder import labels_note, places
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    chosen_frames,
    list_files,
    pseudonym,
    refuse_options,
    root_of,
)
from fmlab.readers.stills import check_size, frame_row

TISSUE, TWO_DIMENSIONAL, CENTIMETRES = 1, 1, 3  # codes of PS3.3 C.8.5.5.1
PILLOW_SYNTAXES = (JPEGBaseline8Bit,)
COLOURS = ("Red", "Green", "Blue")
LOOKED_AT = 50  # headers in each folder
MOST_CLASSES = 100  # more folders than that with a patient each are patients
FULL_RANGE = "more than 8 bits and no window in the header, scaled from the full stored range to 0–255"
# What a folder may be named after, if its name identifies someone.
IDENTIFYING = ("PatientID", "PatientName", "AccessionNumber", "StudyID", "StudyDate", "StudyInstanceUID",
               "SeriesInstanceUID", "PatientBirthDate", "OtherPatientIDs")  # fmt: skip


class DicomReader:
    """DICOM files."""

    name = "dicom"
    describe = "DICOM files, single or multi-frame; identifiers become pseudonyms, nothing that identifies is kept."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """Files named as DICOM files are, or files without a suffix that begin as DICOM files do."""
        return bool(listing.dicoms) or any(is_dicom(root_of(source) / path) for path in listing.unnamed)

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """A source file per DICOM file; classes from `options.labels`, else from the folders unless they are patients."""
        refuse_options(options, self.name, ("labels", "frames", "stride"))
        listing, root = list_files(source), root_of(source)
        unnamed = [path for path in listing.unnamed if path.rsplit("/")[-1] != "DICOMDIR" and is_dicom(root / path)]
        paths = sorted((*listing.dicoms, *unnamed))
        if not paths:
            raise BadInput(f"{source.name!r} holds no DICOM files. Point to a folder with some.")
        rows = [ImageRow(path=path, split=place.split) for path, place in zip(paths, places(paths), strict=True)]
        if options.labels is not None:
            labels, notes = _labels_from(options.labels, paths), ()
        else:
            labels, notes = _labels_of_folders(root, paths)
        files = [
            SourceFile(row.path, dicom_row(replace(row, label=label), row.path, key))
            for row, label in zip(rows, labels, strict=True)
        ]
        notes = (*notes, *labels_note(files), *listing.left_out("stills", "clips", "arrays", anonymous=True))
        return Scan(root, files, notes=notes, mask_sector=True)

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The frames of one DICOM file."""
        yield from decode_dicom(file, decoding)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do: 128 bytes of anything, then DICM."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def dicom_row(row: ImageRow, path: str, key: bytes) -> ImageRow:
    """A row whose path, and patient if a table names one, are pseudonyms, and without a table's further columns."""
    patient = None if row.patient_id is None else pseudonym("patient", row.patient_id, key)
    return replace(row, path=pseudonym("dicom", path, key), patient_id=patient, extra={})


# ---- classes ----


def _labels_from(table_path: Path, paths: list[str]) -> list[str | None]:
    known = set(paths)
    pairs = [(cell.replace("\\", "/").removeprefix("./"), label) for cell, label in read_pairs(table_path)]
    pairs = pairs if pairs[0][0] in known else pairs[1:]  # the first line is a header unless it names a file
    label_of = dict(pairs)
    unknown = [cell for cell in label_of if cell not in known]
    if unknown:
        raise BadInput(
            f"{table_path.name} names {len(unknown)} files that are not DICOM files of the source, {unknown[0]!r} for one. "
            "Give paths within the source."
        )
    return [label_of.get(path) or None for path in paths]


def _labels_of_folders(root: Path, paths: list[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Folder names as classes, unless they may stand for patients: then no label, because a name must not leak."""
    labels = [place.label for place in places(paths)]
    folders = {label for label in labels if label is not None}
    if not folders:
        return labels, ()
    patients: dict[str, set[str]] = {folder: set() for folder in folders}
    looked: Counter[str] = Counter()
    nothing: list[str | None] = [None] * len(paths)
    refusal = "give classes with --labels."
    for path, folder in zip(paths, labels, strict=True):
        if folder is None or len(patients[folder]) > 1 or looked[folder] == LOOKED_AT:
            continue  # a folder with two patients is not a patient's
        looked[folder] += 1
        header = _identifiers(root / path)
        if any(_alike(folder, text) for text in header):
            return nothing, (
                f"Folder names occur in the headers as identifiers and were not taken for classes; {refusal}",
            )
        patients[folder].add(header[0])
    if len(folders) > MOST_CLASSES and all(len(known) == 1 for known in patients.values()):
        return nothing, (
            f"Each of {len(folders)} folders holds one patient, so they were not taken for classes; {refusal}",
        )
    return labels, ("Folder names were taken for classes.",)


def _identifiers(path: Path) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(IDENTIFYING), force=True)
            return [str(header.get(name) or "") for name in IDENTIFYING]
    except Exception:  # a damaged header raises anything; decoding will name the reason
        return [""] * len(IDENTIFYING)


def _alike(folder: str, identifier: str) -> bool:
    """Whether a folder's name is an identifier, or a part of a name of at least three letters."""
    parts = [identifier, *identifier.replace("^", " ").replace(",", " ").split()]
    return any(len(part) > 2 and part.casefold() in folder.casefold() for part in parts)


# ---- images ----


def decode_dicom(file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
    """The frames of one DICOM file. If it breaks off, the frames before are given and one row says where.

    Messages are our own: those of the decoders may quote the header.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deviations from the standard; what concerns pixels raises
        header = read_header(decoding.root / file.location)
        row = _completed(file.row, header, decoding.key)
        count = int(header.get("NumberOfFrames") or 1)
        frames = chosen_frames(count, decoding.options, None)
        if file.only_frame is not None:
            frames = frames[frames == file.only_frame]
        if not len(frames):
            raise UnreadableImage(f"Frame {file.only_frame} was asked for; it has {count}, counted from 0.")
        check_size(int(header.Columns), int(header.Rows), len(frames))
        region = scan_region(header)
        decoded = iter_pixels(header, indices=frames.tolist(), decoding_plugin=_decoder(header))
        for frame in frames.tolist():
            here = frame_row(replace(file, row=row), frame) if count > 1 else row
            try:
                pixels, remarks = to_eight_bits(next(decoded), header)
            except Exception as error:  # decoders raise anything, and their text may identify
                reason = str(error) if isinstance(error, UnreadableImage) else _reason(error, header)
                yield DecodedImage(here, problem=reason)
                return
            yield DecodedImage(here, pixels, remarks=remarks, region=region)


def read_header(path: Path) -> FileDataset:
    """A DICOM file, checked to be an image."""
    try:
        if path.stat().st_size == 0:
            raise UnreadableImage("The file is empty.")
        header = pydicom.dcmread(path, force=True)
    except FileNotFoundError as error:
        raise UnreadableImage("The file is not there.") from error
    except UnreadableImage:
        raise
    except Exception as error:  # parsers raise anything at damaged files, and their text may identify
        raise UnreadableImage(f"It is not a DICOM file, or its header is damaged ({type(error).__name__}).") from error
    if "Rows" not in header or "Columns" not in header or not (header.Rows and header.Columns):
        raise UnreadableImage("It is not a DICOM file, or one without an image.")
    if "PixelData" not in header:
        raise UnreadableImage("It holds no image in whole numbers (PixelData is missing).")
    if "TransferSyntaxUID" not in getattr(header, "file_meta", {}):
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # the standard's default, PS3.5 section 10
    if header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        _palette_to_little_endian(header)
    return header


def _palettes(header: FileDataset) -> list[pydicom.DataElement]:
    names = (f"{kind}{colour}PaletteColorLookupTableData" for kind in ("", "Segmented") for colour in COLOURS)
    return [header[name] for name in names if name in header]


def _palette_to_little_endian(header: FileDataset) -> None:
    """pydicom reads a palette's 16-bit words as little-endian, whatever the file's byte order is."""
    for element in _palettes(header):
        element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def palette_depth(header: FileDataset) -> int:
    """Bits of a palette's colours as they are, 8 or 16."""
    if int(header.RedPaletteColorLookupTableDescriptor[2]) <= 8:
        return 8
    if any("Segmented" in element.keyword for element in _palettes(header)):
        return 16  # lengths and opcodes stand between the colours, so they cannot be judged one by one
    return 16 if max(int(np.frombuffer(e.value, "<u2").max()) for e in _palettes(header)) > 255 else 8


def _decoder(header: FileDataset) -> str:
    """Pillow where it can (it is twice as fast on JPEG as gdcm, which is the default), else what pydicom chooses."""
    eight_bits = int(header.get("BitsStored") or 8) <= 8
    return "pillow" if eight_bits and header.file_meta.TransferSyntaxUID in PILLOW_SYNTAXES else ""


def _reason(error: Exception, header: FileDataset) -> str:
    if isinstance(error, StopIteration):
        return "The file ends before this frame."
    syntax = header.file_meta.TransferSyntaxUID
    if isinstance(error, (NotImplementedError, RuntimeError)):
        return f"Its pixels ({syntax.name}) are of a kind that cannot be decoded here, or they are damaged."
    return f"Its pixels ({syntax.name}) are truncated or damaged ({type(error).__name__})."


def to_eight_bits(pixels: np.ndarray, header: FileDataset) -> tuple[np.ndarray, tuple[str, ...]]:
    """One decoded frame as uint8 (H, W) or (H, W, 3), and remarks."""
    kind = str(header.PhotometricInterpretation)
    bits = int(header.get("BitsStored") or 8)
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, header)[..., :3]
        # Some devices write 8-bit colours into a 16-bit palette; a palette that is truly 16 bits deep goes beyond 255.
        return (coloured >> 8 if palette_depth(header) > 8 else coloured).astype(np.uint8), ()
    if kind.startswith("MONOCHROME"):
        grey, remarks = _grey(pixels, header, bits)
        return (255 - grey if kind == "MONOCHROME1" else grey), remarks
    if kind in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT") and pixels.ndim == 3:
        return (pixels if bits <= 8 else pixels >> (bits - 8)).astype(np.uint8), ()
    raise UnreadableImage(f"Its colours ({kind}) are of a kind that cannot be converted.")


def _grey(pixels: np.ndarray, header: FileDataset, bits: int) -> tuple[np.ndarray, tuple[str, ...]]:
    values = pixels.astype(np.float64)
    lowest = -(2.0 ** (bits - 1)) if header.get("PixelRepresentation") else 0.0
    highest = lowest + 2.0**bits - 1
    if "VOILUTSequence" in header:
        table = header.VOILUTSequence[0].LUTDescriptor[2]
        shown = apply_voi(pixels, header) / (2.0 ** int(table) - 1)
        return _to_bytes(shown), ()
    if _first(header.get("WindowWidth")) is None or _first(header.get("WindowCenter")) is None:
        return _to_bytes((values - lowest) / (highest - lowest)), (FULL_RANGE,) if bits > 8 else ()
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return _to_bytes(windowed(values * slope + intercept, header)), ()


def windowed(values: np.ndarray, header: FileDataset) -> np.ndarray:
    """Values through the header's first window, 0–1 float64 (PS3.3 C.11.2.1.2 and .3)."""
    centre, width = float(_first(header.WindowCenter)), float(_first(header.WindowWidth))
    function = str(header.get("VOILUTFunction") or "LINEAR")
    if width <= 0:
        raise UnreadableImage(f"Its header asks for a window {width:g} wide.")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    return np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _first(value: object) -> object:
    """The first of a DICOM element's values; None if it has none."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return value
    return value[0] if len(value) else None  # type: ignore[index]


# ---- what is kept of the header ----


def _completed(row: ImageRow, header: FileDataset, key: bytes) -> ImageRow:
    """The row with what the header adds, as pseudonyms."""
    patient = str(header.get("PatientID") or "").strip()
    # One hospital's different machines make different pictures: to a model they are different sites.
    site = [
        str(header.get(name) or "").strip() for name in ("InstitutionName", "Manufacturer", "ManufacturerModelName")
    ]
    studied = {
        name: pseudonym(kind, str(header[tag].value), key) if header.get(tag) else None
        for name, kind, tag in (("study_id", "study", "StudyInstanceUID"), ("series_id", "series", "SeriesInstanceUID"))
    }
    return replace(
        row,
        patient_id=row.patient_id or (pseudonym("patient", patient, key) if patient else None),
        site=row.site or (pseudonym("site", "\x1f".join(site), key, digits=8) if any(site) else None),
        spacing_mm=row.spacing_mm or spacing_mm(header),
        extra=studied,
    )


def _tissue_regions(header: FileDataset) -> list[pydicom.Dataset]:
    regions = header.get("SequenceOfUltrasoundRegions") or []
    return [
        region
        for region in regions
        if region.get("RegionSpatialFormat") == TWO_DIMENSIONAL and region.get("RegionDataType") == TISSUE
    ]


def spacing_mm(header: FileDataset) -> float | None:
    """Millimetres per pixel; None if unknown, or if it differs between directions or regions."""
    sizes: set[float] = set()
    for region in _tissue_regions(header):
        if (
            region.get("PhysicalUnitsXDirection") == CENTIMETRES
            and region.get("PhysicalUnitsYDirection") == CENTIMETRES
        ):
            sizes |= {round(abs(float(region[name].value)) * 10, 5) for name in ("PhysicalDeltaX", "PhysicalDeltaY")}
    if not sizes and header.get("PixelSpacing"):
        sizes = {float(size) for size in header.PixelSpacing}
    if not sizes or min(sizes) <= 0 or max(sizes) > 1.01 * min(sizes):
        return None
    return max(sizes)


def scan_region(header: FileDataset) -> tuple[float, float, float, float] | None:
    """The box around all two-dimensional tissue regions, left, top, right, bottom as fractions; None: not given."""
    boxes = [
        (int(r.RegionLocationMinX0), int(r.RegionLocationMinY0), int(r.RegionLocationMaxX1), int(r.RegionLocationMaxY1))
        for r in _tissue_regions(header)
        if all(f"RegionLocation{edge}" in r for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
    ]
    if not boxes:
        return None
    width, height = int(header.Columns), int(header.Rows)
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[2] for box in boxes) + 1, max(box[3] for box in boxes) + 1
    inside = 0 <= left < right and 0 <= top < bottom and left < width and top < height
    return (left / width, top / height, min(right / width, 1.0), min(bottom / height, 1.0)) if inside else None
