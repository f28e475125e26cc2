"""Reader `video`: clips, and still images beside them, one folder per class.

In: a folder (or one clip) of mp4, mov, avi, mpeg, gif, mkv or webm. Out: a sequence per clip, its frames as images.

By default at most 32 evenly spaced frames of a clip: a heart cycle is 20 to 40 frames long, and neighbours differ by
less than their noise. `stride` or `frames` choose otherwise. Decoded by FFmpeg through PyAV, to RGB.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from fmlab.errors import BadInput, UnreadableImage
from fmlab.readers.folder import labels_note, mask_notes, places, separate_masks, still_file
from fmlab.readers.sources import (
    DecodedImage,
    Decoding,
    Listing,
    ReaderOptions,
    Scan,
    SourceFile,
    chosen_frames,
    kind_of,
    list_files,
    refuse_options,
    root_of,
)
from fmlab.readers.stills import check_size, decode_still, frame_row

CLIP_FRAMES = 32


class VideoReader:
    """Clips, one folder per class."""

    name = "video"
    describe = "Clips (mp4, mov, avi, mpeg, gif, mkv, webm), one folder per class; still images may stand beside them."

    def recognises(self, source: Path, listing: Listing) -> bool:
        """Clips, with or without still images."""
        return bool(listing.clips)

    def scan(self, source: Path, options: ReaderOptions, key: bytes) -> Scan:
        """A source file per clip and per still image, with class and split from the folders."""
        refuse_options(options, self.name, ("patient_pattern", "frames", "stride"))
        listing = list_files(source)
        if not listing.clips:
            raise BadInput(f"{source.name!r} holds no clips (mp4, mov, avi, mpeg, gif, mkv or webm).")
        images, masks, orphans = separate_masks(listing.stills)
        paths = sorted((*images, *listing.clips))
        files = [
            still_file(path, place, masks.get(path, ()), options)
            for path, place in zip(paths, places(paths), strict=True)
        ]
        notes = (f"Of each clip, {_choice(options)}.", *mask_notes(orphans), *labels_note(files))
        return Scan(root_of(source), files, notes=(*notes, *listing.left_out("dicoms", "arrays", "unnamed", "tables")))

    def decode(self, file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
        """The chosen frames of a clip, or a still image."""
        if kind_of(file.location) == "clips":
            yield from decode_clip(file, decoding)
        else:
            yield from decode_still(file, decoding, default_frames=CLIP_FRAMES)


def _choice(options: ReaderOptions) -> str:
    if options.stride is not None:
        return f"every {options.stride}th frame" if options.stride > 1 else "every frame"
    return f"at most {options.frames or CLIP_FRAMES} evenly spaced frames"


def decode_clip(file: SourceFile, decoding: Decoding) -> Iterator[DecodedImage]:
    """The chosen frames of a clip. One that is damaged anywhere is unreadable as a whole: its length is not known."""
    path = decoding.root / file.location
    count = count_frames(path)
    if file.only_frame is None:
        wanted = chosen_frames(count, decoding.options, CLIP_FRAMES)
    elif file.only_frame < count:
        wanted = np.array([file.only_frame])
    else:
        raise UnreadableImage(f"Frame {file.only_frame} was asked for; the clip has {count}, counted from 0.")
    chosen = set(wanted.tolist())
    for number, frame in enumerate(_decoded(path, frames=len(chosen))):
        if number in chosen:
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
            yield DecodedImage(frame_row(file, number), np.ascontiguousarray(pixels))
        if number == wanted[-1]:
            return


def count_frames(path: Path) -> int:
    """How many frames a clip really holds, found by decoding it: what containers announce is often wrong."""
    count = sum(1 for _ in _decoded(path))
    if not count:
        raise UnreadableImage("The clip holds no frames.")
    return count


def _decoded(path: Path, frames: int = 1) -> Iterator[av.VideoFrame]:
    """All frames of a clip's first video stream in the order in which they are shown; `frames` of them will be kept."""
    if not path.is_file():
        raise UnreadableImage("The file is not there.")
    if path.stat().st_size == 0:
        raise UnreadableImage("The file is empty.")
    position = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableImage("It holds no moving picture.")
            stream = container.streams.video[0]
            check_size(stream.codec_context.width, stream.codec_context.height, frames)
            stream.codec_context.thread_count = 1  # files are decoded side by side already
            for frame in container.decode(stream):
                check_size(frame.width, frame.height, frames)
                yield frame
            position += 1
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise UnreadableImage(f"The clip is damaged or of an unknown kind, at frame {position} ({reason}).") from error
