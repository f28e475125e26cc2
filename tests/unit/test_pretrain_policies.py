"""The policies: the numbers of their sources, what ours leaves out, choosing one by name.

Run: pytest tests/unit/test_pretrain_policies.py
"""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmlab.errors import BadInput
from fmlab.pretrain.policies import POLICIES, Policy, policy

# What the sources' code says, in their own order: DINOv2 `DataAugmentationDINO` with its default config, UltraDINO
# `DataAugmentationDINUS`, SimSiam `main_simsiam.py`, MAE `main_pretrain.py`.
SOURCES = {
    "natural": {
        "global_scale": (0.32, 1.0), "local_scale": (0.05, 0.32), "flips": "horizontal", "jitter_share": 0.8,
        "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1, "grey_share": 0.2,
        "blur_shares": (1.0, 0.1, 0.5), "blur_sigma": (0.1, 2.0), "solarise_share": 0.2,
    },
    "fetal": {
        "global_scale": (0.32, 1.0), "local_scale": (0.05, 0.32), "flips": "vertical", "jitter_share": 0.8,
        "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.0, "grey_share": 0.0,
        "blur_shares": (1.0, 0.1, 0.5), "blur_sigma": (0.1, 2.0), "solarise_share": 0.2,
    },
    "simsiam": {
        "global_scale": (0.2, 1.0), "flips": "horizontal", "jitter_share": 0.8, "brightness": 0.4, "contrast": 0.4,
        "saturation": 0.4, "hue": 0.1, "grey_share": 0.2, "blur_shares": (0.5, 0.5, 0.5), "blur_sigma": (0.1, 2.0),
        "solarise_share": 0.0,
    },
    "crops": {
        "global_scale": (0.2, 1.0), "flips": "horizontal", "jitter_share": 0.0, "blur_shares": (0.0, 0.0, 0.0),
        "grey_share": 0.0, "solarise_share": 0.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_numbers_are_those_of_the_source(name):
    chosen = policy(name)
    assert {field: getattr(chosen, field) for field in SOURCES[name]} == SOURCES[name]
    assert chosen.aspect == (3 / 4, 4 / 3)  # torchvision's default, which all of them take
    assert (chosen.gamma, chosen.noise, chosen.tilt) == (0, 0, 0)


def test_ours_leaves_out_what_makes_another_picture_of_a_scan():
    ours = policy("ultrasound")
    assert (ours.hue, ours.saturation, ours.grey_share, ours.solarise_share, ours.flips) == (0, 0, 0, 0, "none")
    assert min(ours.brightness, ours.contrast, ours.gamma, ours.noise, ours.tilt) > 0
    assert ours.blur_sigma[1] < policy("natural").blur_sigma[1]


def test_the_whole_picture_differs_in_its_crops_alone():
    ours, whole = policy("ultrasound"), policy("ultrasound-whole")
    assert whole.global_scale[0] > whole.local_scale[1] > whole.local_scale[0] > ours.local_scale[0]
    assert replace(whole, name=ours.name, global_scale=ours.global_scale, local_scale=ours.local_scale) == ours


def test_flips_are_a_choice_and_change_nothing_else():
    assert policy("ultrasound", "both") == replace(POLICIES["ultrasound"], flips="both")
    assert policy("natural", "none").flips == "none"
    assert policy("fetal", None) is POLICIES["fetal"]


@given(st.text())
def test_another_name_or_flip_is_refused_and_those_there_are_are_named(word):
    if word not in POLICIES:
        with pytest.raises(BadInput, match=r"ultrasound, ultrasound-whole, fetal, natural, crops, simsiam"):
            policy(word)
    if word not in ("none", "horizontal", "vertical", "both"):
        with pytest.raises(BadInput, match="none, horizontal, vertical, both"):
            policy("fetal", word)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_stands_in_a_key_as_plain_data(name):
    plain = POLICIES[name].plain
    assert json.loads(json.dumps(plain)) == plain
    assert Policy(**plain).plain == plain


def test_a_page_may_import_them():
    code = "import sys, fmlab.pretrain.policies; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
