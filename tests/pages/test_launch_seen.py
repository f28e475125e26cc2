"""The Launch page and a backbone that was pretrained on what is tested: refused until the dataset's name is typed."""

from fmlab.runs.pretraining_guard import SEEN_COLUMNS, write_seen
from fmlab.runs.store import open_store
from tests.toys import halves
from tests.unit.test_seen import own_backbone, rows_of


def launch_button(drawn):
    return next(each for each in drawn.button if each.label == "Launch the study")


def test_a_backbone_that_has_seen_the_test_set_needs_the_dataset_s_name(open_page, home):
    dataset = halves(home, patients=12)
    own_backbone(home)
    write_seen(home, "own", rows_of(dataset, "T1")[SEEN_COLUMNS])
    drawn = open_page("launch", dataset="halves", backbones="own")
    assert "'own' was pretrained on 4 of the 4 test patients" in drawn.error[0].value.replace("\\", "")
    assert launch_button(drawn).disabled
    typed = drawn.text_input(key="allow_leaking_halves")
    assert typed.label.startswith("Pretrained on what is tested: own")
    drawn = typed.set_value("halves").run()
    assert not launch_button(drawn).disabled
    launch_button(drawn).click().run()
    (study,) = open_store(home).studies()
    assert "Pretrained on what is tested: own." in study.notes
