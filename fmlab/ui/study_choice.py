"""Which study a page shows, and which of its runs: chosen once, kept in the address.

In: the store. Out: a `ChosenStudy` with its results; the run or runs picked from it by backbone, adaptation, size, seed.
"""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset, open_dataset
from fmlab.plots.wording import adaptation_name, in_usual_order
from fmlab.runs.records import StudyRecord
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.results import results
from fmlab.ui import links
from fmlab.ui.messages import empty_state

LEAK_REMARK = "patients or sequences on both sides of the split"


@dataclass(frozen=True)
class ChosenStudy:
    """A study and everything that is known of it at this moment."""

    home: Home
    store: Store
    record: StudyRecord
    dataset: Dataset
    table: pd.DataFrame  # of `results`: one row per finished run and test set

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def scheme(self) -> str:
        """`images` or `sequences`."""
        return str(self.record.config["scheme"])

    @property
    def backbones(self) -> list[str]:
        """All its backbones, finished or not, so that colours never change while it runs."""
        return list(self.record.config["backbones"])

    @property
    def test_sets(self) -> list[str]:
        """The test sets that have results."""
        return sorted(self.table["test_set"].unique())

    @property
    def synthetic(self) -> bool:
        """Whether its images are simulated."""
        return self.dataset.card.synthetic

    @property
    def remarks(self) -> tuple[str, ...]:
        """What every figure of it has to say."""
        return (LEAK_REMARK,) if self.dataset.card.leaking else ()


@dataclass(frozen=True)
class Cell:
    """One point of the curve: a backbone and adaptation at one size, with a run for each seed."""

    backbone: str
    adaptation: str
    size: int

    @property
    def address(self) -> dict[str, str]:
        """The cell as it stands in the address of a page."""
        return {"backbone": self.backbone, "adaptation": adaptation_name(self.adaptation), "size": str(self.size)}


def choose_study(home: Home, store: Store) -> ChosenStudy | None:
    """The study in the address, the newest by default; None, with advice on the page, when there is none."""
    names = [study.name for study in store.studies()]
    if not names:
        empty_state(
            "No study yet",
            "A study measures how accuracy grows with the number of labels. Launch one on your images, or start the demo.",
            [
                lambda: links.link(links.LAUNCH, "Launch a study", ":material/rocket_launch:"),
                lambda: links.link(links.OVERVIEW, "Start the demo", ":material/play_circle:"),
            ],
        )
        return None
    name = links.choose("Study", names, "study", width=240)
    record = store.study(name or names[0])
    dataset = open_dataset(home, str(record.config["dataset"]))
    return ChosenStudy(home, store, record, dataset, results(home, store, record.name))


def waiting_note(study: ChosenStudy) -> None:
    """What stands in place of results before the first run has finished, or when none succeeded."""
    counts = study.store.counts(study.name)
    if counts.get("queued") or counts.get("running"):
        st.info("The first results appear here as soon as a run has finished.", icon=":material/hourglass_top:")
    else:
        empty_state(
            "No run of this study has finished",
            "The Runs page says why, and can run them again.",
            [lambda: links.link(links.RUNS, "Runs", ":material/list_alt:", {"study": study.name})],
        )


def choose_cell(study: ChosenStudy) -> Cell:
    """A backbone, an adaptation and a size among the finished runs; the largest size by default.

    Options are the words shown, because the address holds what is shown.
    """
    table = study.table
    finished = set(table["backbone"])
    backbone = _pick("Backbone", [key for key in study.backbones if key in finished], "backbone", width=280)
    table = table[table["backbone"] == backbone]
    adaptations = {adaptation_name(key): key for key in in_usual_order(table["adaptation"])}
    adaptation = adaptations[_pick("Adaptation", list(adaptations), "adaptation", width=200)]
    sizes = [str(size) for size in sorted(table.loc[table["adaptation"] == adaptation, "size"].unique(), reverse=True)]
    size = _pick(size_label(study.scheme), sizes, "size", width=200)
    return Cell(backbone, adaptation, int(size))


def choose_test_set(study: ChosenStudy) -> str:
    """One of the study's test sets."""
    return _pick("Test set", study.test_sets, "test_set", width=140)


def rows_of(study: ChosenStudy, cell: Cell, test_set: str) -> pd.DataFrame:
    """The results of a cell on one test set, one row per seed, in the order of the seeds."""
    table = study.table
    here = (
        (table["backbone"] == cell.backbone) & (table["adaptation"] == cell.adaptation) & (table["size"] == cell.size)
    )
    return table[here & (table["test_set"] == test_set)].sort_values("seed", ignore_index=True)


def choose_seed(rows: pd.DataFrame) -> pd.Series:
    """One run of a cell, by its seed: its row of the results."""
    seeds = [str(seed) for seed in rows["seed"]]
    seed = _pick("Subset (seed)", seeds, "seed", width=140)
    return rows.iloc[seeds.index(seed)]


def size_label(scheme: str) -> str:
    """What a size is called above a widget."""
    return "Labelled images" if scheme == "images" else "Sequences per class"


def _pick(label: str, options: list[str], name: str, width: int = 200) -> str:
    """A choice that always has a value; the address may name one that is gone, then it is the first."""
    chosen = links.choose(label, options, name, width=width)
    return chosen if chosen in options else options[0]
