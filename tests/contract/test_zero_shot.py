"""Zero-shot scores are those of the library that wrote an image-text model, and of its recipe for several prompts.

Run: pytest tests/contract/test_zero_shot.py
"""

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from fmlab.adapt.configs import ZeroShot, adaptation_from
from fmlab.adapt.prompts import prompt_table
from fmlab.adapt.zero_shot import text_encoder, zero_shot_scores
from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.loaders import load_backbone
from fmlab.errors import BadInput, BadWeights
from tests.contract.clip_miniatures import PROJECTION, pictures, rewrite, write_open_clip

CLASSES = ("apical view", "four chamber", "x")
TEMPLATE = "a {label} view"
SEVERAL = {"x": ("a view of x", "of a fetal x.", "x"), "apical view": "apical"}


def config(**settings):
    return adaptation_from({"kind": "zero_shot", "template": TEMPLATE} | settings)


def projected(card, home):
    return load_backbone(card, home).features(pictures(card), "projected").numpy()


def tokens_of(model_key, home, prompts):
    if model_key == "biomedclip":
        return open_clip.tokenizer.HFTokenizer(str(home.backbones / model_key), context_length=16)(prompts)
    return open_clip.tokenize(prompts, context_length=16)


def close(found, expected, within=1e-5):
    assert found.shape == expected.shape
    return float((torch.from_numpy(found) - expected).abs().max()) <= within * float(expected.abs().max())


@pytest.mark.parametrize("key", ["echo-clip", "biomedclip", "fetalclip"])
@torch.no_grad()
def test_scores_are_the_logits_of_open_clip(home, key):
    card, model = write_open_clip(home, key)
    prompts = [TEMPLATE.replace("{label}", label) for label in CLASSES]
    expected, _ = model.get_logits(pictures(card), tokens_of(key, home, prompts))
    found = zero_shot_scores(home, card, config(), CLASSES, projected(card, home))
    assert found.dtype == "float32"
    assert close(found, expected)
    assert float(expected.std(dim=1).min()) > 1e-3  # so that an exchange of columns would show


@torch.no_grad()
def test_several_prompts_of_a_class_are_averaged_at_length_one_and_brought_back_to_it(home):
    card, model = write_open_clip(home, "fetalclip")
    table = {"apical view": ["apical"], "four chamber": ["a four chamber view"], "x": list(SEVERAL["x"])}
    # As CLIP's own notebook builds the weights of its classifier, one class after the other.
    weights = []
    for prompts in table.values():
        embedded = normalize(model.encode_text(tokens_of("fetalclip", home, prompts)), dim=-1).mean(dim=0)
        weights.append(embedded / embedded.norm())
    shown = model.encode_image(pictures(card), normalize=True)
    expected = model.logit_scale.exp() * shown @ torch.stack(weights).T
    found = zero_shot_scores(home, card, config(prompts=SEVERAL), CLASSES, projected(card, home))
    assert close(found, expected)
    first_alone = zero_shot_scores(
        home, card, config(prompts=SEVERAL | {"x": SEVERAL["x"][:1]}), CLASSES, projected(card, home)
    )
    assert abs(found[:, 2] - first_alone[:, 2]).max() > 1e-3
    assert abs(found[:, :2] - first_alone[:, :2]).max() <= 1e-5


def test_the_length_of_a_feature_does_not_matter_and_the_order_of_classes_is_that_of_the_columns(home):
    card, _ = write_open_clip(home, "echo-clip")
    features = projected(card, home)
    found = zero_shot_scores(home, card, config(), CLASSES, features)
    assert abs(zero_shot_scores(home, card, config(), CLASSES, 7 * features) - found).max() < 1e-5
    turned = zero_shot_scores(home, card, config(), CLASSES[::-1], features)
    assert abs(turned[:, ::-1] - found).max() < 1e-5
    assert abs(turned - found).max() > 1e-3


def test_a_tower_is_kept_until_its_weights_change(home):
    card, _ = write_open_clip(home, "echo-clip")
    features = projected(card, home)
    before = zero_shot_scores(home, card, config(), CLASSES, features)
    kept = text_encoder(home, card, "cpu")
    assert text_encoder(home, card, "cpu") is kept
    rewrite(home, card, lambda tensors: tensors | {"logit_scale": torch.tensor(0.7)})
    assert text_encoder(home, card, "cpu") is not kept
    after = zero_shot_scores(home, card, config(), CLASSES, features)
    assert abs(after / before - torch.tensor(0.7 - 1.7).exp().item()).max() < 1e-4


# --- what is refused -----------------------------------------------------------------------------------------------


def test_what_cannot_be_scored_is_refused_in_a_sentence(home):
    card, _ = write_open_clip(home, "echo-clip")
    features = projected(card, home)
    with pytest.raises(BadInput, match="efficientnet-lite0 was not trained with text"):
        zero_shot_scores(home, find_backbone(home, "efficientnet-lite0"), config(), CLASSES, features)
    with pytest.raises(BadInput, match="text tower of medimageinsight cannot be loaded"):
        zero_shot_scores(home, find_backbone(home, "medimageinsight"), config(), CLASSES, features)
    with pytest.raises(BadInput, match=rf"shape \(items, {PROJECTION}\), got \(3, 5\)"):
        zero_shot_scores(home, card, config(), CLASSES, features[:, :5])
    with pytest.raises(BadInput, match="not finite"):
        zero_shot_scores(home, card, config(), CLASSES, features * float("nan"))
    with pytest.raises(BadInput, match="prompts for 'y', which is no class; the classes are apical view, four"):
        zero_shot_scores(home, card, config(prompts={"y": "y"}), CLASSES, features)
    with pytest.raises(BadInput, match="tokens and echo-clip reads at most 16"):
        zero_shot_scores(home, card, config(prompts={"x": "view " * 20}), CLASSES, features)
    (home.backbones / card.key / card.files[0]).unlink()
    with pytest.raises(BadWeights, match="not on this disk"):
        zero_shot_scores(home, card, config(), CLASSES, features)


# --- the table of prompts ------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_class_in_their_order():
    assert prompt_table(config(prompts=SEVERAL), CLASSES) == {
        "apical view": ("apical",),
        "four chamber": ("a four chamber view",),
        "x": ("a view of x", "of a fetal x.", "x"),
    }
    assert list(prompt_table(config(prompts=SEVERAL), CLASSES)) == list(CLASSES)
    assert prompt_table(ZeroShot(), ("P-SAX",)) == {"P-SAX": ("an ultrasound image, P-SAX",)}


def test_braces_in_a_name_or_a_template_are_only_braces():
    assert prompt_table(config(template="{a} {label}{"), ("{x}", "{label}")) == {
        "{x}": ("{a} {x}{",),
        "{label}": ("{a} {label}{",),
    }
