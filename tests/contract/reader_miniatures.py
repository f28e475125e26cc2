"""Miniatures of the layouts that readers take: a few tiny files each, in the real folder trees.

In: an empty folder. Out: the folder, filled. Every picture is speckle from a seed, so no two are equal.
"""

import io
import zipfile
from pathlib import Path

import av
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless, generate_uid

SIDE = 24


def speckle(seed, height=SIDE, width=SIDE, channels=None):
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def busi(root):
    """Two classes and `normal`; one image with two masks, RGB and RGBA masks, an all-black mask, odd names."""
    for seed, name in enumerate(
        ("benign/benign (1)", "benign/benign (2)", "malignant/malignant (1)", "normal/normal (1)")
    ):
        save(root / f"{name}.png", speckle(seed, 20 + seed, 30, 3))
    left, right = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    left[:, :5], right[:, -5:] = 255, 255
    save(root / "benign/benign (1)_mask.png", left)
    save(root / "benign/benign (1)_mask_1.png", np.dstack([right] * 3))
    save(root / "benign/benign (2)_mask.png", np.dstack([np.full((21, 30), 255, np.uint8)] * 4))
    save(root / "malignant/malignant (1)_mask.png", np.full((22, 30), 255, np.uint8))
    save(root / "normal/normal (1)_mask.png", np.zeros((23, 30), np.uint8))
    return root


ECHO_ROWS = [
    ("images/P1_S1_3.png", "A4C", "P1", "S1", "3", "430x320"),
    ("images/P1_S1_9.png", "PLAX", "P1", "S1", "9", "430x320"),
    ("images/P1_S2_0.png", "PLAX", "P1", "S2", "0", "430x320"),
    ("images/P2_S3_1.png", "", "P2", "S3", "1", "700x495"),
    ("images/P3_S4_1.png", "A4C", "P3", "S4", "1", "700x495"),
]


FETAL_ROWS = [
    ("Patient00001_Plane1_1_of_2", "1", "Other", "Not A Brain", "Other", "Aloka", "1"),
    ("Patient00001_Plane3_2_of_2", "1", "Fetal brain", "Trans-thalamic", "Op. 1", "Voluson E6", "1"),
    ("Patient00168_Plane2_1_of_1", "168", "Fetal abdomen", "Not A Brain", "Op. 2", "Voluson S10", "1"),
    ("Patient01792_Plane5_1_of_1", "1792", "Maternal cervix", "Not A Brain", "Op. 3", "Other", "0"),
]


def fetal_planes(root, rows=FETAL_ROWS):
    """The published archive: a semicolon table whose last column ends with a blank, and images of several sizes and modes."""
    for seed, row in enumerate(rows):
        pixels = np.dstack([speckle(seed, 20 + seed, 30)] * 3)
        if seed == 1:
            pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        save(root / f"Images/{row[0]}.png", pixels)
    header = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "
    (root / "FETAL_PLANES_DB_data.csv").write_text("\n".join([header, *(";".join(row) for row in rows)]) + "\n")
    (root / "FETAL_PLANES_DB_data.xlsx").write_bytes(b"PK")
    return root


def echo_views(root):
    """A table beside a folder of images: labels, patients, sequences, frames, a column of its own; one row without label."""
    for seed, row in enumerate(ECHO_ROWS):
        save(root / row[0], speckle(seed))
    lines = ["path,view,patient,sequence,frame,scanner", *(",".join(row) for row in ECHO_ROWS)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def gallbladder(root):
    """A table without a header, names without their folder, suffixes in both cases, the patient in the name."""
    names = ("3_0.jpg", "3_1.JPG", "4_0.jpg", "10_0.JPG")
    for seed, name in enumerate(names):
        save(root / "gallbladder_ba" / name, speckle(seed), format="JPEG")
    (root / "label.csv").write_text("".join(f"{name},{seed % 2}\n" for seed, name in enumerate(names)))
    return root


def medmnist(path, channels=None):
    arrays = {}
    for seed, (part, count) in enumerate((("train", 5), ("val", 2), ("test", 3))):
        shape = (count, 28, 28) if channels is None else (count, 28, 28, channels)
        arrays[f"{part}_images"] = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2 * 10)[:, None].astype(np.uint8)
    np.savez_compressed(path, **arrays)
    return arrays


def clip(path, frames=10, codec="mpeg4", height=32, width=48):
    """A clip whose frame i is of grey 20 i: its place can be read from its brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.full((height, width, 3), 20 * number % 256, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def gif(path, frames=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(np.full((16, 16), 60 * number, np.uint8)) for number in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def clips(root):
    """Two classes of clips in several containers, and a still image beside them."""
    clip(root / "Cov/Cov+Atlas (1).mp4")
    clip(root / "Cov/one.avi")
    clip(root / "Reg/two.mov")
    clip(root / "Reg/three.mpeg", codec="mpeg1video", frames=30)
    gif(root / "Reg/four.gif")
    save(root / "Reg/still.png", speckle(1))
    return root


def archive(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


def png_bytes(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


# ---- DICOM ----


def dicom(
    path, pixels, kind="MONOCHROME2", *, frames=1, bits=8, patient="Doe-4711", syntax=ExplicitVRLittleEndian, **tags
):
    """A DICOM file full of identifiers. `pixels` are as stored: (H, W), (H, W, 3), or (F, …) for several frames."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.PatientID, file.PatientName, file.PatientBirthDate = patient, "Doe^Jane", "19700102"
    file.StudyInstanceUID, file.SeriesInstanceUID, file.StudyDate = "1.2.3.4", "1.2.3.4.5", "20240506"
    file.InstitutionName, file.Manufacturer, file.ManufacturerModelName = "Saint Nowhere", "Acme", "Sonic 9"
    file.AccessionNumber, file.Modality, file.ReferringPhysicianName = "ACC-99", "US", "Roe^Rick"
    colour = pixels.ndim - (frames > 1) == 3
    file.Rows, file.Columns = pixels.shape[1:3] if frames > 1 else pixels.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = (3 if colour else 1), kind
    file.BitsAllocated, file.BitsStored, file.HighBit = pixels.itemsize * 8, bits, bits - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    if colour:
        file.PlanarConfiguration = 0
    if frames > 1:
        file.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(file, name, value)
    if syntax == JPEGBaseline8Bit:
        file.PixelData = encapsulate([_jpeg(pixels)])
    elif syntax == RLELossless:
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.PixelData = pixels.tobytes()
        file.compress(RLELossless)
    else:
        content = pixels.tobytes()
        # OW bytes are swapped in big-endian files, OB bytes never are.
        file.add_new("PixelData", "OW" if pixels.itemsize == 2 else "OB", content + b"\0" * (len(content) % 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path


def _jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def ultrasound_region(left, top, right, bottom, centimetres=0.05):
    region = pydicom.Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = left, top
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = right, bottom
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = centimetres
    return Sequence([region])


def everything(root: Path) -> bytes:
    """All bytes of all files below a folder, to look for what must not be there."""
    return b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())
