"""The Launch page under the fetal study's presets: their settings reach the study, and what a field stands for is said."""

import pytest

from fmlab.runs.store import open_store
from tests.toys import halves


@pytest.mark.parametrize(
    ("mode", "adaptation", "changed", "hints"),
    [
        ("Fetal: probe", "linear_head", {"epochs": 10}, {"linear_head_epochs": "10"}),
        (
            "Fetal: finetuning",
            "finetune",
            {"recipe": "fetal", "augmentation": "recipe", "mixup": None},
            {"finetune_epochs": "200", "finetune_layer_decay": "0.65", "finetune_learning_rate": "0.0001"},
        ),
    ],
)
def test_what_the_preset_sets_is_launched(open_page, home, mode, adaptation, changed, hints):
    halves(home, patients=12)
    drawn = open_page("launch", dataset="halves", mode=mode, backbones="efficientnet-lite0")
    assert not drawn.exception
    assert {key: drawn.text_input(key=key).placeholder for key in hints} == hints
    next(each for each in drawn.button if each.label == "Launch the study").click().run()
    (study,) = open_store(home).studies()
    (asked,) = study.config["adaptations"]
    assert asked["kind"] == adaptation
    assert {name: asked[name] for name in changed} == changed
    assert (study.config["style"], study.config["sizes"], study.config["copies"]) == ("squash", ["all"], 0)
