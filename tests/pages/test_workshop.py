"""What the pages that prepare and run a study promise: names as text, refusals in words, the right run acted on."""

from pathlib import Path

import numpy as np

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.readers.intake import import_dataset
from fmlab.readers.sources import reader_options
from fmlab.runs.store import open_store
from fmlab.ui.format import escaped
from tests.contract.reader_miniatures import dicom, speckle
from tests.pages.conftest import text_of
from tests.pages.made_study import launch_study, make_dataset, make_study

HOSTILE = "![x](http://example.org/a.png) <b>bold</b> :red[label]"


def messy_dataset(home, name="messy"):
    """Two classes; patient P1 on both sides of the split; T1 lacks class b; one unreadable file with a hostile name."""
    writer = DatasetWriter(home, name)
    grey = np.full((24, 24), 90, np.uint8)
    for label, patient, split in (("a", "P1", "train"), ("b", "P2", "train"), ("a", "P1", "T1")):
        writer.add(ImageRow(f"{label}{split}.png", label=label, patient_id=patient, split=split), grey)
    writer.add_unreadable(ImageRow(HOSTILE, label="a"), "cut off in the middle")
    return writer.finish(CardFacts("folder", title=HOSTILE))


def button(drawn, label):
    return next(each for each in drawn.button if each.label == label)


def plain(markdown):
    """The text as a person sees it, without the marks that keep it from being markup."""
    return markdown.replace("\\", "")


def test_a_dataset_names_its_leaks_and_what_its_test_set_lacks(open_page, home):
    messy_dataset(home)
    drawn = open_page("datasets", dataset="messy")
    assert "P1" in drawn.error[0].value
    assert "leaks" in drawn.error[0].value
    assert "T1" in drawn.warning[0].value
    assert "no image of b" in drawn.warning[0].value
    reasons = next(frame.value for frame in drawn.dataframe if "Reason" in frame.value)
    assert reasons["Reason"].tolist() == ["cut off in the middle"]


def test_names_from_files_never_become_markup(open_page, home):
    messy_dataset(home)
    drawn = open_page("datasets", dataset="messy")
    assert escaped(HOSTILE) in drawn.subheader[0].value
    assert "![x](" not in text_of(drawn)


def test_an_import_of_nothing_is_refused_in_words_and_queues_nothing(open_page, home):
    drawn = open_page("datasets")
    drawn.text_input(key="import_path").set_value("/nowhere/at/all")
    drawn.text_input(key="import_name").set_value("new").run()
    button(drawn, "Import").click().run()
    assert "There is nothing at" in drawn.error[0].value
    assert open_store(home).runs().empty


def test_an_import_is_a_run_with_the_options_given(open_page, home, tmp_path):
    (tmp_path / "labels.csv").write_text("file,view\n")
    drawn = open_page("datasets")
    drawn.text_input(key="import_path").set_value(str(tmp_path / "labels.csv"))
    drawn.text_input(key="import_name").set_value("new")
    drawn.selectbox(key="import_reader").set_value("table").run()
    drawn.text_input(key="option_label_column").set_value("view").run()
    button(drawn, "Import").click().run()
    assert not drawn.exception
    store = open_store(home)
    run = store.run(store.runs()["key"].iloc[0])
    assert (run.kind, run.state) == ("import", "queued")
    assert run.config == {
        "source": str(tmp_path / "labels.csv"),
        "name": "new",
        "reader": "table",
        "options": {"label_column": "view"},
    }


def choose_dicom(drawn, name):
    drawn.text_input(key="import_name").set_value(name)
    drawn.selectbox(key="import_reader").set_value("dicom").run()


def finish_import(home):
    """What the worker does with the import that was asked for; its dataset."""
    store = open_store(home)
    runs = store.runs()
    config = store.run(runs["key"].iloc[0]).config
    options = reader_options(**config["options"])
    return import_dataset(
        home, Path(config["source"]), config["name"], reader=config["reader"], options=options, processes=0
    )


def test_classes_of_dicom_files_can_come_from_a_table(open_page, home, tmp_path):
    for seed, place in enumerate(("one/a.dcm", "two/b.dcm")):
        dicom(tmp_path / "images" / place, speckle(seed), patient=f"p{seed}")
    (tmp_path / "classes.csv").write_text("path,label\none/a.dcm,A4C\ntwo/b.dcm,PLAX\n")
    drawn = open_page("datasets")
    drawn.text_input(key="import_path").set_value(str(tmp_path / "images"))
    choose_dicom(drawn, "new")
    drawn.text_input(key="option_labels").set_value("classes.csv").run()
    button(drawn, "Import").click().run()
    assert "Give the full path of a table" in drawn.error[0].value
    assert open_store(home).runs().empty
    drawn.text_input(key="option_labels").set_value(str(tmp_path / "classes.csv")).run()
    button(drawn, "Import").click().run()
    assert not drawn.exception
    assert finish_import(home).card.class_counts == {"A4C": 1, "PLAX": 1}


def test_a_dropped_table_names_the_classes_of_dropped_dicom_files(open_page, home, tmp_path):
    """The table is kept beside the images, not among them, and removed with them once the import is done."""
    for seed, name in enumerate(("a.dcm", "b.dcm")):
        dicom(tmp_path / name, speckle(seed), patient=f"p{seed}")
    drawn = open_page("datasets")
    drawn.segmented_control(key="import_from").set_value("Drop files").run()
    files = [(name, (tmp_path / name).read_bytes(), "application/dicom") for name in ("a.dcm", "b.dcm")]
    drawn.file_uploader(key="import_files").set_value(files).run()
    choose_dicom(drawn, "new")
    drawn.file_uploader(key="option_labels_file").set_value(
        ("classes.csv", b"a.dcm,A4C\nb.dcm,PLAX\n", "text/csv")
    ).run()
    button(drawn, "Import").click().run()
    assert not drawn.exception
    dataset = finish_import(home)
    assert dataset.card.class_counts == {"A4C": 1, "PLAX": 1}
    assert not any("left out" in note for note in dataset.card.notes)
    assert len(list(home.uploads.iterdir())) == 2
    store = open_store(home)
    with store.writing() as connection:
        connection.execute("UPDATE runs SET state = 'done', result = '{\"images\": 2}'")
    drawn.run()
    assert not drawn.exception
    assert not list(home.uploads.iterdir())


def test_sizes_typed_by_hand_are_refused_before_the_button(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy")
    assert not button(drawn, "Launch the study").disabled
    drawn.text_input(key="sizes").set_value("1, 99").run()
    assert "99" in drawn.error[0].value
    assert button(drawn, "Launch the study").disabled


def test_a_preset_fills_in_the_rest_and_drops_what_the_data_lack(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy")
    drawn.segmented_control(key="mode").set_value("demo").run()
    assert drawn.text_input(key="sizes").value == "1, 2, 4, 8, 16"
    assert drawn.multiselect(key="backbones").value == [
        "efficientnet-lite0",
        "phantom-vit",
        "random-efficientnet-lite0",
    ]
    assert drawn.multiselect(key="baselines").value == ["random-resnet18:scratch:recipe=quick"]
    assert "8, 16" in drawn.warning[0].value
    assert "--preset demo" in drawn.code[0].value


def test_mode_budget_and_quick_name_the_preset(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy")
    assert "--preset limited-data/probe-sequences " in drawn.code[0].value
    drawn.segmented_control(key="mode").set_value("finetune")
    drawn.toggle(key="quick").set_value(True).run()
    assert "--preset limited-data/finetune-sequences-quick " in drawn.code[0].value
    assert "finetune:recipe=quick" in drawn.code[0].value
    assert "Quick, not the paper" in text_of(drawn)
    drawn.segmented_control(key="scheme").set_value("images")
    drawn.toggle(key="quick").set_value(False).run()
    assert "--preset limited-data/finetune-images " in drawn.code[0].value
    assert drawn.text_input(key="sizes").value.endswith("16384, all")
    assert drawn.number_input(key="copies").value == 4


def test_settings_of_an_adaptation_reach_the_plan_and_a_wrong_one_is_refused_in_words(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy", mode="Finetuning", quick="true")
    assert drawn.text_input(key="finetune_learning_rate").placeholder == "0.0005"
    drawn.text_input(key="finetune_learning_rate").set_value("1e-3").run()
    assert "finetune:recipe=quick:learning_rate=0.001" in drawn.code[0].value
    drawn.text_input(key="finetune_batch").set_value("many").run()
    assert "batch is 'many'" in plain(drawn.error[0].value)


def test_prompts_are_asked_for_every_class(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy", adaptations="zero-shot")
    table = next(frame.value for frame in drawn.dataframe if "Prompts" in frame.value)
    assert table["Class"].tolist() == ["A", "B", "C"]
    drawn.text_input(key="zero_shot_template").set_value("no place for it").run()
    assert "needs {label}" in plain(drawn.error[0].value)


def test_a_dataset_without_a_test_set_is_cross_validated(open_page, home):
    with DatasetWriter(home, "untested") as writer:
        for number in range(12):
            row = ImageRow(f"{number}.png", label="ab"[number % 2], patient_id=f"P{number}", split="train")
            writer.add(row, np.full((24, 24), 60 + 9 * number, np.uint8))
        writer.finish(CardFacts("folder"))
    drawn = open_page("launch", dataset="untested")
    assert drawn.number_input(key="folds_untested").value == 5
    assert "--folds 5" in drawn.code[0].value
    assert "Cross-validation by patient in 5 folds" in plain(text_of(drawn))


def test_a_leaking_split_has_to_be_accepted_by_name(open_page, home):
    messy_dataset(home)
    drawn = open_page("launch", dataset="messy")
    assert "leaks" in drawn.error[0].value
    drawn.text_input(key="allow_leaking_messy").set_value("messy").run()
    assert not drawn.error
    assert "--allow-leaking messy" in drawn.code[0].value


def test_the_button_queues_exactly_the_planned_runs(open_page, home):
    make_dataset(home)
    drawn = open_page("launch", dataset="toy")
    drawn.text_input(key="sizes").set_value("1, 2")
    drawn.number_input(key="seeds").set_value(2)
    drawn.multiselect(key="backbones").set_value(["pixels-24"]).run()
    assert {metric.label: metric.value for metric in drawn.metric}["To compute"] == "6"
    button(drawn, "Launch the study").click().run()
    assert not drawn.exception
    store = open_store(home)
    assert store.counts(store.studies()[0].name) == {"queued": 6}
    assert store.studies()[0].config["sizes"] == [1, 2]
    assert set(store.runs()["kind"]) == {"adapt", "train"}  # four probes, and the baseline at both sizes


def test_runs_can_be_cancelled_and_retried_from_the_page(open_page, home):
    make_dataset(home)
    store = launch_study(home)
    drawn = open_page("runs", study="made")
    button(drawn, "Cancel 12 shown runs").click().run()
    assert store.counts() == {"cancelled": 12}
    button(drawn, "Retry 12 shown runs").click().run()
    assert store.counts() == {"queued": 12}
    assert set(store.events()["verb"]) >= {"cancelled", "retried"}


def test_a_watching_page_says_that_another_process_executes(open_page, home):
    make_study(home)
    assert "Another process executes" in open_page("runs").info[0].value
