"""What a pretraining needs before it is queued: everything checked that can be checked without torch.

In: a home, and the options of a `Pretraining`. Out: a `RunRequest` of kind `pretrain`, named by what was asked, the
content of each dataset and the weights that are the start; or `BadInput`, before anything is queued or computed.

Its config: `asked` (as `Pretraining.plain`), `content_hashes` (dataset → hash, of the labelled one too), `labelled` (the
dataset whose labels the features are tried on, or null), `start_digest` (of the weights of `init`, or null); and
`dataset` and `backbone`, in words for lists of runs.
"""

import re
from collections.abc import Mapping
from typing import Any

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import catalogue, find_backbone, weights_digest
from fmlab.data.manifest import TRAIN, check_name, open_dataset
from fmlab.errors import BadInput, NameTaken, NotFound
from fmlab.files import digest_config
from fmlab.pretrain.configs import Pretraining, pretraining
from fmlab.pretrain.recipes import Start, pretrain_setting
from fmlab.pretrain.spelling import title_of
from fmlab.runs.pretraining_frames import frames_plan
from fmlab.runs.records import UNFINISHED, RunRequest
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home

KIND = "pretrain"
PATCH_IN_NAME = re.compile(r"patch(\d+)")
UNKNOWN_PATCH = 1  # pixels; every size is a multiple of it
DECIDED_BY_START = ("network", "patch", "channels", "registers")
OF_TRANSFORMERS = ("patch", "registers")


def pretrain_request(home: Home, config: Mapping[str, Any]) -> RunRequest:
    """The run of a pretraining; `config` as `Pretraining.plain`.

    Raises `BadInput` for what cannot be set up or cannot go together, for fewer images than a batch, and for test
    patients among them; `NotFound` for a dataset or backbone that is not there, `NameTaken` for a key in use,
    `BadWeights` where the start's weights are not on this disk.
    """
    asked = pretraining(config)
    check_key(home, asked.key)
    labelled = labelled_dataset(home, asked)
    plan = frames_plan(home, asked.sources)
    if plan.refusal and not asked.allow_test_patients:
        raise BadInput(plan.refusal)
    start = None if asked.init is None else _start(home, asked)
    _check_options(asked, start, plan.images)
    names = dict.fromkeys([*(source.dataset for source in asked.sources), *([labelled] if labelled else [])])
    hashes = {name: open_dataset(home, name).card.content_hash for name in names}
    address = {"asked": asked.plain, "content_hashes": hashes, "start_digest": start.digest if start else None}
    words = {"dataset": ", ".join(source.dataset for source in asked.sources), "backbone": asked.key}
    return _in_no_ones_way(open_store(home), words | address | {"labelled": labelled}, address, title_of(asked))


def check_key(home: Home, key: str) -> None:
    """Raise unless a new backbone can be called `key`."""
    check_name(key, "backbone")
    if key in catalogue(home):
        raise NameTaken(f"A backbone {key!r} exists already; choose another key.")


def labelled_dataset(home: Home, asked: Pretraining) -> str | None:
    """The dataset whose labels the features are tried on: as asked, else the first source with labels; None without."""
    for name in [asked.labelled] if asked.labelled else [source.dataset for source in asked.sources]:
        classes = open_dataset(home, name).card.split_classes.get(TRAIN, {})
        if sum(count > 0 for count in classes.values()) > 1:
            return name
    if asked.labelled:
        raise BadInput(
            f"Dataset {asked.labelled!r} has no training images of two classes, so features cannot be tried on it; "
            f"choose another with --labelled, or leave it out."
        )
    return None


def _start(home: Home, asked: Pretraining) -> Start:
    """What is known of a start from its card; `BadInput` for one that is no vision transformer with a class token."""
    given = [name for name in DECIDED_BY_START if getattr(asked, name) is not None]
    if given:
        raise BadInput(
            f"{', '.join(f'--{name}' for name in given)} cannot be chosen together with --init: the backbone that is the "
            f"start decides it. Leave one of them out."
        )
    card = find_backbone(home, str(asked.init))
    if card.architecture is None or not card.architecture.startswith("vit_") or "cls" not in card.features:
        raise BadInput(
            f"Pretraining goes on from vision transformers with a class token; {card.key} is none. "
            f"Choose another --init, or leave it out to begin with random weights."
        )
    return start_by_card(card, weights_digest(card, home))


def start_by_card(card: BackboneCard, digest: str) -> Start:
    """As `fmlab.pretrain.networks.start_of`, as far as a card tells it: enough for counting steps and checking sizes."""
    options = dict(card.options)
    named = PATCH_IN_NAME.search(str(card.architecture))
    channels = int(options.get("in_chans", 3))  # type: ignore[arg-type]
    return Start(
        key=card.key,
        digest=digest,
        architecture=str(card.architecture),
        options=options,
        norm_eps=card.norm_eps,
        patch=int(options.get("patch_size", named[1] if named else UNKNOWN_PATCH)),  # type: ignore[arg-type]
        channels=channels,
        registers=int(options.get("reg_tokens", 0)),  # type: ignore[arg-type]
        layer_scale=options.get("init_values"),  # type: ignore[arg-type]
        mean=card.spec.mean[:channels],
        std=card.spec.std[:channels],
    )


def _check_options(asked: Pretraining, start: Start | None, images: int) -> None:
    """`BadInput` for options that do not fit each other, the method, or so many images."""
    setting = pretrain_setting(asked, images, "cpu", start)
    given = [name for name in OF_TRANSFORMERS if getattr(asked, name) is not None]
    if setting.convolutional and given:
        raise BadInput(f"A {setting.network} has no {' and no '.join(given)}; leave that out, or choose a vit.")
    if asked.local_size is not None and not setting.local_crops:
        raise BadInput("There are no small crops here, so they have no size; leave --local-size out.")
    if asked.licence is not None and not asked.licence.strip():
        raise BadInput("The licence is empty; name one, or leave it out.")


def _in_no_ones_way(store: Store, config: dict[str, Any], address: dict[str, Any], title: str) -> RunRequest:
    """The request; `NameTaken` where another pretraining that is not over will make a backbone of its key.

    One that is done and whose backbone was removed since is made again, as another run.
    """
    request = _request(config, address, title)
    again = 1
    while _done(store, request.key):
        again += 1
        request = _request(config, address | {"again": again}, title)
    runs = store.runs()
    rivals = runs[(runs["kind"] == KIND) & (runs["backbone"] == config["backbone"]) & runs["state"].isin(UNFINISHED)]
    others = [key for key in rivals["key"] if key != request.key]
    if others:
        raise NameTaken(
            f"Another pretraining that makes a backbone {config['backbone']!r} is under way (run {others[0][:12]}); "
            f"choose another key, or cancel that one."
        )
    return request


def _request(config: dict[str, Any], address: dict[str, Any], title: str) -> RunRequest:
    return RunRequest(
        kind=KIND, config=config, address=address, group=digest_config(f"group {KIND}", address), title=title
    )


def _done(store: Store, key: str) -> bool:
    try:
        return store.run(key).state == "done"
    except NotFound:
        return False
