"""The command line: what scripts rely on, and one sentence for every mistake. Run: pytest tests/unit/test_cli.py"""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from fmlab.data.manifest import dataset_names
from fmlab.runs.store import open_store
from tests.toys import halves


@pytest.fixture
def refused(fmlab, home):
    """Runs a command that must be refused in one sentence, with nothing changed; returns the sentence."""

    def run(*arguments):
        before = (dataset_names(home), len(open_store(home).studies()), len(open_store(home).runs()))
        status, out, err = fmlab(*arguments)
        assert status == 2, err
        assert out == ""
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1, err
        assert (dataset_names(home), len(open_store(home).studies()), len(open_store(home).runs())) == before
        return err.strip()

    return run


def write_image(path, level=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(level)
    Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(path)


STUDY = ("--dataset", "halves", "--backbones", "pixels-24", "--adaptations", "knn")
SMALL = ("--seeds", 1, "--copies", 0, "--baselines", "none")


def test_data_show_has_the_keys_that_scripts_rely_on(fmlab, tmp_path):
    for number in range(6):
        write_image(tmp_path / "scans" / ("ill" if number % 2 else "well") / f"{number}.png", number)
    (tmp_path / "scans" / "ill" / "broken.png").write_bytes(b"not an image")
    status, out, _ = fmlab("data", "import", tmp_path / "scans", "--name", "scans", "--json")
    assert status == 0
    shown = json.loads(fmlab("data", "show", "scans", "--json")[1])
    assert json.loads(out) == shown
    assert shown["images"] == 6
    assert shown["unreadable"] == 1
    assert shown["classes"] == {"ill": 3, "well": 3}
    assert {"patients", "sequences", "splits"} <= set(shown)
    assert sum(shown["splits"].values()) == 6


def test_backbones_list_has_the_keys_that_scripts_rely_on(fmlab):
    rows = json.loads(fmlab("backbones", "list", "--json")[1])
    wanted = {"key", "source", "width", "parameters", "input_size", "resize", "interpolation", "mean", "std", "feature"}
    assert all(wanted | {"licence", "domain", "on_disk"} <= set(row) for row in rows)
    assert any(row["key"].startswith("random-") for row in rows)


def test_a_study_from_the_command_line_to_its_results(fmlab, home):
    halves(home)
    status, out, _ = fmlab("study", "run", *STUDY, "--scheme", "sequences", "--sizes", "1,2", "--seeds", 2, "--json")
    assert status == 0
    answer = json.loads(out)
    assert answer["runs"] == {"done": 4}
    rows = json.loads(fmlab("results", answer["study"], "--format", "json")[1])
    assert len(rows) == 4
    assert {
        "run", "backbone", "adaptation", "scheme", "size", "seed", "test_set", "n_images", "n_sequences", "image_accuracy",
        "sequence_accuracy", "balanced_accuracy", "macro_f1", "converged",
    } <= set(rows[0])  # fmt: skip
    table = list(csv.DictReader(fmlab("results", answer["study"], "--format", "csv")[1].splitlines()))
    assert [float(row["image_accuracy"]) for row in table] == [row["image_accuracy"] for row in rows]
    assert "left" in fmlab("results", answer["study"], "--by", "class")[1]
    assert "north" in fmlab("results", answer["study"], "--by", "site")[1]
    assert fmlab("study", "list")[1].count(answer["study"]) == 1
    assert json.loads(fmlab("study", "show", answer["study"], "--json")[1])["runs"] == {"done": 4}
    runs = json.loads(fmlab("runs", "list", "--study", answer["study"], "--json")[1])
    assert {run["state"] for run in runs} == {"done"}
    assert runs[0]["key"] in fmlab("runs", "show", runs[0]["key"][:8])[1]
    queue = json.loads(fmlab("review", "queue", answer["study"], "--format", "json")[1])
    assert all(row["label"] != row["predicted"] for row in queue)


def test_the_plan_prices_a_study_and_launches_nothing(fmlab, home):
    halves(home)
    status, out, _ = fmlab(
        "study", "run", *STUDY, "--scheme", "images", "--sizes", "4", "--seeds", 3, "--plan", "--json"
    )
    price = json.loads(out)
    assert status == 0
    assert (price["cells"], price["cached"], price["to_compute"]) == (3, 0, 3)
    assert open_store(home).studies() == []


def test_a_preset_drops_the_sizes_that_are_not_there_and_says_so(fmlab, home):
    halves(home, patients=9)
    status, out, err = fmlab("study", "run", "--preset", "limited-data/probe-sequences", *STUDY, *SMALL, "--json")
    assert status == 0
    assert "were dropped" in err
    assert json.loads(out)["notes"]


def test_check_says_what_is_wrong(fmlab, home):
    halves(home)
    status, out, _ = fmlab("data", "check", "halves", "--no-pixels")
    assert status == 0
    assert out.splitlines() == [
        "note: T1 and train share north, south: accuracy there is that on new patients, not on a new hospital or scanner.",
        "Nothing is wrong with 'halves' that could be seen.",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("data", "show", "nothing"), "no dataset 'nothing'"),
        (("data", "import", "nowhere", "--name", "x"), "nowhere"),
        (("study", "run", "--preset", "demo"), "--dataset"),
        (("study", "run", "--preset", "grand", "--dataset", "halves"), "no preset 'grand'"),
        (("study", "run", *STUDY, "--scheme", "sequences", "--sizes", "99"), "has 8 sequences per class"),
        (("study", "run", *STUDY, "--scheme", "sequences", "--sizes", "two"), "whole numbers"),
        (("study", "run", *STUDY, "--scheme", "sequences", "--sizes", "0"), "from 1 upward"),
        (("study", "run", *STUDY, "--scheme", "patients", "--sizes", "1"), "scheme"),
        (
            ("study", "run", "--dataset", "halves", "--backbones", "pixels-25", "--scheme", "images", "--sizes", "4"),
            "pixels-24",
        ),
        (("study", "show", "nothing"), "no study 'nothing'"),
        (("results", "nothing"), "no study 'nothing'"),
        (("runs", "show", "abcdef"), "no run"),
        (("backbones", "show", "resnet999"), "no backbone"),
        (("data", "shw"), "No such command"),
        (("data", "show"), "Missing argument"),
    ],
)
def test_a_mistake_is_one_sentence(refused, home, arguments, says):
    halves(home)
    assert says in refused(*arguments)


def test_a_folder_without_images_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no images here")
    refused("data", "import", tmp_path / "empty", "--name", "x")


def test_a_table_with_a_missing_column_is_refused(refused, tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "table.csv").write_text("path,view\na.png,x\n")
    assert "diagnosis" in refused(
        "data", "import", tmp_path / "table.csv", "--name", "x", "--label-column", "diagnosis"
    )  # fmt: skip


def test_a_path_that_leaves_its_root_is_refused(refused, tmp_path):
    write_image(tmp_path / "secret.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "table.csv").write_text("path,label\n../secret.png,x\n")
    refused("data", "import", tmp_path / "set" / "table.csv", "--name", "x")


def test_a_name_that_is_taken_is_refused(refused, home, tmp_path):
    halves(home)
    write_image(tmp_path / "a" / "a.png")
    assert "exists already" in refused("data", "import", tmp_path, "--name", "halves")


def test_a_study_on_one_class_is_refused_but_its_import_is_not(fmlab, refused, tmp_path):
    for number in range(4):
        write_image(tmp_path / "set" / "only" / f"{number}.png", number)
    assert fmlab("data", "import", tmp_path / "set", "--name", "one")[0] == 0
    sentence = refused(
        "study", "run", "--dataset", "one", "--backbones", "pixels-24", "--scheme", "images", "--sizes", "2"
    )
    assert "at least two classes" in sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: !!python/object/apply:os.system ['true']\n", "not plain YAML"),
        ("name: x\ndataset: halves\nbackbones: [pixels-24]\nscheme: images\nsizes: [4]\nsedes: 3\n", "sedes"),
        ("- a\n- list\n", "mapping"),
        ("name: [unclosed\n", "not plain YAML"),
        ("name: x\n", "lacks 'dataset'"),
        ("name: x\ndataset: halves\nbackbones: [pixels-24]\nscheme: images\nsizes: [4]\nseeds: '3'\n", "seeds"),
    ],
)
def test_a_wrong_study_file_is_refused(refused, home, tmp_path, text, says):
    halves(home)
    (tmp_path / "study.yaml").write_text(text)
    assert says in refused("study", "run", tmp_path / "study.yaml")


def test_a_study_file_runs(fmlab, home, tmp_path):
    halves(home)
    (tmp_path / "study.yaml").write_text(
        "name: filed\ndataset: halves\nbackbones: [pixels-24]\nadaptations: [{kind: knn, k: 3}]\n"
        "scheme: images\nsizes: [8]\nseeds: 1\n"
    )
    status, out, _ = fmlab("study", "run", tmp_path / "study.yaml", "--json")
    assert status == 0
    assert json.loads(out) == {"study": "filed", "runs": {"done": 1}, "notes": []}


@pytest.mark.slow
def test_latency_says_whether_the_machine_was_busy(fmlab):
    """A real measurement, quiet or not: the warning stands exactly where the share of the processor was low."""
    status, out, err = fmlab("backbones", "latency", "pixels-24", "--json")
    assert status == 0
    row = json.loads(out)[0]
    assert row["state"] == "done"
    assert row["disturbed"] == (row["processor_share"] < 0.9)
    assert row["disturbed"] == ("Measured while the machine was busy" in err)
