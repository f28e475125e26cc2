"""A phantom dataset on disk: the plan drawn in parallel, stored like any other dataset.

In: a home, a name, a `PhantomConfig`. Out: the dataset, with chamber masks, and beside its manifest a `truth.parquet`
(sequence_id, view, label) that holds the true view of every sequence. No page and no export reads that file: it is
there to measure whether wrong labels are found.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fmlab.data.manifest import Dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import Cancelled
from fmlab.files import written_aside
from fmlab.phantom.cases import PhantomConfig, PlannedSequence, plan
from fmlab.phantom.render import RenderedSequence, render
from fmlab.phantom.scanner import IMAGE_SIZE, Sector
from fmlab.phantom.views import VIEWS
from fmlab.settings import Home

READER = "phantom"
OUTLINE_POINTS = 12  # of each arc of the fan's polygon
CHUNK = 4  # sequences handed to a process at a time: the pipe is quiet, the progress smooth

FACTS = CardFacts(
    source=READER,
    title="Phantom echocardiography",
    description=(
        "Simulated cardiac ultrasound of ten views: a parametric heart, a scanner model and invented patients. "
        "Three hospitals to train on, a fourth for T1, an external site with difficult cases for T2."
    ),
    licence="CC0-1.0 (made by FMLab; no patient is in it)",
    citation=None,
    synthetic=True,
    notes=("Simulated images: no number measured on them is evidence about real patients.",),
)


def build_phantom(
    home: Home,
    name: str,
    config: PhantomConfig,
    processes: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Dataset:
    """Draw and store a phantom dataset. The same config gives the same bytes, on any number of processes.

    Raises `NameTaken`, `StorageFull`, or `Cancelled` when `cancelled()` turns true; nothing stays behind then.
    """
    sequences = plan(config)
    with (
        DatasetWriter(home, name) as writer,
        ProcessPoolExecutor(processes or os.cpu_count() or 1, mp_context=get_context("spawn")) as pool,
    ):
        drawn = pool.map(partial(render, config), sequences, chunksize=CHUNK)
        for done, (planned, rendered) in enumerate(zip(sequences, drawn, strict=True), start=1):
            if cancelled is not None and cancelled():
                pool.shutdown(cancel_futures=True)
                raise Cancelled("The phantom was cancelled; nothing was kept.")
            _store(writer, planned, rendered)
            if on_progress is not None:
                on_progress(done, len(sequences))
        _write_truth(writer, sequences)
        return writer.finish(FACTS, classes=VIEWS)


def outline(sector: Sector) -> tuple[float, ...]:
    """The fan as a polygon, x0, y0, x1, y1, … in fractions of width and height: the far arc, then the near one back."""
    angles = np.radians(np.linspace(-sector.half_angle, sector.half_angle, OUTLINE_POINTS))
    arcs = [(sector.outer_radius, angles), (sector.inner_radius, angles[::-1])]
    points = np.concatenate(
        [
            np.stack([sector.apex_x + radius * np.sin(along), sector.apex_y + radius * np.cos(along)], axis=1)
            for radius, along in arcs
        ]
    )
    # Points may lie outside the picture, where the fan is cut off by its edge.
    return tuple(float(value) for value in ((points + 0.5) / IMAGE_SIZE).ravel().round(4))


def _store(writer: DatasetWriter, planned: PlannedSequence, rendered: RenderedSequence) -> None:
    fan = outline(rendered.sector)
    for frame, (pixels, mask) in enumerate(zip(rendered.frames, rendered.masks, strict=True)):
        row = ImageRow(
            path=f"{planned.site}/{planned.sequence_id}.png",
            frame=frame,
            label=planned.label,
            sequence_id=planned.sequence_id,
            patient_id=planned.patient_id,
            site=planned.site,
            split=planned.split,
            mask_path=f"masks/{planned.sequence_id}.png",
            spacing_mm=rendered.spacing_mm,
            sector=fan,
        )
        writer.add(row, pixels, mask)


def _write_truth(writer: DatasetWriter, sequences: list[PlannedSequence]) -> None:
    columns = {name: [getattr(planned, name) for planned in sequences] for name in ("sequence_id", "view", "label")}
    with written_aside(writer.folder / "truth.parquet") as aside:
        pq.write_table(pa.table(columns), aside)
