"""Which study a page shows, and which of its runs: chosen once, kept in the address.

In: the store. Out: a `ChosenStudy` with its results; the run or runs picked from it by backbone, adaptation, size, seed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import streamlit as st

from fmlab.adapt.configs import short_name
from fmlab.data.manifest import Dataset, open_dataset
from fmlab.plots.palette import Look, backbone_looks, baseline_looks
from fmlab.plots.wording import adaptation_name, in_usual_order
from fmlab.runs.records import StudyRecord
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import ORIGINAL, LabelVersion, find_label_version, label_versions, parted, under
from fmlab.studies.remarks import remarks_of
from fmlab.studies.resampling import resampled_runs
from fmlab.studies.results import results
from fmlab.ui import links
from fmlab.ui.messages import empty_state


@dataclass(frozen=True)
class ChosenStudy:
    """A study and everything that is known of it at this moment."""

    home: Home
    store: Store
    record: StudyRecord
    dataset: Dataset
    table: pd.DataFrame  # of `results`: one row per finished run and test set
    labels: LabelVersion | None = None  # the truth that answers are compared with; None: the labels as imported

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def scheme(self) -> str:
        """`images` or `sequences`."""
        return str(self.record.config["scheme"])

    @property
    def folds(self) -> int | None:
        """Into how many parts the training images are dealt; None: the test sets are tested on."""
        return self.record.config.get("folds")

    @property
    def baselines(self) -> list[tuple[str, str]]:
        """(backbone, adaptation) of the lines that stand beside the grid."""
        found = self.record.config.get("baselines") or []
        return [(str(each["backbone"]), short_name(each["adaptation"])) for each in found]

    @property
    def backbones(self) -> list[str]:
        """All its backbones, finished or not, so that colours never change while it runs; those of baselines last."""
        return list(dict.fromkeys([*self.record.config["backbones"], *(backbone for backbone, _ in self.baselines)]))

    def look(self, combination: tuple[str, str], mode: Literal["light", "dark"]) -> Look:
        """How a backbone and adaptation is drawn in every figure of the study."""
        extra = baseline_looks(self.baselines, mode)
        return extra.get(combination) or backbone_looks(self.backbones, mode)[combination[0]]

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
        corrected = () if self.labels is None else (f"labels {self.labels.name}",)
        return (*remarks_of(self.record, self.dataset), *corrected)

    @property
    def address(self) -> dict[str, str]:
        """The study, and where there is a choice the labels it is seen under, as they stand in the address of a page."""
        if not label_versions(self.store, self.dataset):
            return {"study": self.name}
        return {"study": self.name, "labels": ORIGINAL if self.labels is None else self.labels.name}

    @property
    def said(self) -> dict[str, Any]:
        """What every figure of it has to say, as the arguments of the figure builders."""
        return {"synthetic": self.synthetic, "remarks": self.remarks}


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
    name = links.choose("Study", names, "study", width=300)
    record = store.study(name or names[0])
    dataset = open_dataset(home, str(record.config["dataset"]))
    versions = [version.name for version in label_versions(store, dataset)]
    labels = links.choose("Labels", [ORIGINAL, *versions], "labels", width=130) if versions else ORIGINAL
    version = find_label_version(store, dataset, labels or ORIGINAL)
    return ChosenStudy(home, store, record, dataset, results(home, store, record.name, labels or ORIGINAL), version)


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
    """One of the study's test sets. Under other labels the one that was chosen before stays chosen."""
    before = st.session_state.get("test_set", st.query_params.get("test_set"))
    relabelled = under(parted(str(before))[0], study.labels)
    if before not in study.test_sets and relabelled in study.test_sets:
        st.session_state["test_set"] = relabelled
    return _pick("Test set", study.test_sets, "test_set", width=140)


def choose_size(study: ChosenStudy, name: str = "size", usual: int | None = None) -> int:
    """One of the sizes that have results; at first `usual`, else the largest."""
    sizes = [str(size) for size in sorted(study.table["size"].unique(), reverse=True)]
    first = sizes.index(str(usual)) if str(usual) in sizes else 0
    return int(_pick(size_label(study.scheme), sizes, name, width=200, first=first))


def combination_names(
    table: pd.DataFrame, backbones: Sequence[str], baselines: Collection[tuple[str, str]] = ()
) -> dict[str, tuple[str, str]]:
    """Every backbone and adaptation that has results, by a name: the backbone alone while the grid has one adaptation."""
    pairs = [(str(b), str(a)) for b, a in table[["backbone", "adaptation"]].drop_duplicates().itertuples(index=False)]
    usual = in_usual_order(table["adaptation"])
    several = len({adaptation for backbone, adaptation in pairs if (backbone, adaptation) not in baselines}) > 1
    pairs.sort(key=lambda pair: (pair in baselines, backbones.index(pair[0]), usual.index(pair[1])))
    return {f"{b} · {adaptation_name(a)}" if several or (b, a) in baselines else b: (b, a) for b, a in pairs}


def unshared(first: str, second: str, names: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """The names of two combinations without the adaptation that both share."""
    if names[first][1] == names[second][1]:
        return names[first][0], names[second][0]
    return first, second


def choose_two(names: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Two different combinations, by their names; what differs in the backbone comes first, as most ask for that."""
    options = list(names)
    first = _pick("This", options, "this", width=250)
    others = sorted((name for name in options if name != first), key=lambda name: names[name][0] == names[first][0])
    return first, _pick("against", others, "against", width=250)


def rows_of(study: ChosenStudy, cell: Cell, test_set: str) -> pd.DataFrame:
    """The results of a cell on one test set, one row per seed, in the order of the seeds."""
    table = study.table
    here = (
        (table["backbone"] == cell.backbone) & (table["adaptation"] == cell.adaptation) & (table["size"] == cell.size)
    )
    return table[here & (table["test_set"] == test_set)].sort_values("seed", ignore_index=True)


def with_patient_intervals(study: ChosenStudy, table: pd.DataFrame, test_set: str, measure: str) -> pd.DataFrame:
    """Every combination and size in a part of the results, on one test set: backbone, adaptation, test_set, size, mean over
    the seeds, low, high: its 95 % interval when the tested patients (or sequences) are drawn again."""
    rows = []
    for keys, runs in table[table["test_set"] == test_set].groupby(["backbone", "adaptation", "size"], sort=True):
        part = resampled_runs(study.home, study.store, tuple(runs.sort_values("seed")["run"]), test_set, measure)
        rows.append((*keys[:2], test_set, int(keys[2]), *part.interval()))
    return pd.DataFrame(rows, columns=["backbone", "adaptation", "test_set", "size", "mean", "low", "high"])


def choose_seed(rows: pd.DataFrame) -> pd.Series:
    """One run of a cell, by its seed: its row of the results."""
    seeds = [str(seed) for seed in rows["seed"]]
    seed = _pick("Subset (seed)", seeds, "seed", width=140)
    return rows.iloc[seeds.index(seed)]


def size_label(scheme: str) -> str:
    """What a size is called above a widget."""
    return "Labelled images" if scheme == "images" else "Sequences per class"


def _pick(label: str, options: list[str], name: str, width: int = 200, first: int = 0) -> str:
    """A choice that always has a value; the address may name one that is gone, then it is the first."""
    chosen = links.choose(label, options, name, index=first, width=width)
    return chosen if chosen in options else options[first]
