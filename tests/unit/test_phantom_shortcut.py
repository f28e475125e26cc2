"""Nothing but anatomy tells the view: brightness, outline and text alone must not.

A forest that sees only the histogram of greys, the geometry of the fan and how much is written around it, trained on
the whole demo plan, has to stay under one and a half times the majority rate on T1.
"""

from dataclasses import replace

import numpy as np
import pytest

from fmlab.phantom.cases import PhantomConfig, plan
from fmlab.phantom.render import render

FRAMES = 2


def shortcuts(config, planned):
    """What a lazy classifier could look at in each frame, (frames, features)."""
    rendered = render(config, replace(planned, frames=config.frames_per_sequence))
    fan = rendered.sector.mask()
    sector = rendered.sector
    outline = [
        sector.apex_x,
        sector.apex_y,
        sector.inner_radius,
        sector.outer_radius,
        sector.half_angle,
        sector.depth_mm,
    ]
    rows = []
    for frame in rendered.frames[:FRAMES]:
        inside = np.histogram(frame[fan], 32, (0, 256))[0] / fan.sum()
        text = [(frame[~fan] > 0).mean(), frame[:32].mean(), frame[-32:].mean()]
        rows.append(np.concatenate([inside, text, outline]))
    return np.array(rows)


@pytest.mark.slow
def test_brightness_outline_and_text_do_not_tell_the_view():
    from sklearn.ensemble import RandomForestClassifier

    config = PhantomConfig(frames_per_sequence=5)
    features, labels, splits = [], [], []
    for planned in plan(config):
        if planned.split != "T2":
            features.append(shortcuts(config, planned))
            labels += [planned.label] * FRAMES
            splits += [planned.split] * FRAMES
    features, labels, splits = np.concatenate(features), np.array(labels), np.array(splits)
    train, test = splits == "train", splits == "T1"
    forest = RandomForestClassifier(300, random_state=0).fit(features[train], labels[train])
    accuracy = np.mean(forest.predict(features[test]) == labels[test])
    majority = np.unique(labels[test], return_counts=True)[1].max() / test.sum()
    assert accuracy < 1.5 * majority, f"shortcut accuracy {accuracy:.3f}, majority {majority:.3f}"
