"""Pretrainings compared, on the page and by the command. Run: pytest tests/pages/test_pretraining_comparison.py"""

import json

import pytest

from fmlab.pretrain.configs import pretraining
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.studies.pretraining_comparison import comparison, comparison_requests
from tests.pages.conftest import text_of
from tests.pages.made_pretrainings import LABELLED, asked_for, make_pretraining
from tests.pages.made_study import make_dataset


@pytest.fixture
def compared(home):
    """MAE beats raw pixels, SimSiam learned nothing, a second SimSiam collapsed; all on the simulated toy set."""
    make_dataset(home)
    make_pretraining(home, "gb-mae", "mae", right=(0.9, 0.5, 0.6))
    make_pretraining(home, "gb-simsiam", "simsiam", right=(0.5, 0.5, 0.6), health="stalled")
    store, by = open_store(home), Actor("anna", "test")
    asked = asked_for("gb-two", "simsiam")
    config = {"asked": asked.plain, "labelled": LABELLED, "backbone": asked.key, "dataset": LABELLED}
    store.cancel([store.request(RunRequest("pretrain", config, {"number": 2}, "g", "title"), by).key], by)
    return home


def table_of(page):
    return next(element.value for element in page.dataframe if "Points over raw pixels" in element.value)


def test_the_page_says_in_words_what_came_out(open_page, compared):
    page = open_page("pretraining", section="Compare")
    assert not page.exception
    text = text_of(page).replace("\\", "")
    assert "Highest by nearest neighbours: MAE" in text
    assert "1 of 2 (MAE) is better than raw pixels" in text
    assert "nothing learned that shows on these 60 patients" in text
    assert "Equal compute: 10 min each on cpu" in text
    assert "They differ in their networks, too." in text
    assert "Left no backbone, and so are in no figure: 1 pretraining" in text
    assert "gb-two (SimSiam), cancelled" in text
    assert len(page.get("plotly_chart")) == 2
    shown = table_of(page)
    assert shown["Backbone"].tolist() == [
        "gb-mae",
        "gb-simsiam",
        "raw pixels",
        "random weights, resnet18",
        "random weights, vit-tiny/16",
    ]
    assert shown["Points over raw pixels"].iloc[0].endswith("], better")
    assert shown["Points over its own start"].iloc[1] == "+0.0 [+0.0, +0.0], a tie"


def test_the_address_chooses_the_probe_and_the_backbones(open_page, compared):
    page = open_page("pretraining", section="Compare", compared_by="Linear probe", compared="gb-simsiam")
    text = text_of(page).replace("\\", "")
    assert "The only one by linear probe: SimSiam" in text
    assert "None is better than raw pixels, none is better than at the start." in text
    assert table_of(page)["Backbone"].tolist()[0] == "gb-simsiam"
    assert len(page.dataframe) == 1  # one backbone has no other to stand against


def test_a_backbone_that_learnt_from_test_patients_says_so_in_both_figures(open_page, compared):
    make_pretraining(compared, "gb-leak", "dinov2", allow_test_patients=True)
    page = open_page("pretraining", section="Compare")
    assert (
        sum("learnt from images of test patients: gb-leak" in chart.proto.spec for chart in page.get("plotly_chart"))
        == 2
    )
    assert "gb-leak: 3 test patients." in text_of(page).replace("\\", "")


def test_a_damaged_file_is_a_sentence_and_the_rest_of_the_section_stays(open_page, compared):
    path = compared.backbones / "gb-mae" / "pretraining.json"
    path.write_text("{")
    page = open_page("pretraining", section="Compare")
    assert not page.exception
    assert "pretraining.json is not readable JSON" in text_of(page).replace("\\", "")


def test_before_the_first_the_page_says_how_to_fill_a_grid(open_page, home):
    page = open_page("pretraining", section="Compare")
    assert not page.exception
    assert "Nothing to compare yet" in text_of(page)
    assert page.code[0].value.startswith("fmlab pretrain-compare --methods dinov2,mae,simsiam,simclr --dataset DATASET")


# The command ----------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_floors_the_methods_and_what_came_out(compared, fmlab):
    status, out, err = fmlab("pretrain-compare")
    assert status == 0
    assert "gb-mae" in out
    assert "random weights, vit-tiny/16" in out
    assert "MAE against raw pixels: +" in out
    assert "MAE against SimSiam, equal compute: +" in out
    assert "gb-two (SimSiam) left no backbone, cancelled" in err


def test_json_is_one_document_with_intervals_and_differences(compared, fmlab):
    status, out, _ = fmlab("pretrain-compare", "--labelled", LABELLED, "--prefix", "gb-m", "--json")
    document = json.loads(out)
    assert status == 0
    assert [row["key"] for row in document["comparison"]] == ["gb-mae"]
    assert {"knn", "knn_low", "knn_high", "pixels_knn", "start_linear"} <= set(document["comparison"][0])
    assert [row["second"] for row in document["differences"]["linear"]] == ["raw pixels", "its start"]
    assert document["sentences"]["knn"]["backbones"][0].startswith("MAE against raw pixels: +")
    assert document["failed"] == []


def test_a_grid_that_is_there_already_is_compared_and_not_pretrained_again(home, fmlab):
    base = pretraining(
        {"method": "mae", "sources": [{"dataset": LABELLED}], "key": "toy", "seed": 3, "max_minutes": None}
    )
    for asked in comparison_requests(["mae", "simclr"], [0.5, 1], [2.0], base):
        make_pretraining(home, asked.key, asked.method, share=asked.sources[0].share, seed=3, max_minutes=2.0)
    grid = ("--methods", "mae,simclr", "--dataset", LABELLED, "--shares", "0.5,1", "--max-minutes", "2", "--seed", "3")
    status, out, err = fmlab("pretrain-compare", *grid, "--prefix", "toy", "--json")
    assert status == 0
    assert "4 of 4 are there already." in err
    assert [row["key"] for row in json.loads(out)["comparison"]] == comparison(home, LABELLED)["key"].tolist()
    assert open_store(home).runs().empty


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--methods", "mae"], "A grid needs --dataset"),
        (["--methods", "mae", "--dataset", "toy", "--prefix", "a", "--shares", "half"], "--shares is 'half'"),
        (["--methods", "moco", "--dataset", "toy", "--prefix", "a"], "moco"),
        (["--methods", "mae", "--dataset", "nowhere", "--prefix", "a", "--steps", "2"], "nowhere"),
        (
            ["--methods", "mae", "--dataset", "toy", "--prefix", "a", "--steps", "2", "--max-minutes", "1"],
            "give one of them",
        ),
        (["--labelled", "nowhere"], "were probed on toy; got nowhere"),
    ],
)
def test_wrong_use_is_one_sentence(compared, fmlab, words, sentence):
    status, _, err = fmlab("pretrain-compare", *words)
    assert status == 2
    assert sentence in err
    assert "Traceback" not in err
