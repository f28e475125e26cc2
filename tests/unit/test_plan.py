"""Presets, how they differ from the paper, and the price of a study. Run: pytest tests/unit/test_plan.py"""

import math

import numpy as np
import pytest

from fmlab.adapt.configs import Finetune, LastBlocks, LoRA, Scratch
from fmlab.adapt.recipes import SAMPLES, TABLE_5, training_setting
from fmlab.backbones.catalogue import catalogue, find_backbone
from fmlab.data.manifest import open_dataset
from fmlab.data.subsets import Subset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.runs.records import Actor, StudyRecord
from fmlab.runs.store import open_store
from fmlab.studies import costs, planner
from fmlab.studies.configs import study_config
from fmlab.studies.differences import differences_from_paper
from fmlab.studies.grid import lay_out
from fmlab.studies.launch import launch
from fmlab.studies.planner import plan
from fmlab.studies.presets import BACKBONES, PRESETS, SPECIALISED, find_preset, free_name, preset_config, study_name
from fmlab.studies.remarks import LEAK_NOTE, LEAKING, remarks_of
from tests.pages.made_study import make_dataset
from tests.toys import half_bright, halves

ANNA = Actor("anna", "test")
GPU = "FMLAB_DEVICES"


def config(**changes):
    settings = {
        "name": "first",
        "dataset": "halves",
        "backbones": ["random-vit-tiny"],
        "adaptations": ["knn"],
        "scheme": "images",
        "sizes": [8, 16],
        "seeds": 2,
    }
    return study_config(settings | changes)


def give_weights(home, key):
    """A file of the right name and size where the backbone's weights would lie."""
    card = find_backbone(home, key)
    name = card.files[0]
    path = home.backbones / key / name.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(card.sizes.get(name, 10))


# ------------------------------------------------------------------------------------------------------------ the study


def test_table_5_falls_out_of_the_epochs_rule(home):
    """The study prints 64, 32, 16, 8, 4, 2 epochs for 256 to 8,192 images, and 1 from 16,384 upward."""
    card = find_backbone(home, "dinov2-base-imagenet1k-1-layer")
    sizes = [size for size in find_preset("limited-data/finetune-images").sizes if size != "all"]
    found = {}
    for size in sizes:
        found[size] = training_setting(Finetune(), card, Subset("images", size, 0), "cpu").epochs_for(size)
        assert found[size] == max(1, math.ceil(SAMPLES / size))
    assert found == TABLE_5 | {16_384: 1}
    setting = training_setting(Finetune(), card, Subset("images", 2_871_574, 0), "cpu")
    assert setting.epochs_for(2_871_574) == 1


def test_the_presets_are_the_study_s():
    """Figures 1 to 4 are two modes in two schemes; Table 3 and Figure 5 are all data; 20 seeds are for probes."""
    for key in ("probe-images", "probe-sequences", "finetune-images", "finetune-sequences", "all-data"):
        preset = find_preset(f"limited-data/{key}")
        assert (preset.copies, preset.style, preset.specialised) == (4, "paper", True)
        assert preset.seeds == (20 if key.startswith("probe") else 1)
    assert find_preset("limited-data/probe-sequences").sizes == (1, 2, 4, 8, 16, 32, 64, 128)
    assert find_preset("limited-data/all-data").sizes == ("all",)
    assert not {"probe-images", "probe-sequences"} & set(PRESETS)


@pytest.mark.parametrize("key", [key for key in PRESETS if key.endswith("-quick")])
def test_quick_presets_are_small(key):
    preset = find_preset(key)
    assert (preset.quick, len(preset.sizes), preset.seeds, preset.copies) == (True, 3, 1, 0)
    assert "not the paper's protocol" in preset.summary


@pytest.mark.parametrize("key", PRESETS)
def test_every_preset_fits_a_dataset_and_lists_what_it_dropped(home, key):
    dataset = halves(home, patients=48)
    made = preset_config(home, key, dataset, "preset", backbones=["random-vit-tiny"])
    grid = lay_out(home, open_dataset(home, "halves"), made)
    sizes = find_preset(key).sizes
    largest = len(grid.items.image_ids) if made.scheme == "images" else 16
    expected = {size for size in sizes if size != "all" and size <= largest} | ({largest} if "all" in sizes else set())
    assert set(grid.sizes) == expected
    assert bool(grid.dropped) == any(size != "all" and size > largest for size in sizes)


def test_sizes_given_with_a_preset_are_taken_at_their_word(home):
    dataset = halves(home)
    with pytest.raises(BadInput, match="Choose sizes from"):
        lay_out(home, dataset, preset_config(home, "demo", dataset, "x", sizes=[999], backbones=["pixels-24"]))


def test_backbones_of_a_preset_are_those_on_this_disk_else_stand_ins(home):
    dataset = halves(home)
    key = "limited-data/probe-sequences"
    made = preset_config(home, key, dataset, "x")
    assert made.backbones == ("efficientnet-lite0", "random-efficientnet-lite0", "pixels-24")
    told = " ".join(differences_from_paper(made, dataset, home))
    assert all(each in told for each in BACKBONES)
    assert "fmlab backbones download" in told
    assert "Standing in: efficientnet-lite0" in told
    give_weights(home, "vit-mae-base")
    made = preset_config(home, key, dataset, "x")
    assert made.backbones == ("vit-mae-base",)
    assert "Standing in" not in " ".join(differences_from_paper(made, dataset, home))


def test_the_specialised_model_is_a_small_one_where_no_gpu_is(home, monkeypatch):
    dataset = halves(home)
    key = "limited-data/finetune-images"
    monkeypatch.setenv(GPU, "cpu")
    made = preset_config(home, key, dataset, "x")
    assert made.baselines[0].backbone == "random-resnet18"
    assert made.baselines[0].adaptation == Scratch(recipe="quick")
    assert any("--baselines random-resnet50:scratch" in each for each in differences_from_paper(made, dataset, home))
    monkeypatch.setenv(GPU, "cuda:0")
    made = preset_config(home, key, dataset, "x")
    assert (
        made.baselines[0].model_dump()
        == study_config(config().plain() | {"baselines": [SPECIALISED]}).baselines[0].model_dump()
    )
    assert not any("stands in" in each for each in differences_from_paper(made, dataset, home))


def test_a_dataset_without_a_test_set_is_cross_validated(home):
    with DatasetWriter(home, "untested") as writer:
        for number in range(20):
            side = ("left", "right")[number % 2]
            row = ImageRow(f"{number}.png", label=side, patient_id=f"p{number}", split="train")
            writer.add(row, half_bright(side, np.random.default_rng(number)))
        dataset = writer.finish(CardFacts("toy"))
    made = preset_config(home, "limited-data/probe-images", dataset, "x", backbones=["pixels-24"], baselines=())
    assert made.folds == 5
    price = plan(home, open_store(home), made)
    assert price.refusals == ()
    assert any("5 folds" in sentence for sentence in price.differences)
    refused = plan(home, open_store(home), study_config(made.plain() | {"folds": None}))
    assert "no labelled test images" in refused.refusals[0]


def test_differences_name_what_the_test_sets_lack(home):
    """T2 of the toy has no image of C, and its sequences have three images, not five."""
    dataset = make_dataset(home)
    made = preset_config(home, "limited-data/probe-sequences-quick", dataset, "x")
    told = differences_from_paper(made, dataset, home)
    assert any("T2 has no images of C" in each for each in told)
    assert any("11 of 11 here have fewer" in each for each in told)
    assert any("No augmented copies" in each for each in told)


def test_differences_follow_the_config_not_the_preset_s_name(home):
    dataset = halves(home)
    changed = preset_config(home, "limited-data/finetune-images", dataset, "x", sizes=[8], seeds=3, style="paper")
    assert changed.preset is None
    told = " ".join(differences_from_paper(changed, dataset, home))
    assert "Sizes chosen by hand: 8" in told
    assert "3 subsets drawn at every size; the study draws 1" in told
    assert differences_from_paper(config(), dataset, home) == []


def test_names_of_studies():
    assert study_name("ours", "limited-data/probe-images") == "ours-limited-data-probe-images"
    assert len(study_name("x" * 64, "limited-data/finetune-sequences-quick")) <= 64
    assert free_name("a", []) == "a"
    assert free_name("a", ["a", "a-2"]) == "a-3"


# ------------------------------------------------------------------------------------------------------------- remarks


def record(made):
    return StudyRecord("first", made.plain(), "", "anna", ())


def test_quick_and_leaking_studies_say_so(home):
    dataset = halves(home)
    assert remarks_of(record(config()), dataset) == ()
    quick = ("quick, not the paper's protocol",)
    assert remarks_of(record(config(adaptations=[{"kind": "finetune", "recipe": "quick"}])), dataset) == quick
    made = preset_config(home, "limited-data/probe-images-quick", dataset, "x")
    assert remarks_of(record(made), dataset) == quick
    full = preset_config(home, "limited-data/probe-images", dataset, "x")
    assert remarks_of(record(full), dataset) == (f"random-resnet18 from scratch: {quick[0]}",)
    assert remarks_of(record(config(allow_leaking="halves")), dataset) == ()  # accepted, but nothing leaks
    assert "5 folds" in remarks_of(record(config(folds=5)), dataset)[0]


def test_a_study_on_an_accepted_leak_says_so(home):
    with DatasetWriter(home, "leaky") as writer:
        for number in range(8):
            side, split = ("left", "right")[number % 2], "T1" if number < 4 else "train"
            row = ImageRow(f"{number}.png", label=side, patient_id=f"p{number % 4}", split=split)
            writer.add(row, half_bright(side, np.random.default_rng(number)))
        dataset = writer.finish(CardFacts("toy"))
    made = config(dataset="leaky", backbones=["pixels-24"], sizes=[4], allow_leaking="leaky")
    launched = launch(home, open_store(home), made, ANNA)
    assert any(note.startswith(LEAK_NOTE) for note in launched.notes)
    assert remarks_of(launched, dataset) == (LEAKING,)


# --------------------------------------------------------------------------------------------------------------- price


def test_copies_are_embedded_too(home):
    halves(home)
    store = open_store(home)
    alone = plan(home, store, config(sizes=["all"])).backbones[0]
    copied = plan(home, store, config(sizes=["all"], copies=4)).backbones[0]
    assert alone.images == 48 + 24  # two thirds of 24 sequences of three images, and T1
    assert copied.images == 5 * 48 + 24


def test_a_training_is_priced_by_its_epochs_and_what_was_measured(home, monkeypatch):
    """8 images 256 times and 16 images 128 times are 2,048 images each; every model then sees 24 test images."""
    monkeypatch.setenv(GPU, "cpu")
    halves(home)
    store = open_store(home)
    made = config(adaptations=[{"kind": "finetune", "recipe": "quick"}], seeds=1)
    guessed = plan(home, store, made).backbones[0]
    assert (guessed.work, guessed.cells, guessed.measured) == ("finetune(recipe=quick)", 2, False)
    assert guessed.images == 2 * 2048 + 2 * 24
    store.measure("cpu", "random-vit-tiny", "train_images_per_second:finetune:96", 100.0)
    store.measure("cpu", "random-vit-tiny", "images_per_second", 1000.0)
    measured = plan(home, store, made).backbones[0]
    assert measured.measured
    assert measured.seconds == pytest.approx(2 * 2048 / 100 + 2 * 24 / 1000)


def test_cross_validated_trainings_cost_every_fold(home, monkeypatch):
    monkeypatch.setenv(GPU, "cpu")
    halves(home)
    made = config(adaptations=[{"kind": "finetune", "epochs": 1}], sizes=[8], seeds=1, folds=4)
    row = plan(home, open_store(home), made).backbones[0]
    assert row.images == 4 * 8 + 48  # T1 of the source stays apart


def test_frozen_and_trained_parts_of_a_backbone_are_priced_apart(home, monkeypatch):
    monkeypatch.setenv(GPU, "cpu")
    halves(home)
    baseline = {"backbone": "random-resnet18", "adaptation": {"kind": "scratch", "recipe": "quick"}}
    made = config(adaptations=["knn", "linear_svm", {"kind": "lora", "rank": 4}], baselines=[baseline])
    price = plan(home, open_store(home), made)
    assert [(row.key, row.work, row.cells) for row in price.backbones] == [
        ("random-vit-tiny", "frozen", 8),
        ("random-vit-tiny", "lora(rank=4)", 4),
        ("random-resnet18", "scratch(recipe=quick)", 2),
    ]
    assert price.cells == 14
    assert price.memory_bytes == max(row.cost.memory_bytes for row in price.backbones)
    assert price.disk_bytes > max(row.cost.passing_bytes for row in price.backbones)


def test_memory_of_a_training_counts_weights_gradients_and_both_averages(home):
    card = find_backbone(home, "random-vit-tiny")
    run = {
        "setting": training_setting(Finetune(), card, Subset("images", 8, 0), "cpu").plain,
        "input": {"size": 224},
        "adaptation": {"kind": "finetune"},
    }
    one = costs.training_cost("cpu", card, run | {"setting": run["setting"] | {"batch": 1}}, 8, free=0)
    eight = costs.training_cost("cpu", card, run, 8, free=0)
    image = costs.ACTIVATION_BYTES + costs.ACTIVATION_PER_PARAMETER * card.parameters
    assert one.memory_bytes == pytest.approx(costs.OVERHEAD_BYTES + 16 * card.parameters + image, abs=2)
    assert eight.memory_bytes - one.memory_bytes == pytest.approx(7 * image, abs=2)
    assert eight.passing_bytes == 2 * 12 * card.parameters
    on_gpu = costs.training_cost("cuda:0", card, run, 8, free=0)
    assert on_gpu.memory_bytes == costs.OVERHEAD_BYTES
    assert on_gpu.gpu_least_bytes == one.memory_bytes - costs.OVERHEAD_BYTES


def test_what_trains_little_keeps_little(home):
    card = find_backbone(home, "vit-mae-base")
    shares = [costs.trained_share(each, card) for each in (Finetune(), LastBlocks(blocks=2), LoRA())]
    assert shares == [1.0, 2 / 12, 0.08]
    assert costs.trained_share(LastBlocks(), catalogue(home)["random-resnet18"]) == 1.0


def test_what_cannot_fit_is_refused_with_the_reason(home, monkeypatch):
    halves(home)
    store = open_store(home)
    made = config(adaptations=[{"kind": "finetune", "batch": 4096}], copies=4, sizes=["all"], seeds=1)
    monkeypatch.setattr(planner, "free_memory", lambda: 2_000_000_000)
    monkeypatch.setenv(GPU, "cpu")
    refusal = plan(home, store, made).refusals[0]
    assert "random-vit-tiny (finetune(batch=4096)) needs about" in refusal
    assert "2.0 GB are free" in refusal
    monkeypatch.setattr(planner, "free_disk", lambda place: 1_000)
    assert any("to disk" in each for each in plan(home, store, made).refusals)


def test_a_batch_too_large_for_a_gpu_is_no_refusal_a_model_is(home, monkeypatch):
    halves(home)
    store = open_store(home)
    monkeypatch.setenv(GPU, "cuda:0")
    made = config(adaptations=[{"kind": "finetune", "batch": 64}], copies=4, sizes=["all"], seeds=1)
    monkeypatch.setattr(planner, "gpu_memory", lambda device: 1_000_000_000)
    price = plan(home, store, made)
    assert price.refusals == ()
    assert any("worked through in parts" in each for each in price.warnings)
    monkeypatch.setattr(planner, "gpu_memory", lambda device: 10_000_000)
    assert "of memory on cuda:0" in plan(home, store, made).refusals[0]


def test_two_devices_take_half_the_time(home, monkeypatch):
    halves(home)
    store = open_store(home)
    monkeypatch.setenv(GPU, "cuda:0")
    one = plan(home, store, config()).seconds
    monkeypatch.setenv(GPU, "cuda:0,cuda:1")
    assert plan(home, store, config()).seconds == pytest.approx(one / 2)


def test_what_is_done_costs_nothing(home):
    halves(home)
    store = open_store(home)
    made = config(backbones=["pixels-24"])
    launch(home, store, made, ANNA)
    with store.writing() as connection:
        connection.execute("UPDATE runs SET state = 'done'")
    price = plan(home, store, study_config(made.plain() | {"name": "second"}))
    assert (price.to_compute, price.seconds, price.disk_bytes) == (0, 0, 0)


def test_quick_sees_at_most_what_it_says(home):
    card = find_backbone(home, "efficientnet-lite0")
    for items in (1, 7, 64, 80, 320, 1024, 2048, 2049, 6400):
        setting = training_setting(Finetune(recipe="quick"), card, Subset("images", items, 0), "cpu")
        assert setting.images_for(items) <= 2048
        assert setting.images_for(items) > 2048 - max(setting.batch, min(items, 1024))
    assert (setting.steps_for(1), setting.steps_for(64), setting.steps_for(6400)) == (2048, 32 * 8, 2048 // 8)
