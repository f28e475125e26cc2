"""Pretrainings compared on a page: what came out in words, accuracy against compute or data, differences, all numbers.

In: the home and its store; the choices in the address. Out: sentences, two figures, tables; how to fill a grid.
The page writes the heading above it.
"""

import shlex
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.data.manifest import open_dataset
from fmlab.errors import NotFound
from fmlab.plots.pretraining import Against, comparison_curve, method_looks
from fmlab.plots.pretraining_differences import floor_differences
from fmlab.plots.pretraining_wording import (
    HEALTHY,
    PROBE_NAMES,
    device_time,
    floor_rows,
    gap_text,
    method_name,
    row_names,
    told,
    verdict_words,
)
from fmlab.plots.wording import percent, percent_interval
from fmlab.pretrain.configs import METHOD_TITLES
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.pretraining_comparison import (
    FEW,
    PIXELS,
    RANDOM,
    START,
    Probe,
    comparison,
    paired_differences,
    probed_datasets,
    without_backbone,
)
from fmlab.ui import links
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.results_ranking import p_text
from fmlab.ui.theme import mode, show_figure

PROBES: dict[str, Probe] = {name.capitalize(): probe for probe, name in PROBE_NAMES.items()}
AXES: dict[str, Against] = {"Device time": "device_hours", "Images seen": "images_seen", "Data": "images"}
SECOND_NAMES = {PIXELS: "raw pixels", START: "its own start"}


def show_comparison(home: Home, store: Store) -> None:
    """The whole section; says how to fill it while nothing pretrained here was probed."""
    datasets = probed_datasets(home)
    if not datasets:
        empty_state(
            "Nothing to compare yet",
            "Backbones pretrained here appear here, against raw pixels and their own start, once they were probed on a "
            "labelled dataset.",
        )
        _show_command("DATASET")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        labelled = links.choose("Probed on", list(datasets), "compared_on", width=220) or next(iter(datasets))
        probe = PROBES[links.choose_segment("Probe", list(PROBES), "compared_by") or next(iter(PROBES))]
        against = AXES[links.choose_segment("Against", list(AXES), "compared_against") or next(iter(AXES))]
    with shown_errors():
        table = comparison(home, labelled)
        chosen = links.choose_several(
            "Backbones", table["key"].tolist(), "compared", placeholder=f"all {len(table)}", width="stretch"
        )
        _show_compared(home, labelled, table[table["key"].isin(chosen)] if chosen else table, probe, against)
    _show_without_backbone(store, labelled)
    _show_command(labelled)


def _show_compared(home: Home, labelled: str, table: pd.DataFrame, probe: Probe, against: Against) -> None:
    names, said = row_names(table), _said(home, labelled, table)
    answered = table.dropna(subset=[f"{probe}_low"])["key"].tolist()
    differences = paired_differences(home, labelled, answered, probe)
    words = told(table[table["key"].isin(answered)], differences, probe)
    if words is not None:
        st.markdown(f"**{escaped(words.headline)}** {escaped(words.compute)}")
        with st.expander("Each in words", expanded=len(words.backbones) <= FEW):
            _listed(words.backbones)
    left, right = st.columns([3, 2], gap="medium") if len(table) <= FEW else (st.container(), st.container())
    with left:
        show_figure(comparison_curve(table, against=against, probe=probe, mode=mode(), **said), key="compared_curve")
    with right:
        looks = method_looks(mode())
        colours = {key: looks[method] for key, method in zip(table["key"], table["method"], strict=True)}
        show_figure(floor_differences(differences, names, colours, mode=mode(), **said), key="compared_differences")
    st.caption(_how_to_read(table, differences))
    st.dataframe(
        shown_table(table, differences, probe),
        hide_index=True,
        key="compared_table",
        width="stretch",
        height="content",
    )
    for note, rows in table[table["notes"] != ""].groupby("notes", sort=False):
        st.caption(f"{escaped(', '.join(rows['key']))}: {escaped(str(note))}")
    if words is not None and words.pairs:
        with st.expander(f"One against another: {count(len(words.pairs), 'pair')}"):
            _listed(words.pairs)
            st.dataframe(shown_pairs(differences, names), hide_index=True, key="compared_pairs", width="stretch")


def _listed(lines: list[str]) -> None:
    st.markdown("\n".join(f"- {escaped(line)}" for line in lines))


def _said(home: Home, labelled: str, table: pd.DataFrame) -> dict[str, object]:
    """What both figures have to say."""
    leaking = table.loc[table["test_patients"], "key"].tolist()
    remarks = (f"learnt from images of test patients: {', '.join(leaking)}",) if leaking else ()
    try:
        synthetic = open_dataset(home, labelled).card.synthetic
    except NotFound:
        return {"synthetic": False, "remarks": (*remarks, f"{labelled} is no longer in this home")}
    return {"synthetic": synthetic, "remarks": remarks}


def _how_to_read(table: pd.DataFrame, differences: pd.DataFrame) -> str:
    chance = table["classes"].dropna()
    chance_words = f" Always naming one class reaches {percent(1 / chance.max())}." if len(chance) else ""
    hollow = " Hollow points: their health was not good." if (~table["health"].isin(HEALTHY)).any() else ""
    words = f"Bars are 95 % intervals over patients; points at one place stand side by side.{hollow}{chance_words}"
    if differences.empty:
        return f"{words} What the probes answered to each image was not kept, so nothing can be tested."
    first = differences.iloc[0]
    return (
        f"{words} The differences: each minus raw pixels and minus the weights it started from, on the "
        f"{first['images']:,} images of {first['n_groups']:,} {first['resampled']} that all were probed on; each resample "
        f"draws the same {first['resampled']} for both sides. “Better” means: the interval excludes zero and the p-value, "
        "corrected by Holm for all comparisons of its kind, is below 0.05. Everything else is a tie, and hollow there."
    )


def shown_table(table: pd.DataFrame, differences: pd.DataFrame, probe: Probe) -> pd.DataFrame:
    """One row per backbone as a person reads it, the highest first, then raw pixels and random weights."""
    rows = []
    for row in table.sort_values(probe, ascending=False, kind="stable").to_dict("records"):
        whole = {"Backbone": row["key"], "Method": method_name(row["method"])} | _accuracies(row)
        facts = {
            "Images": f"{row['images']:,}",
            "Seen": f"{row['images_seen']:,}",
            "Device time": f"{device_time(row['device_hours'])}, {row['device']}",
            "Network": row["network"] if row["start"] == RANDOM else f"{row['network']} from {row['start']}",
            "Health": row["health"] or "–",
        }
        rows.append(whole | _gaps(row["key"], differences) | facts)
    return pd.DataFrame([*rows, *({"Backbone": row["name"]} | _accuracies(row) for row in floor_rows(table))]).fillna(
        ""
    )


def _accuracies(row: dict[str, Any]) -> dict[str, str]:
    return {
        title.capitalize(): percent_interval(row[probe], row[f"{probe}_low"], row[f"{probe}_high"])
        for probe, title in PROBE_NAMES.items()
    }


def _gaps(key: str, differences: pd.DataFrame) -> dict[str, str]:
    """The cells that tell a backbone from raw pixels and from its own start."""
    cells = {}
    for second, title in SECOND_NAMES.items():
        found = differences[(differences["first"] == key) & (differences["second"] == second)].to_dict("records")
        cells[f"Points over {title}"] = f"{gap_text(found[0])}, {verdict_words(found[0])}" if found else "–"
    return cells


def shown_pairs(differences: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Every comparison as a person reads it."""
    rows = differences.to_dict("records")
    return pd.DataFrame(
        {
            "This": [names[row["first"]] for row in rows],
            "against": [SECOND_NAMES.get(row["second"]) or names[row["second"]] for row in rows],
            "Difference, points": [gap_text(row) for row in rows],
            "p, bootstrap": [p_text(row["p"]) for row in rows],
            "p, corrected (Holm)": [p_text(row["holm_p"]) for row in rows],
            "Verdict": [verdict_words(row) for row in rows],
        }
    )


def _show_without_backbone(store: Store, labelled: str) -> None:
    ended = without_backbone(store, labelled)
    if ended.empty:
        return
    lines = [
        f"- {escaped(row.key)} ({escaped(method_name(row.method))}), {row.state}: {escaped(row.reason)}"
        for row in ended.itertuples()
    ]
    st.markdown(
        f"**Left no backbone, and so are in no figure: {count(len(ended), 'pretraining')}**\n" + "\n".join(lines)
    )


def _show_command(labelled: str) -> None:
    command = ["fmlab", "pretrain-compare", "--methods", ",".join(METHOD_TITLES), "--dataset", labelled]
    with st.expander("Fill a grid: methods × data × compute"):
        st.code(
            shlex.join([*command, "--shares", "0.25,1", "--max-minutes", "10", "--prefix", labelled]), language="bash"
        )
        st.caption(
            "Every method on a quarter and on all of the patients, ten minutes each: equal compute. "
            "`--growing` gives smaller shares less time, `--steps` gives all the same number of batches."
        )
