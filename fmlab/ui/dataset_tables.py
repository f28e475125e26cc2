"""Tables and pictures of a dataset, at a cost that does not grow with its number of images.

In: a dataset. Out: small tables from its card; sample images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Card, Dataset
from fmlab.data.preprocessing import mask_outside
from fmlab.data.store import stored_images
from fmlab.ui.pictures import Tile, data_url


def split_order(card: Card) -> list[str]:
    """Train, val, then the test sets in alphabetical order, as far as they exist."""
    first = [name for name in (TRAIN, VALIDATION) if name in card.splits]
    return first + sorted(name for name in card.splits if name not in first)


def class_table(card: Card) -> pd.DataFrame:
    """One row per class: its images in each split, in all, and its share of the labelled ones in percent."""
    table = pd.DataFrame({"Class": list(card.classes)})
    for split in split_order(card):
        table[split] = [card.split_classes.get(split, {}).get(name, 0) for name in card.classes]
    total = [card.class_counts.get(name, 0) for name in card.classes]
    table["All"] = total
    table["Share"] = [100 * number / max(1, sum(total)) for number in total]
    return table


def sample_tiles(dataset: Dataset, split: str | None, per_class: int, outline: bool, masked: bool) -> list[Tile]:
    """Up to `per_class` images of each class, from different sequences, with the sector outlined or all else blacked out."""
    rows = dataset.first_rows(split, per_class)
    order = {name: place for place, name in enumerate(dataset.card.classes)}
    rows = rows.sort_values("label", key=lambda labels: labels.map(order), kind="stable", na_position="last")
    facts = image_facts(dataset, rows["image_id"].tolist())
    tiles = []
    for image_id in rows["image_id"]:
        pixels, fact = facts[image_id]
        sector = fact["sector"]
        shown = mask_outside(pixels, np.asarray(sector)) if masked and sector is not None else pixels
        tiles.append(
            Tile(
                key=image_id,
                url=data_url(shown, sector if outline else None),
                caption=fact["label"] or "unlabelled",
                detail=" · ".join(str(part) for part in (fact["split"], fact["site"]) if part),
            )
        )
    return tiles


def image_facts(dataset: Dataset, image_ids: Sequence[str]) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Pixels, uint8 (H, W) or (H, W, 3), and the manifest row of a few images."""
    rows = dataset.rows_of(image_ids, ["label", "split", "site", "sector", "path", "frame"])
    pixels = stored_images(dataset.folder / "store", image_ids)
    return {row["image_id"]: (pixels[row["image_id"]], row) for row in rows}
