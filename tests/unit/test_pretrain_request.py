"""What is asked to be pretrained: refused early where it cannot be, else named by what decides it.

Run: pytest tests/unit/test_pretrain_request.py
"""

import dataclasses
import shlex
import subprocess
import sys

import numpy as np
import pytest
import typer

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import CARD_FILE, find_backbone, weights_digest
from fmlab.cli import command_line
from fmlab.commands.pretrain import asked_in
from fmlab.data.manifest import remove_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput, BadWeights, NameTaken, NotFound
from fmlab.files import write_bytes
from fmlab.pretrain.configs import Pretraining, pretraining
from fmlab.pretrain.networks import start_of
from fmlab.pretrain.spelling import command_of, read_sources, title_of
from fmlab.runs.pretraining_request import pretrain_request, start_by_card
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from tests.toys import half_bright, halves

ANNA = Actor("anna", "test")
ASKED = {"method": "simclr", "sources": [{"dataset": "halves"}], "key": "ours", "batch": 8, "size": 32, "steps": 2}


def unlabelled(home, name="clips", images=20):
    rng = np.random.default_rng(11)
    with DatasetWriter(home, name) as writer:
        for number in range(images):
            writer.add(ImageRow(path=f"{number}.png", patient_id=f"q{number}"), half_bright("left", rng))
        return writer.finish(CardFacts("toy", title="Squares"), ())


# ------------------------------------------------------------------------------------------------------------ the run


def test_it_is_named_by_what_decides_it(home):
    halves(home)
    unlabelled(home)
    one = pretrain_request(home, ASKED)
    assert pretrain_request(home, ASKED).key == one.key
    assert one.title == "simclr · halves → ours"
    assert (one.config["dataset"], one.config["backbone"], one.config["labelled"]) == ("halves", "ours", "halves")
    assert one.config["start_digest"] is None
    assert pretraining(one.config["asked"]) == pretraining(ASKED)
    changes = [{"seed": 1}, {"key": "theirs"}, {"labelled": "halves"}, {"steps": 3}]
    changes += [{"sources": [{"dataset": "halves", "share": 0.8}]}, {"init": "random-vit-tiny"}]
    changes += [{"sources": [{"dataset": "halves"}, {"dataset": "clips"}]}]
    keys = {pretrain_request(home, ASKED | change).key for change in changes}
    assert len(keys | {one.key}) == len(changes) + 1
    remove_dataset(home, "halves")
    halves(home, patients=30)
    assert pretrain_request(home, ASKED).key != one.key


def test_its_start_is_named_by_its_weights(home):
    halves(home)
    card = find_backbone(home, "random-vit-tiny")
    request = pretrain_request(home, ASKED | {"init": card.key})
    assert request.config["start_digest"] == weights_digest(card, home)
    changed = card.model_copy(update={"key": "other", "seed": 5})
    write_bytes(home.backbones / "other" / CARD_FILE, changed.model_dump_json().encode())
    assert pretrain_request(home, ASKED | {"init": "other"}).config["start_digest"] == weights_digest(changed, home)


def test_features_are_tried_on_the_first_source_with_labels(home):
    unlabelled(home)
    halves(home)
    both = {"sources": [{"dataset": "clips"}, {"dataset": "halves"}]}
    assert pretrain_request(home, ASKED | both).config["labelled"] == "halves"
    alone = ASKED | {"sources": [{"dataset": "clips"}]}
    assert pretrain_request(home, alone).config["labelled"] is None
    other = pretrain_request(home, alone | {"labelled": "halves"})
    assert other.config["content_hashes"].keys() == {"clips", "halves"}
    with pytest.raises(BadInput, match="'clips' has no training images of two classes"):
        pretrain_request(home, ASKED | {"labelled": "clips"})


def test_page_and_command_queue_the_same_run(home):
    halves(home)
    store = open_store(home)
    title = title_of(pretraining(ASKED))
    run = request_run(store, "pretrain", pretraining(ASKED).plain, title, ANNA)
    assert (run.state, run.key) == ("queued", pretrain_request(home, ASKED).key)
    assert request_run(store, "pretrain", ASKED, title, ANNA).key == run.key
    assert len(store.runs()) == 1
    row = store.runs().iloc[0]
    assert (row["dataset"], row["backbone"], row["kind"]) == ("halves", "ours", "pretrain")
    assert [group.title for group in store.groups()] == ["simclr · halves → ours"]
    store.cancel([run.key], ANNA)
    assert request_run(store, "pretrain", ASKED, title, ANNA).state == "queued"  # taken up again


def test_a_key_that_a_queued_pretraining_will_use_is_taken(home):
    halves(home)
    store = open_store(home)
    first = request_run(store, "pretrain", ASKED, "first", ANNA)
    with pytest.raises(NameTaken, match="is under way"):
        pretrain_request(home, ASKED | {"seed": 1})
    store.cancel([first.key], ANNA)
    assert pretrain_request(home, ASKED | {"seed": 1}).key != first.key


def test_a_backbone_that_was_removed_is_made_again(home):
    halves(home)
    store = open_store(home)
    first = request_run(store, "pretrain", ASKED, "first", ANNA)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    queue.finish({first.key: {"key": "ours"}}, 1.0)
    again = request_run(store, "pretrain", ASKED, "again", ANNA)
    assert (again.state, again.group == first.group) == ("queued", False)
    assert request_run(store, "pretrain", ASKED, "again", ANNA).key == again.key
    assert store.run(first.key).state == "done"


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"key": "pixels-24"}, NameTaken, "exists already"),
        ({"key": "a/b"}, BadInput, "cannot name a backbone"),
        ({"sources": [{"dataset": "nothing"}]}, NotFound, "no dataset 'nothing'"),
        ({"labelled": "nothing"}, NotFound, "no dataset 'nothing'"),
        ({"sources": [{"dataset": "halves", "splits": ["trian"]}]}, BadInput, "trian"),
        ({"sources": [{"dataset": "halves", "splits": ["train", "T1"]}]}, BadInput, "--allow-test-patients"),
        ({"batch": 49}, BadInput, "48 images to learn from, fewer than one batch of 49"),
        ({"batch": 1}, BadInput, "batch"),
        ({"network": "vit-tiny", "size": 36}, BadInput, "no multiple of the patch of 16"),
        ({"network": "vit-tiny", "size": 28, "patch": 8}, BadInput, "try 32|try 24"),
        ({"method": "vicreg"}, BadInput, "method"),
        ({"koleo": 0.2}, BadInput, "koleo belong to dinov2"),
        ({"local_crops": 2}, BadInput, "no small crops"),
        ({"local_size": 32}, BadInput, "leave --local-size out"),
        ({"method": "mae", "network": "resnet18"}, BadInput, "hides patches"),
        ({"network": "resnet18", "registers": 4}, BadInput, "resnet18 has no registers"),
        ({"network": "vit-huge"}, BadInput, "vit-huge"),
        ({"epochs": 3}, BadInput, "epochs and steps each say how long"),
        ({"licence": " "}, BadInput, "licence is empty"),
        ({"init": "vit-nothing"}, NotFound, "no backbone"),
        ({"init": "pixels-24"}, BadInput, "pixels-24 is none"),
        ({"init": "random-resnet18"}, BadInput, "random-resnet18 is none"),
        ({"init": "ibot-vit-base"}, BadWeights, "not on this disk"),
        (
            {"init": "random-vit-tiny", "network": "vit-small", "patch": 16},
            BadInput,
            "--network, --patch cannot be chosen",
        ),
        ({"init": "random-vit-tiny", "size": 40}, BadInput, "no multiple of the patch of 16"),
    ],
)
def test_what_cannot_be_pretrained_is_refused_before_it_is_queued(home, change, error, says):
    halves(home)
    with pytest.raises(error, match=says) as refusal:
        request_run(open_store(home), "pretrain", ASKED | change, "x", ANNA)
    assert "\n" not in str(refusal.value)
    assert open_store(home).runs().empty


def test_test_patients_are_learnt_from_only_where_a_person_accepts_it(home):
    halves(home)
    tested = ASKED | {"sources": [{"dataset": "halves", "splits": ["train", "T1"]}]}
    assert pretrain_request(home, tested | {"allow_test_patients": True}).config["asked"]["allow_test_patients"]


@pytest.mark.parametrize(("key", "patch", "channels"), [("dinov2-vit-small", 14, 3), ("ultradino-vit-small", 16, 1)])
def test_a_card_tells_what_a_start_decides(home, key, patch, channels):
    """As far as checks before the queue need it; the worker asks the network itself."""
    card: BackboneCard = find_backbone(home, key)
    start = start_by_card(card, "digest")
    assert (start.patch, start.channels, len(start.mean)) == (patch, channels, channels)
    exact = start_of(card, "digest")
    assert dataclasses.replace(start, layer_scale=exact.layer_scale) == exact


def test_asking_imports_no_torch():
    code = (
        "import sys, fmlab.runs.requests, fmlab.commands.pretrain\n"
        "print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# ------------------------------------------------------------------------------------------------------------ spelling


def test_sources_are_read_as_they_are_written():
    assert read_sources(["a", "b:train"], [5]) == [
        {"dataset": "a", "splits": ["train", "val", "none"], "stride": 5, "share": 1.0},
        {"dataset": "b", "splits": ["train"], "stride": 5, "share": 1.0},
    ]
    assert [source["stride"] for source in read_sources(["a", "b"], [5, 1])] == [5, 1]
    assert read_sources(["a:train, T1"])[0]["splits"] == ["train", "T1"]
    for wrong in ("a:", ":train", "a:train,,val"):
        with pytest.raises(BadInput, match="--dataset is"):
            read_sources([wrong])
    with pytest.raises(BadInput, match="--stride is given 3 times for 2 datasets"):
        read_sources(["a", "b"], [1, 2, 3])


EVERYTHING = {
    "method": "dinov2", "key": "ours", "recipe": "fetal", "labelled": "a", "network": "vit-tiny", "patch": 8, "channels": 1,
    "registers": 2, "init": None, "size": 32, "local_size": 16, "local_crops": 3, "policy": "fetal", "flips": "both",
    "fit": "pad", "mask_sector": True, "epochs": None, "steps": None, "max_minutes": 0.5, "batch": 8,
    "learning_rate": 1.25e-5, "prototypes": 64, "centring": "sinkhorn", "koleo": 0.0, "precision": "fp32", "seed": 3,
    "thin": 6, "allow_test_patients": True, "licence": "only for 'us'",
    "sources": [
        {"dataset": "a", "splits": ["train"], "stride": 5, "share": 0.1},
        {"dataset": "b", "splits": ["train", "val", "none"], "stride": 1, "share": 0.25},
    ],
}  # fmt: skip


def read_command(line):
    """The `Pretraining` that the command line makes of a command."""
    _, name, *words = shlex.split(line)
    command = typer.main.get_command(command_line("pretrain")).commands[name]
    return asked_in(command.make_context(name, words).params)


@pytest.mark.parametrize("asked", [ASKED, EVERYTHING, EVERYTHING | {"max_minutes": None, "epochs": 4}])
def test_a_written_command_asks_for_the_same(asked):
    wanted = pretraining(asked)
    assert set(EVERYTHING) == set(Pretraining.model_fields)
    assert read_command(command_of(wanted)) == wanted
    fixed = read_command(command_of(wanted, steps=77))
    assert fixed == wanted.model_copy(update={"steps": 77, "epochs": None, "max_minutes": None})


def test_what_is_usual_is_not_written():
    wanted = pretraining({"method": "mae", "key": "ours", "sources": [{"dataset": "a b"}]})
    assert command_of(wanted, 9) == "fmlab pretrain mae --dataset 'a b' --key ours --steps 9"
