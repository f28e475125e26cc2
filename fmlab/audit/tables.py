"""The part of the audit that needs no pixels: what the manifest and the card alone give away.

In: a dataset. Out: an `Audit`; of a million rows in about a second.

Checks: patients and sequences on both sides of the split; the same picture on both sides; classes without an image in a
test set or in train; sites that train and are tested; sequences with more than one label; one picture under two labels;
missing labels; unreadable files.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fmlab.audit.report import ROWS_KEPT, Audit, Check, Row, counted, listed, made
from fmlab.data.manifest import TRAIN, VALIDATION, Dataset, content_codes, manifest_file
from fmlab.data.store import stored_images

COLUMNS = ["label", "sequence_id", "site", "split", "content_hash"]
BLANKS_LOOKED_AT = 256  # pictures on both sides of the split that are looked at, because a blank one proves nothing


def audit_tables(dataset: Dataset) -> Audit:
    """Every check that needs no pixels."""
    with manifest_file(dataset.folder) as file:
        table = file.read(columns=COLUMNS)
    table = table.filter(pc.is_valid(table["split"]))
    codes = pa.array(content_codes(table["content_hash"]))
    table = table.drop_columns(["content_hash"]).append_column("content", codes)
    checks: tuple[Callable[[Dataset, pa.Table], Check], ...] = (
        _groups,
        _identical,
        _absent_classes,
        _shared_sites,
        _mixed_sequences,
        _two_labels,
        _unlabelled,
        _unreadable,
    )
    return Audit(tuple(check(dataset, table) for check in checks))


def _groups(dataset: Dataset, table: pa.Table) -> Check:
    title = "Patients and sequences on one side of the split"
    card = dataset.card
    if not card.leaking:
        known = card.patients is not None
        who = f"{counted(card.patients or 0, 'patient')} and " if known else "Patients are unknown; "
        what = f"{who}{counted(card.sequences, 'sequence')} stand on one side each."
        return made("groups", "fine", title, what)
    sentence = (
        f"{listed(card.leaking)} stand{'s' if card.leaking_count == 1 else ''} on both sides of the split: "
        "a model would be tested on what it has learnt from."
    )
    return made("groups", "leak", title, sentence, _sides_of(dataset, card.leaking), card.leaking_count)


def _sides_of(dataset: Dataset, names: Sequence[str]) -> list[Row]:
    """Each leaking patient or sequence with its number of images in each split."""
    rows: list[Row] = []
    for column, what in (("patient_id", "patient"), ("sequence_id", "sequence")):
        wanted = [name.removeprefix(f"{what} ") for name in names if name.startswith(f"{what} ")]
        if not wanted:
            continue
        found = pq.read_table(
            dataset.folder / "manifest.parquet",
            columns=[column, "split"],
            filters=pc.field(column).isin(wanted) & pc.field("split").is_valid(),
        ).to_pandas()
        counts = found.groupby([column, "split"]).size().unstack(fill_value=0)
        rows += [
            {"group": f"{what} {name}", **{str(split): int(n) for split, n in each.items()}}
            for name, each in counts.iterrows()
        ]
    return rows


def _identical(dataset: Dataset, table: pa.Table) -> Check:
    title = "Each picture on one side of the split"
    found = _groups_of_equals(table["content"].to_numpy(), _sides(table["split"]))
    paths = _paths(dataset, table, [place for group in found[:BLANKS_LOOKED_AT] for place in group])
    blank = _blank(dataset, paths["image_id"].tolist()[::2])
    rows = [row for position, row in enumerate(_pairs(paths)) if not blank[position]]
    count = len(found) - sum(blank)
    if not count:
        return made("identical", "fine", title, "No picture stands pixel for pixel on both sides.")
    sentence = (
        f"{counted(count, 'picture stands', 'pictures stand')} pixel for pixel in train and in a test set, or val."
    )
    return made("identical", "leak", title, sentence, rows, count)


def _sides(splits: pa.ChunkedArray) -> np.ndarray:
    """Train 0, val 1, every test set 2: a picture in two test sets flatters nobody. (N,) int64."""
    return sides_of(splits.to_pandas())


def sides_of(splits: pd.Series) -> np.ndarray:
    """Train 0, val 1, every test set 2, (N,) int64."""
    return np.where(splits == TRAIN, 0, np.where(splits == VALIDATION, 1, 2)).astype(np.int64)


def _groups_of_equals(codes: np.ndarray, values: np.ndarray) -> list[tuple[int, int]]:
    """For each code that carries two values, the positions of a row with the lowest and of one with the highest."""
    order = np.lexsort((values, codes))
    starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0]) if len(codes) else np.zeros(0, np.int64)
    first, last = order[starts], order[np.r_[starts[1:], len(order)] - 1] if len(starts) else order
    differ = values[first] != values[last]
    return list(zip(first[differ].tolist(), last[differ].tolist(), strict=True))


def _paths(dataset: Dataset, table: pa.Table, positions: Sequence[int]) -> pd.DataFrame:
    """image_id, path, frame, split and label of rows of the readable part of the manifest, in the order given."""
    columns = ["image_id", "path", "frame", "split", "label"]
    if not positions:
        return pd.DataFrame(columns=columns)
    with manifest_file(dataset.folder) as file:
        whole = file.read(columns=columns)
    whole = whole.filter(pc.is_valid(whole["split"]))
    return whole.take(pa.array(positions)).to_pandas()


def _pairs(paths: pd.DataFrame) -> list[Row]:
    named = [image_name(path, frame) for path, frame in zip(paths["path"], paths["frame"], strict=True)]
    splits, labels = paths["split"].tolist(), paths["label"].tolist()
    return [
        {"first": named[i], "first_split": splits[i], "first_label": labels[i],
         "second": named[i + 1], "second_split": splits[i + 1], "second_label": labels[i + 1]}
        for i in range(0, len(named), 2)
    ]  # fmt: skip


def image_name(path: str, frame: int) -> str:
    """A picture in words: its path, and which frame of it."""
    return f"{path} frame {frame}" if frame else str(path)


def _blank(dataset: Dataset, image_ids: Sequence[str]) -> list[bool]:
    """Which pictures are of one grey all over: two of them are equal and yet say nothing about who is on them."""
    if not image_ids:
        return []
    pixels = stored_images(dataset.folder / "store", image_ids)
    return [bool((pixels[image_id] == pixels[image_id].flat[0]).all()) for image_id in image_ids]


def _absent_classes(dataset: Dataset, table: pa.Table) -> Check:
    title = "Every class in train and in every test set"
    card = dataset.card
    if not card.classes:
        return made("absent_classes", "skipped", title, "No image has a label.")
    wanted = [TRAIN, *dataset.test_sets]
    rows: list[Row] = [
        {"split": split, "class": name}
        for split in wanted
        for name in card.classes
        if not card.split_classes.get(split, {}).get(name, 0)
    ]
    if not dataset.test_sets:
        sentence = "There is no test set: a study cross-validates by patient."
        return made("absent_classes", "note", title, sentence)
    if not rows:
        return made("absent_classes", "fine", title, f"All {len(card.classes)} classes stand in all of them.")
    parts = []
    for split in dict.fromkeys(str(row["split"]) for row in rows):
        lacking = listed((str(row["class"]) for row in rows if row["split"] == split), 12)
        parts.append(f"{split} holds no image of {lacking}")
    untaught = " What train lacks is never recognised." if any(row["split"] == TRAIN for row in rows) else ""
    sentence = f"{'; '.join(parts)}. Averages over classes leave these out there.{untaught}"
    return made("absent_classes", "warning", title, sentence, rows)


def _shared_sites(dataset: Dataset, table: pa.Table) -> Check:
    title = "Test sets from sites of their own"
    pairs = table.select(["site", "split"]).group_by(["site", "split"]).aggregate([([], "count_all")]).to_pylist()
    known = [pair for pair in pairs if pair["site"] is not None]
    if not known or not dataset.test_sets:
        why = "No site is known" if dataset.test_sets else "There is no test set"
        return made("sites", "skipped", title, f"{why}, so nothing can be said about sites.")
    learnt = {pair["site"] for pair in known if pair["split"] in (TRAIN, VALIDATION)}
    rows: list[Row] = [
        {"test_set": pair["split"], "site": pair["site"], "images": pair["count_all"]}
        for pair in sorted(known, key=lambda pair: (pair["split"], pair["site"]))
        if pair["split"] not in (TRAIN, VALIDATION) and pair["site"] in learnt
    ]
    if not rows:
        return made("sites", "fine", title, "No test set holds an image of a site that trains.")
    sets = listed(dict.fromkeys(str(row["test_set"]) for row in rows))
    sites = listed(dict.fromkeys(str(row["site"]) for row in rows))
    sentence = (
        f"{sets} and train share {sites}: accuracy there is that on new patients, not on a new hospital or scanner."
    )
    return made("sites", "note", title, sentence, rows)


def _mixed_sequences(dataset: Dataset, table: pa.Table) -> Check:
    title = "One label in a sequence"
    labelled = table.filter(pc.is_valid(table["label"]))
    sequences, labels = _codes(labelled["sequence_id"]), _codes(labelled["label"])
    combined = pd.unique(sequences * (labels.max(initial=0) + 1) + labels)
    owners = combined // (labels.max(initial=0) + 1)
    per_sequence = np.bincount(owners, minlength=sequences.max(initial=-1) + 1)
    if len(sequences) == len(per_sequence):
        return made("mixed_sequences", "skipped", title, "Every image is a sequence of its own.")
    mixed = np.flatnonzero(per_sequence > 1)
    if not len(mixed):
        return made("mixed_sequences", "fine", title, f"All {len(per_sequence):,} sequences have one label each.")
    inside = labelled.filter(pa.array(np.isin(sequences, mixed[:ROWS_KEPT])))
    counts = inside.select(["sequence_id", "label"]).to_pandas().value_counts(sort=False)
    rows: list[Row] = [
        {"sequence": str(name), "labels": ", ".join(f"{label} {n}" for label, n in part.droplevel(0).items())}
        for name, part in counts.groupby(level=0, sort=False)
    ]
    sentence = (
        f"{len(mixed):,} of {counted(len(per_sequence), 'sequence')} carry more than one label, {rows[0]['sequence']} "
        f"for one ({rows[0]['labels']}). Either the view changes in them, or labels are wrong; look at them before "
        "trusting accuracy per sequence."
    )
    return made("mixed_sequences", "warning", title, sentence, rows, len(mixed))


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each distinct text, (N,) int64."""
    whole = pc.dictionary_encode(column.combine_chunks())
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _two_labels(dataset: Dataset, table: pa.Table) -> Check:
    title = "One label for one picture"
    labelled = np.flatnonzero(pc.is_valid(table["label"]).to_numpy(zero_copy_only=False))
    chosen = table.select(["content", "label"]).filter(pc.is_valid(table["label"]))
    found = _groups_of_equals(chosen["content"].to_numpy(), _codes(chosen["label"]))
    if not found:
        return made("two_labels", "fine", title, "No picture stands twice under different labels.")
    rows = _pairs(_paths(dataset, table, [int(labelled[place]) for pair in found[:ROWS_KEPT] for place in pair]))
    sentence = (
        f"{counted(len(found), 'picture stands', 'pictures stand')} pixel for pixel under different labels, "
        f"{rows[0]['first']} ({rows[0]['first_label']}) and {rows[0]['second']} ({rows[0]['second_label']}) for one."
    )
    return made("two_labels", "warning", title, sentence, rows, len(found))


def _unlabelled(dataset: Dataset, table: pa.Table) -> Check:
    title = "A label for every image"
    count = table["label"].null_count
    if not count:
        return made("unlabelled", "fine", title, "Every readable image has a label.")
    positions = np.flatnonzero(pc.is_null(table["label"]).to_numpy(zero_copy_only=False))[:ROWS_KEPT]
    paths = _paths(dataset, table, positions.tolist())
    rows: list[Row] = [
        {"image": image_name(path, frame), "split": split}
        for path, frame, split in zip(paths["path"], paths["frame"], paths["split"], strict=True)
    ]
    sentence = f"{counted(count, 'image has', 'images have')} no label; studies leave them out."
    return made("unlabelled", "note" if dataset.card.class_counts else "warning", title, sentence, rows, count)


def _unreadable(dataset: Dataset, table: pa.Table) -> Check:
    title = "Every file can be read"
    count = dataset.card.unreadable
    if not count:
        return made("unreadable", "fine", title, f"All {counted(dataset.card.images, 'image')} were read.")
    found = pq.read_table(
        dataset.folder / "manifest.parquet",
        columns=["path", "frame", "problem"],
        filters=pc.field("problem").is_valid(),
    ).slice(0, ROWS_KEPT)
    rows = [{"image": image_name(row["path"], row["frame"]), "reason": row["problem"]} for row in found.to_pylist()]
    sentence = f"{counted(count, 'image could', 'images could')} not be read and stand in no split."
    return made("unreadable", "warning", title, sentence, rows, count)
