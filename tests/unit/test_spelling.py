"""A study as words on a command line, and back. Run: pytest tests/unit/test_spelling.py"""

import json
import shlex

import pytest

from fmlab.errors import BadInput
from fmlab.runs.store import open_store
from fmlab.studies.configs import study_config
from fmlab.studies.presets import PRESETS, preset_config
from fmlab.studies.spelling import (
    command_line,
    read_adaptations,
    read_baselines,
    read_sizes,
    spelt_adaptations,
    spelt_baselines,
)
from tests.toys import halves

BASE = {"name": "first", "dataset": "halves", "backbones": ["pixels-24"], "scheme": "images", "sizes": [4, "all"]}


def config(**changes):
    return study_config(BASE | changes)


@pytest.mark.parametrize(
    "adaptations",
    [
        ["linear_svm", {"kind": "knn", "k": 3}],
        [{"kind": "finetune", "recipe": "quick", "learning_rate": 1e-4, "augment": True, "epochs": 3}],
        [{"kind": "lora", "rank": 4, "alpha": 2.0}, {"kind": "last_blocks", "blocks": 1, "precision": "bf16"}],
        [{"kind": "linear_head", "learning_rates": [0.1, 0.01], "average_pool": [True]}, "knn"],
        [{"kind": "zero_shot", "template": "a view: {label}, please", "prompts": {"left": ["so, it is left", "L"]}}],
    ],
)
def test_adaptations_come_back_from_their_words(adaptations):
    first = config(adaptations=adaptations)
    words = spelt_adaptations(first.adaptations)
    assert config(adaptations=read_adaptations(words)) == first


def test_what_is_simple_is_spelt_simply():
    first = config(adaptations=["linear_svm", {"kind": "finetune", "recipe": "quick", "batch": 16}])
    assert spelt_adaptations(first.adaptations) == "linear_svm,finetune:recipe=quick:batch=16"
    assert read_adaptations("finetune:learning_rate=1e-4:flip=true") == [
        {"kind": "finetune", "learning_rate": 1e-4, "flip": True}
    ]
    assert read_adaptations("[knn, {kind: knn, k: 5}]") == [{"kind": "knn"}, {"kind": "knn", "k": 5}]


def test_baselines_come_back_from_their_words():
    given = [
        {"backbone": "random-resnet50", "adaptation": "scratch"},
        {"backbone": "random-resnet18", "adaptation": {"kind": "scratch", "recipe": "quick"}, "seeds": 3},
    ]
    first = config(baselines=given)
    words = spelt_baselines(first.baselines)
    assert words == "random-resnet50:scratch,random-resnet18:scratch:recipe=quick:seeds=3"
    assert config(baselines=read_baselines(words)) == first
    assert spelt_baselines(()) == "none"
    assert read_baselines("none") == []


def test_sizes_are_read_as_people_write_them():
    assert read_sizes("1, 2 4;8") == [1, 2, 4, 8]
    assert read_sizes("256,all") == [256, "all"]
    for wrong in ("", "1, two", "-3", "1.5"):
        with pytest.raises(BadInput):
            read_sizes(wrong)


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (read_adaptations, "finetune:quick", "name=value"),
        (read_adaptations, "[{kind: knn", "neither names nor YAML"),
        (read_adaptations, "[!!python/object:os.system {}]", "neither names nor YAML"),
        (read_baselines, "random-resnet50", "random-resnet50:scratch"),
    ],
)
def test_words_that_say_nothing_are_refused(read, text, says):
    with pytest.raises(BadInput, match=says):
        read(text)


def launched(fmlab, home, words, monkeypatch):
    """The config that a command line launches; nothing is executed."""
    from fmlab.commands import study

    monkeypatch.setattr(study, "wait_for", lambda place, name: {})
    status, _, err = fmlab(*words[1:], "--json")
    assert status == 0, err
    store = open_store(home)
    return study_config(store.studies()[0].config)


@pytest.mark.parametrize("key", PRESETS)
def test_the_command_of_every_preset_launches_that_very_study(fmlab, home, monkeypatch, key):
    dataset = halves(home, patients=48)
    first = preset_config(home, key, dataset, "first", backbones=["random-vit-tiny"])
    assert launched(fmlab, home, shlex.split(command_line(first)), monkeypatch) == first


def test_the_command_of_a_study_put_together_by_hand_launches_that_very_study(fmlab, home, monkeypatch):
    halves(home)
    first = config(
        backbones=["random-vit-tiny", "pixels-24"],
        adaptations=["linear_svm", {"kind": "knn", "k": 3}],
        baselines=[{"backbone": "random-resnet18", "adaptation": {"kind": "scratch", "epochs": 2}, "seeds": 2}],
        copies=2,
        folds=3,
        seeds=2,
        style="paper",
        precision="bf16",
        mask_sector=True,
    )
    assert launched(fmlab, home, shlex.split(command_line(first)), monkeypatch) == first


def test_a_recipe_given_once_holds_for_all_that_trains(fmlab, home):
    halves(home)
    study = ("study", "run", "--dataset", "halves", "--backbones", "random-vit-tiny", "--scheme", "images")
    words = (*study, "--sizes", "all", "--seeds", 1, "--recipe", "quick", "--plan", "--json")
    status, out, _ = fmlab(*words, "--adaptations", "linear_svm,finetune")
    assert status == 0
    assert [row["work"] for row in json.loads(out)["backbones"]] == ["frozen", "finetune(recipe=quick)"]
    status, out, err = fmlab(*words, "--adaptations", "linear_svm")
    assert (status, out) == (2, "")
    assert "has none" in err
