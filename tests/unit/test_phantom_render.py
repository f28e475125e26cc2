"""Drawn sequences of the phantom: bytes, masks, motion, and what must not give the view away."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fmlab.phantom.anatomy import MASK_CLASSES, Heart, distances
from fmlab.phantom.cases import PhantomConfig, plan
from fmlab.phantom.motion import Drift, beat_at, drift_at, systolic_fraction
from fmlab.phantom.render import render, scored_frames
from fmlab.phantom.views import VIEWS, standard_pose

CONFIG = PhantomConfig(sequences_per_class=4, t1_sequences=12, t2_sequences=8, frames_per_sequence=6)
PLAN = plan(CONFIG)
CHAMBERS = {
    "2CH": {1, 2, 3},
    "4CH": {1, 2, 3, 4, 5},
    "A-5CH": {1, 2, 4, 6},
    "A-RV": {1, 2, 4, 5},
    "APLAX": {1, 2, 3, 6},
    "NO-ORGAN": set(),
    "P-SAX": {1, 2, 4},
    "PLAX": {1, 2, 3, 4, 6},
    "SAX-AV": {3, 4, 6},
    "SUBCOSTAL": {1, 2, 4, 5},
}


def first(view, split="train"):
    return next(sequence for sequence in PLAN if sequence.view == view and sequence.split == split)


@pytest.fixture(scope="module")
def drawn():
    return {view: render(CONFIG, first(view)) for view in VIEWS}


def test_shapes_types_and_sector(drawn):
    for rendered in drawn.values():
        assert rendered.frames.shape == rendered.masks.shape == (6, 256, 256)
        assert rendered.frames.dtype == rendered.masks.dtype == np.uint8
        assert rendered.scored.all()
        sector = rendered.sector
        assert rendered.spacing_mm == pytest.approx(sector.depth_mm / (sector.outer_radius - sector.inner_radius))
        assert 0.4 < rendered.spacing_mm < 1.0
        assert rendered.frames[:, sector.mask()].mean() > 15


def test_masks_hold_the_chambers_of_the_view(drawn):
    for view, rendered in drawn.items():
        counts = np.bincount(rendered.masks.ravel(), minlength=len(MASK_CLASSES)) / len(rendered.masks)
        assert set(np.flatnonzero(counts)) <= set(MASK_CLASSES)
        seen = {label for label in range(1, 7) if counts[label] > 150}
        assert seen >= CHAMBERS[view], view
        assert not rendered.masks[:, ~rendered.sector.mask()].any()
    assert not drawn["NO-ORGAN"].masks.any()


def test_blood_is_darker_than_muscle(drawn):
    for view in ("4CH", "2CH", "APLAX", "PLAX"):
        frames, masks = drawn[view].frames, drawn[view].masks
        assert frames[masks == 1].mean() < 0.7 * frames[masks == 2].mean(), view


def test_same_bytes_in_any_order_and_in_another_process():
    chosen = [first("PLAX"), first("NO-ORGAN"), first("4CH", "T2")]
    forward = [render(CONFIG, sequence) for sequence in chosen]
    backward = [render(CONFIG, sequence) for sequence in reversed(chosen)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert (one.frames == other.frames).all()
        assert (one.masks == other.masks).all()
    code = (
        "import sys, hashlib; from fmlab.phantom.cases import PhantomConfig, plan; from fmlab.phantom.render import render;"
        "c = PhantomConfig(sequences_per_class=9, t1_sequences=12, t2_sequences=8, frames_per_sequence=6);"
        "s = next(s for s in plan(c) if s.sequence_id == sys.argv[1]);"
        "print(hashlib.sha256(render(c, s).frames.tobytes()).hexdigest());"
        "assert not {'torch', 'numba', 'streamlit', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, chosen[0].sequence_id], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(forward[0].frames.tobytes()).hexdigest()


def test_other_seeds_draw_other_pictures():
    other = replace(CONFIG, seed=1)
    assert (render(other, plan(other)[0]).frames != render(CONFIG, PLAN[0]).frames).any()


def test_scored_frames_are_five_evenly_spaced_in_test_sets_alone():
    assert scored_frames("train", 8, 5).all()
    assert np.flatnonzero(scored_frames("T1", 10, 5)).tolist() == [1, 3, 5, 7, 9]
    assert np.flatnonzero(scored_frames("T2", 5, 5)).tolist() == [0, 1, 2, 3, 4]
    marks = np.flatnonzero(scored_frames("T1", 8, 5))
    assert len(marks) == 5
    assert set(np.diff(marks)) <= {1, 2}


def test_the_beat_closes():
    for rate in (50, 75, 100):
        early, late = beat_at(0.0, rate), beat_at(0.9999, rate)
        for name in ("contraction", "mitral_opening", "aortic_opening", "atrial_filling"):
            assert getattr(early, name) == pytest.approx(getattr(late, name), abs=2e-3)
        assert beat_at(1.25, rate) == beat_at(0.25, rate)
        assert beat_at(systolic_fraction(rate), rate).contraction == pytest.approx(1.0)
        phases = np.linspace(0, 1, 101)
        both = [min(beat_at(phase, rate).mitral_opening, beat_at(phase, rate).aortic_opening) for phase in phases]
        assert max(both) == 0.0, "the mitral and the aortic valve are never open together"


def test_the_drawn_cycle_closes(drawn):
    """The frame after the last one is the first again: the ventricle jumps no further than between other frames."""
    areas = np.array([np.sum(mask == 1) for mask in drawn["P-SAX"].masks], dtype=float)
    steps = np.abs(np.diff(np.append(areas, areas[0])))
    assert steps[-1] <= 1.2 * steps[:-1].max()
    assert areas.min() < 0.8 * areas.max()


def test_breathing_starts_at_rest():
    assert drift_at(Drift((2.0, 1.0, 1.0), turns=0.3, start=0.2), 0.0) == (0.0, 0.0, 0.0)


def test_walls_thicken_and_valves_move():
    """Along the lateral axis of the short axis plane: the cavity narrows, the wall gains; the closed valve is shut."""
    heart = Heart()
    x = np.linspace(0, 60, 601, dtype=np.float32)
    y, z = np.zeros_like(x), np.full_like(x, 40.0)

    def cavity_and_wall(phase):
        where = distances(heart, beat_at(phase, 70), x, y, z)
        cavity = x[where.left_ventricle < 0].max()
        return cavity, x[where.epicardium < 0].max() - cavity

    cavity_ed, wall_ed = cavity_and_wall(0.0)
    cavity_es, wall_es = cavity_and_wall(systolic_fraction(70))
    assert cavity_es < 0.8 * cavity_ed
    assert wall_es > 1.2 * wall_ed


def test_poses_are_orthonormal_and_unknown_views_refused():
    for view in VIEWS:
        pose = standard_pose(view, Heart())
        assert pose.right @ pose.forward == pytest.approx(0.0, abs=1e-9)
        assert np.linalg.norm(pose.right) == pytest.approx(1.0)
        assert np.linalg.norm(pose.forward) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not known"):
        standard_pose("SUPRASTERNAL", Heart())


def test_brightness_and_outline_do_not_depend_on_the_view(drawn):
    """Quantile by quantile the display is set from the machine and the seed, so every view spans the same greys."""
    middles = [np.median(rendered.frames[:, rendered.sector.mask()]) for rendered in drawn.values()]
    assert 12 < min(middles) <= max(middles) < 60
    depths = [rendered.sector.depth_mm for rendered in drawn.values()]
    assert max(depths) - min(depths) < 50
