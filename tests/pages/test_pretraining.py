"""The Pretraining page on empty, full and broken homes. Run: pytest tests/pages/test_pretraining.py"""

from pathlib import Path

import numpy as np
import pytest

from fmlab.backbones.rows import BUILT_IN
from fmlab.data.manifest import open_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.pretrain.configs import pretraining
from fmlab.runs.store import open_store
from fmlab.ui.pretraining_form import split_words, splits_of
from fmlab.ui.pretraining_pictures import spread
from fmlab.ui.pretraining_plan import guessed_speed, left_out, pretrain_plan
from fmlab.ui.pretraining_watch import run_name
from tests.pages.conftest import text_of
from tests.pages.made_pretraining import (
    COLLAPSED,
    STALLED,
    asked_for,
    at_work,
    finished,
    make_pretraining,
)
from tests.pages.made_study import make_dataset

SMALL = {"batch": "8"}  # the toy dataset has 36 training images


def metrics_of(drawn):
    return {metric.label: metric.value for metric in drawn.metric}


def button(drawn, label):
    return next(each for each in drawn.button if each.label == label)


def write_card(home, key):
    card = next(card for card in BUILT_IN if card.layout == "random")
    (home.backbones / key / "card.json").write_text(card.model_copy(update={"key": key}).model_dump_json())


# ----------------------------------------------------------------------------------------------------------- the states


def test_an_empty_home_says_what_to_do_next(open_page):
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert "No images to learn from yet" in text_of(drawn)


@pytest.mark.parametrize("section", ["Watch", "Compare"])
def test_sections_without_anything_say_so(open_page, home, section):
    make_dataset(home)
    drawn = open_page("pretraining", section=section)
    assert not drawn.exception
    assert "yet" in text_of(drawn)


def test_a_broken_store_is_one_message(open_page, home):
    make_dataset(home)
    make_pretraining(home)
    for file in home.path.glob("fmlab.db*"):
        file.write_bytes(b"this is not a database" * 1000)
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert len(drawn.error) == 1
    assert "fmlab" in drawn.error[0].value


@pytest.mark.parametrize("file", ["health.json", "pictures/step-00000400.npz"])
def test_a_damaged_file_of_a_run_is_a_message_beside_the_rest(open_page, home, file):
    make_dataset(home)
    made = at_work(home)
    (made.folder / file).write_bytes(b"{ not what it was")
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert any(Path(file).stem in error.value.replace("\\", "") for error in drawn.error)
    assert len(drawn.error) == 1
    assert len(drawn.get("plotly_chart")) == 3


# ------------------------------------------------------------------------------------------------------------- the plan


def test_the_plan_stands_before_the_button(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining", **SMALL, length="Steps", steps="90")
    assert not drawn.exception
    assert not drawn.error
    shown = metrics_of(drawn)
    assert shown["Images"] == "36"
    assert shown["Steps"] == "90"
    assert shown["Each image seen"] == "20×"  # 90 steps of 8 images over 36
    assert shown["Disk"] == "197 kB"  # 36 squares of 74 pixels, one byte each
    assert "Time, guessed" in shown
    assert not button(drawn, "Start pretraining").disabled
    assert "fmlab pretrain simclr --dataset toy --key simclr-toy" in drawn.code[0].value


def test_a_measured_speed_replaces_the_guess(open_page, home):
    make_dataset(home)
    open_store(home).measure("cpu", "resnet18", "pretrain_images_per_second:simclr:resnet18:64", 72.0)
    drawn = open_page("pretraining", **SMALL, length="Steps", steps="90")
    shown = metrics_of(drawn)
    assert shown["Images/s"] == "72"
    assert shown["Time"] == "10 s"  # 90 · 8 / 72


def test_fewer_images_than_a_batch_are_refused_in_a_sentence(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert "fewer than one batch of 128" in drawn.error[0].value
    assert not [each for each in drawn.button if each.label == "Start pretraining"]


def test_test_patients_are_refused_unless_a_person_accepts_them(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining", **SMALL)
    drawn.pills(key="splits_toy").set_value(["train", "T1"]).run()
    assert "T1" in drawn.error[0].value
    assert "accept it below" in drawn.error[0].value
    assert button(drawn, "Start pretraining").disabled
    drawn.checkbox(key="allow_test_patients").check().run()
    assert not button(drawn, "Start pretraining").disabled
    assert "--allow-test-patients" in drawn.code[0].value


def test_a_name_in_use_is_not_offered_and_not_taken(open_page, home):
    make_dataset(home)
    make_pretraining(home, key="simclr-toy")
    drawn = open_page("pretraining", section="New", **SMALL)
    name = next(each for each in drawn.text_input if each.label == "Name of the new backbone")
    assert name.value == "simclr-toy-2"
    name.set_value("simclr-toy").run()
    assert "exists already" in drawn.error[0].value


def test_the_address_holds_the_choices(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining", method="MAE", recipe="Small", network="vit-small", size="64", batch="8")
    assert "vit\\-small" in text_of(drawn)
    assert "1 crop of 64 pixels, batch 8" in text_of(drawn)
    assert not [each for each in drawn.number_input if each.label == "Prototypes"]  # DINOv2's alone


def test_a_convolutional_network_is_not_asked_for_patches(open_page, home):
    make_dataset(home)
    fields = {}
    for network in ("resnet18", "vit-tiny"):
        drawn = open_page("pretraining", method="SimCLR", network=network, batch="8")
        assert not drawn.error
        fields[network] = {each.label for each in (*drawn.selectbox, *drawn.number_input)}
    assert fields["vit-tiny"] - fields["resnet18"] == {"Patch, pixels", "Registers"}


def test_the_button_queues_what_was_shown_and_turns_to_it(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining", method="SimCLR", batch="8", length="Minutes", minutes="2")
    button(drawn, "Start pretraining").click().run()
    assert not drawn.exception
    assert not drawn.error
    store = open_store(home)
    run = store.run(store.runs()["key"].iloc[0])
    assert (run.kind, run.state) == ("pretrain", "queued")
    asked = pretraining(run.config["asked"])
    assert (asked.method, asked.batch, asked.max_minutes, asked.labelled) == ("simclr", 8, 2.0, "toy")
    assert asked.sources[0].splits == ("train", "val", "none")
    assert "waits for its turn" in text_of(drawn)
    assert drawn.session_state["run"] == run_name(run)


def test_choices_outlive_a_look_at_another_section(open_page, home):
    make_dataset(home)
    drawn = open_page("pretraining", **SMALL)
    drawn.segmented_control(key="method").set_value("mae").run()
    drawn.segmented_control(key="section").set_value("Watch").run()
    drawn.segmented_control(key="section").set_value("New").run()
    assert drawn.segmented_control(key="method").value == "mae"
    assert next(each for each in drawn.number_input if each.label == "Batch").value == 8


def test_without_labels_the_page_says_what_stays_open(open_page, home):
    writer = DatasetWriter(home, "bare")
    for number in range(12):
        pixels = np.full((30, 40), 10 * number, np.uint8)
        writer.add(ImageRow(path=f"{number}.png", sequence_id=str(number), split="train"), pixels)
    writer.finish(CardFacts("toy", title="Bare"))
    drawn = open_page("pretraining", **SMALL)
    assert "what the features are good for stays open" in text_of(drawn)
    assert not drawn.error


# ------------------------------------------------------------------------------------------------------------ the watch


def test_a_run_at_work_shows_health_curves_and_pictures(open_page, home):
    make_dataset(home)
    made = at_work(home, until=240)
    made.queue.progress(made.store.run(made.key).group, 240, 400, "pretraining: loss 2.713", 41.0, 620.0)
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert not drawn.error
    assert "Healthy" in drawn.success[0].value
    assert len(drawn.get("plotly_chart")) == 3  # probes, loss, signals
    shown = metrics_of(drawn)
    assert shown["kNN, balanced"] == "60.6 %"
    assert shown["Images seen"] == "7,680"
    assert "What it sees" in text_of(drawn)
    assert "about 10 min left" in next(iter(drawn.get("progress"))).proto.text.replace("\\", "")
    assert button(drawn, "Cancel")
    button(drawn, "Cancel").click().run()
    assert made.queue.asked_to_cancel(made.store.run(made.key).group) == {made.key}


def test_a_stall_is_told_in_plain_words(open_page, home):
    make_dataset(home)
    at_work(home, STALLED)
    drawn = open_page("pretraining")
    assert "Learnt nothing that labels can show" in drawn.warning[0].value
    assert "Put plainly" in drawn.warning[0].value
    assert "--method" not in drawn.warning[0].value.replace("\\", "")


def test_a_collapse_says_which_number_told_it_and_offers_no_way_on(open_page, home):
    make_dataset(home)
    made = at_work(home, COLLAPSED, until=240)
    made.queue.end([made.key], "failed", COLLAPSED["sentence"])
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert sum("mean entropy 0" in error.value for error in drawn.error) == 1
    assert "no backbone was kept" in drawn.error[0].value
    assert not [each for each in drawn.button if each.label == "Go on"]


def test_a_cancelled_run_goes_on(open_page, home):
    make_dataset(home)
    made = at_work(home, until=160)
    made.queue.end([made.key], "cancelled", "Cancelled by tester.")
    drawn = open_page("pretraining", run=made.key)
    button(drawn, "Go on").click().run()
    assert made.store.run(made.key).state == "queued"


def test_before_the_first_step_the_page_says_so(open_page, home):
    make_dataset(home)
    made = make_pretraining(home)
    made.queue.acquire()
    made.queue.claim("cpu")
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert "No step has been made yet" in text_of(drawn)


def test_an_address_with_a_runs_key_opens_that_run(open_page, home):
    make_dataset(home)
    first = at_work(home, method="mae", key="first")
    first.queue.end([first.key], "cancelled", "Cancelled by tester.")
    first.queue.release()
    make_pretraining(home, key="second")
    drawn = open_page("pretraining", section="Watch", run=first.key)
    assert "MAE" in text_of(drawn)
    assert drawn.selectbox(key="run").value.startswith("first · ")


def test_learning_from_test_patients_stands_beside_the_run(open_page, home):
    make_dataset(home)
    at_work(home, allow_test_patients=True)
    drawn = open_page("pretraining")
    assert any("test patients" in warning.value for warning in drawn.warning)


# ----------------------------------------------------------------------------------------------------------- the result


def test_a_finished_run_leads_on_to_a_study(open_page, home):
    make_dataset(home)
    finished(home)
    write_card(home, "mine")
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert not drawn.error
    said = text_of(drawn)
    assert "| kNN | 52.0 % | 45.0 % (38–52) | 71.0 % (64–78) |" in said
    assert "| Took | 27 min on cpu, 0.44 device-hours |" in said
    assert "| Learnt from | toy: train, 36 images |" in said
    assert drawn.code[0].value == "fmlab pretrain dinov2 --dataset toy:train --key mine --steps 400"
    links = {link.proto.label: link.proto for link in drawn.get("page_link")}
    assert "Use it in a study" in links
    assert "backbones=mine" in links["Use it in a study"].query_string


def test_raw_pixels_that_do_as_well_are_named(open_page, home):
    make_dataset(home)
    finished(home, STALLED)
    write_card(home, "mine")
    drawn = open_page("pretraining")
    assert any("Raw pixels" in warning.value for warning in drawn.warning)


def test_a_backbone_that_was_removed_leaves_its_curves(open_page, home):
    make_dataset(home)
    finished(home)
    (home.backbones / "mine" / "pretraining.json").unlink()
    drawn = open_page("pretraining")
    assert not drawn.exception
    assert "no longer in this home" in drawn.info[0].value
    assert len(drawn.get("plotly_chart")) == 3


# ------------------------------------------------------------------------------------------------------- what is counted


def test_the_disk_and_the_steps_of_a_plan(home):
    make_dataset(home)
    plan = pretrain_plan(home, open_store(home), pretraining(asked_for(home, method="mae", channels=3, batch=8)))
    assert plan.disk_bytes == 36 * 74 * 74 * 3
    assert plan.steps == 400
    assert not plan.measured


def test_minutes_give_as_many_steps_as_fit(home):
    make_dataset(home)
    store = open_store(home)
    store.measure("cpu", "vit-tiny", "pretrain_images_per_second:mae:vit-tiny:64", 80.0)
    asked = pretraining(asked_for(home, method="mae", batch=8, steps=None, max_minutes=2.0))
    plan = pretrain_plan(home, store, asked)
    assert (plan.steps, plan.seconds) == (1200, 120.0)  # 80 images a second for 120 seconds, 8 at a time


def test_dinov2_is_guessed_slower_than_mae(home):
    make_dataset(home)
    speeds = []
    for method in ("dinov2", "simclr", "mae"):
        plan = pretrain_plan(
            home, open_store(home), pretraining(asked_for(home, method=method, network="vit-tiny", batch=8))
        )
        speeds.append(guessed_speed(home, plan.setting, "cpu"))
    assert speeds == sorted(speeds)
    assert 5 < speeds[0] < 100  # images of 64 pixels a second on a processor


def test_what_is_left_out_is_counted(home):
    make_dataset(home)
    source = {"dataset": "toy", "splits": ["train"], "stride": 3}
    plan = pretrain_plan(home, open_store(home), pretraining(asked_for(home, sources=[source], batch=8)))
    assert plan.frames.images == 12
    assert left_out(plan.frames.counts[0]) == "Left out of toy: 24 skipped by the stride."


def test_splits_for_learning_come_first(home):
    make_dataset(home)
    assert splits_of(open_dataset(home, "toy")) == {"train": 36, "T1": 21, "T2": 12}
    assert [split_words(name) for name in ("train", "none")] == ["train", "no split"]


def test_pictures_are_spread_from_the_first_to_the_last():
    files = [Path(f"step-{number:08d}.npz") for number in range(21)]
    shown = [int(file.stem[-8:]) for file in spread(files, 5)]
    assert shown == [0, 5, 10, 15, 20]
    assert spread(files[:2], 5) == files[:2]
