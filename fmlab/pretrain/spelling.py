"""How a pretraining is written as a command: the options of `fmlab pretrain`, read and written.

In: what a person typed after `--dataset`, `--stride` and `--share`; or a `Pretraining`. Out: sources; or the words of the
command that asks for exactly that.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from fmlab.errors import BadInput
from fmlab.pretrain.configs import Pretraining, Source

USUAL = Source(dataset="usual")  # whose splits, stride and share need not be written
ARGUMENTS = ("method", "sources")  # fields that are not written as an option of their name


def read_sources(
    datasets: Sequence[str], strides: Sequence[int] = (), shares: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Sources as `Pretraining` takes them, of `NAME` or `NAME:train,val` each.

    `strides` and `shares`: one for all, or one for each dataset in their order; `BadInput` for another number of them.
    """
    sources = []
    each_stride = _for_each("--stride", strides, len(datasets), USUAL.stride)
    each_share = _for_each("--share", shares, len(datasets), USUAL.share)
    for written, stride, share in zip(datasets, each_stride, each_share, strict=True):
        name, colon, listed = written.partition(":")
        splits = [split.strip() for split in listed.split(",")] if colon else list(USUAL.splits)
        if not all(splits) or not name:
            raise BadInput(f"--dataset is {written!r}; write NAME, or NAME:train,val with the splits to learn from.")
        sources.append({"dataset": name, "splits": splits, "stride": stride, "share": share})
    return sources


def _for_each(option: str, given: Sequence[Any], datasets: int, usual: Any) -> list[Any]:
    if len(given) in (0, 1):
        return list(given or [usual]) * datasets
    if len(given) != datasets:
        raise BadInput(
            f"{option} is given {len(given)} times for {datasets} datasets; give it once for all, or once for each."
        )
    return list(given)


def title_of(asked: Pretraining) -> str:
    """What lists of runs call a pretraining: method, datasets and the backbone that comes out."""
    return f"{asked.method} · {', '.join(source.dataset for source in asked.sources)} → {asked.key}"


def command_of(asked: Pretraining, steps: int | None = None) -> str:
    """The command that asks for this pretraining; with `steps`, for exactly so many instead of epochs or minutes."""
    if steps is not None:
        asked = asked.model_copy(update={"epochs": None, "max_minutes": None, "steps": steps})
    words = ["fmlab", "pretrain", asked.method, *_source_words(asked.sources)]
    for name, field in Pretraining.model_fields.items():
        value = getattr(asked, name)
        if name not in ARGUMENTS and value != field.default:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _source_words(sources: Sequence[Source]) -> list[str]:
    words = []
    for source in sources:
        splits = "" if source.splits == USUAL.splits else f":{','.join(source.splits)}"
        words += ["--dataset", source.dataset + splits]
    for option, values, usual in (
        ("--stride", [source.stride for source in sources], USUAL.stride),
        ("--share", [source.share for source in sources], USUAL.share),
    ):
        if set(values) != {usual}:
            given = values[:1] if len(set(values)) == 1 else values
            words += [word for value in given for word in (option, str(value))]
    return words
