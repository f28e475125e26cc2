"""Every page of the workshop opens on an empty, a full and a broken home, and says what to do next."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.conftest import text_of
from tests.pages.made_study import make_study

PAGES = ("overview", "datasets", "backbones", "launch", "runs", "pretraining")
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("page", "advice"),
    [
        ("overview", "Try it without data"),
        ("datasets", "No dataset yet"),
        ("backbones", "to see how to get it"),
        ("launch", "No dataset to study yet"),
        ("runs", "Nothing has been run yet"),
        ("pretraining", "No images to learn from yet"),
    ],
)
def test_an_empty_home_says_what_to_do_next(open_page, page, advice):
    drawn = open_page(page)
    assert not drawn.exception
    assert advice in text_of(drawn)


@pytest.mark.parametrize("page", PAGES)
def test_a_full_home_opens(open_page, home, page):
    make_study(home)
    drawn = open_page(page)
    assert not drawn.exception
    assert drawn.title[0].value == page.capitalize()
    if page == "pretraining":  # on 45 images the usual batch is the one thing to be said
        assert ["fewer than one batch" in error.value for error in drawn.error] == [True]
    else:
        assert not drawn.error


@pytest.mark.parametrize("page", PAGES)
def test_a_broken_store_is_one_message(open_page, home, page):
    make_study(home)
    for file in home.path.glob("fmlab.db*"):
        file.write_bytes(b"this is not a database" * 1000)
    drawn = open_page(page)
    assert not drawn.exception
    assert any("fmlab" in error.value for error in drawn.error)


@pytest.mark.parametrize("page", ["datasets", "backbones", "launch"])
def test_a_damaged_card_is_one_message(open_page, home, page):
    folder = home.datasets / "broken"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text("{ not JSON")
    drawn = open_page(page, dataset="broken")
    assert not drawn.exception
    assert "card" in drawn.error[0].value


def test_the_overview_shows_the_latest_curve_and_says_that_it_is_synthetic(open_page, home):
    make_study(home)
    drawn = open_page("overview")
    assert len(drawn.get("plotly_chart")) == 1
    assert "made" in text_of(drawn)
    assert "Synthetic images" in text_of(drawn)
    assert "12 of 12 runs done" in text_of(drawn)


def test_pages_leave_torch_unloaded(home):
    """A page that imports torch opens seconds later and dies with a broken driver."""
    script = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "prepared = ('overview', 'datasets', 'backbones', 'launch', 'runs', 'pretraining')\n"
        "for page in (*prepared, 'results', 'embeddings', 'review'):\n"
        "    app.switch_page(f'pages/{page}.py').run()\n"
        "    assert not app.exception, page\n"
        "heavy = {'torch', 'timm', 'sklearn', 'numba', 'umap'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
