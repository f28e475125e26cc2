"""What a pretraining would take, before the button: images, steps, time, disk; or why it is refused.

In: a `Pretraining` as asked for. Out: a `PretrainPlan`; its picture on the page, and the button that queues it.

Speed is what this machine measured with the same method, network and size. Before it has, it is guessed from the number of
parameters as the planner of studies guesses: a step passes each crop once forward and costs three times that, and the
teacher's pass once more.
"""

from dataclasses import dataclass

import streamlit as st

from fmlab.backbones.catalogue import find_backbone
from fmlab.plots.pretraining_wording import method_name
from fmlab.pretrain.configs import Pretraining
from fmlab.pretrain.recipes import PretrainSetting, pretrain_setting
from fmlab.pretrain.spelling import title_of
from fmlab.runs.launcher import devices
from fmlab.runs.pretraining_frames import FramesPlan, SourceCounts, frames_plan
from fmlab.runs.pretraining_request import KIND, start_by_card
from fmlab.runs.records import pretraining_name
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.costs import BACKWARD, GUESSED_SIZE, GUESSED_SPEED
from fmlab.ui import session
from fmlab.ui.format import count, duration, escaped, size
from fmlab.ui.messages import sentences, shown_errors
from fmlab.ui.pretraining_watch import WATCH, run_name

PARAMETERS = {
    "vit-tiny": 5.5e6,
    "vit-small": 21.7e6,
    "vit-base": 85.8e6,
    "vit-large": 303e6,
    "resnet18": 11.2e6,
    "resnet50": 23.5e6,
}
SHOWN_TO_MAE = 0.25 + 0.1  # of an image's patches, and about what its decoder adds
FEW_IMAGES = 1000
LONG_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class PretrainPlan:
    """What is known of a pretraining before it begins."""

    frames: FramesPlan
    setting: PretrainSetting
    device: str
    images_per_second: float
    measured: bool  # on this machine; else guessed

    @property
    def steps(self) -> int:
        """As asked, or about as many as fit into the minutes."""
        if self.setting.steps is not None:
            return self.setting.steps
        return max(1, round(60 * (self.setting.minutes or 0) * self.images_per_second / self.setting.batch))

    @property
    def seconds(self) -> float:
        """Of training; decoding the frames and probing come to it."""
        if self.setting.minutes is not None:
            return 60 * self.setting.minutes
        return self.steps * self.setting.batch / self.images_per_second

    @property
    def disk_bytes(self) -> int:
        """The frames as squares, kept for the next pretraining on them."""
        return self.frames.images * self.setting.kept**2 * self.setting.channels


def pretrain_plan(home: Home, store: Store, asked: Pretraining) -> PretrainPlan:
    """The plan; `BadInput` where the recipe does not fit the images or a name is not there."""
    frames = frames_plan(home, asked.sources)
    device = devices()[0]
    start = start_by_card(find_backbone(home, asked.init), digest="") if asked.init else None
    setting = pretrain_setting(asked, frames.images, device, start)
    name = pretraining_name(setting.method, setting.network, setting.size)
    measured = store.measurement(device, asked.init or setting.network, name)
    speed = measured or guessed_speed(home, setting, device)
    return PretrainPlan(frames, setting, device, speed, measured is not None)


def guessed_speed(home: Home, setting: PretrainSetting, device: str) -> float:
    """Images a second, from the network's size and what a method does with an image."""
    start = setting.start
    parameters = find_backbone(home, start.key).parameters if start else PARAMETERS[setting.network]
    finer = 1.0 if setting.convolutional else (16 / setting.patch) ** 2
    large = setting.views * (setting.size / GUESSED_SIZE) ** 2
    if setting.method == "mae":
        passes = BACKWARD * SHOWN_TO_MAE * large
    else:
        small = setting.local_crops * (setting.local_size / GUESSED_SIZE) ** 2
        passes = BACKWARD * (large + small) + (large if setting.method == "dinov2" else 0)
    return GUESSED_SPEED[device.split(":")[0]] / (parameters * passes * finer)


# ---------------------------------------------------------------------------------------------------------- on the page


def show_plan(asked: Pretraining, plan: PretrainPlan) -> None:
    """The plan as numbers, the button or why there is none, and what to know before pressing it."""
    refusal = plan.frames.refusal
    names = ", ".join(f"**{escaped(each.dataset)}**" for each in plan.frames.counts)
    st.markdown(f"{method_name(asked.method)} on {names}")
    st.caption(network_line(plan.setting))
    _show_numbers(plan)
    if refusal is not None:
        st.error(escaped(in_words_of_the_page(refusal)), icon=":material/block:")
        st.checkbox(
            "Learn from them all the same; it will stand wherever the backbone is shown", key="allow_test_patients"
        )
    st.button(
        "Start pretraining",
        type="primary",
        icon=":material/play_arrow:",
        disabled=refusal is not None and not asked.allow_test_patients,
        on_click=start,
        args=(asked,),
    )
    sentences(st.info, remarks(asked, plan), ":material/info:")


def in_words_of_the_page(refusal: str) -> str:
    """The guard's sentence, which speaks of an option of the command line, with the page's own words for it."""
    return refusal.replace("accept it with --allow-test-patients", "accept it below")


def network_line(setting: PretrainSetting) -> str:
    """The network and its crops, in words."""
    network = setting.start.key if setting.start else setting.network
    patch = "" if setting.convolutional else f", patches of {setting.patch}"
    small = f" and {setting.local_crops} of {setting.local_size}" if setting.local_crops else ""
    colour = "grey" if setting.channels == 1 else "colour"
    return escaped(
        f"{network}{patch}, {colour}; {count(setting.views, 'crop')} of {setting.size} pixels{small}, batch {setting.batch}"
    )


def start(asked: Pretraining) -> None:
    """Queue it, and turn to the section that watches it; call it from a button."""
    with shown_errors():
        run = request_run(session.store(), KIND, asked.plain, title_of(asked), session.actor())
        st.session_state["section"] = WATCH
        st.session_state["run"] = run_name(run)
        st.session_state.pop("allow_test_patients", None)


def _show_numbers(plan: PretrainPlan) -> None:
    guess = None if plan.measured else "Guessed from the network's size, until this machine has measured it"
    timed = plan.setting.minutes is not None
    seen = plan.steps * plan.setting.batch / plan.frames.images
    with st.container(horizontal=True, gap="large"):
        st.metric("Images", f"{plan.frames.images:,}", width="content")
        st.metric("Steps", f"≈ {_rounded(plan.steps)}" if timed else f"{plan.steps:,}", width="content")
        st.metric("Each image seen", f"{seen:,.0f}×" if seen >= 1 else "less than once", width="content")
    with st.container(horizontal=True, gap="large"):
        certain = timed or plan.measured
        st.metric(
            "Time" if certain else "Time, guessed",
            duration(plan.seconds),
            width="content",
            help="Of training; decoding the frames and trying the features come to it" if certain else guess,
        )
        speed = _rounded(plan.images_per_second)
        st.metric("Images/s", speed if plan.measured else f"≈ {speed}", width="content", help=guess)
        st.metric("Disk", size(plan.disk_bytes), width="content", help="The frames as squares, kept for the next one")


def _rounded(number: float) -> str:
    """To two digits: it is an estimate."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.1f}"


def remarks(asked: Pretraining, plan: PretrainPlan) -> list[str]:
    """What to know before pressing the button."""
    lines = [line for counts in plan.frames.counts if (line := left_out(counts))]
    if asked.thin is not None:
        lines.append("Frames that look alike are left out when it begins; there will be fewer images than here.")
    if plan.frames.images < FEW_IMAGES:
        lines.append(
            f"{count(plan.frames.images, 'image')} are few: thousands are usual, and millions in the fetal study."
        )
    if plan.seconds > LONG_SECONDS:
        lines.append("It goes on for days here. It can be cancelled at any time and goes on from its last checkpoint.")
    return lines


def left_out(counts: SourceCounts) -> str:
    """What of a dataset is not learnt from, in a sentence; empty where all is."""
    reasons = {
        "unreadable": counts.unreadable,
        "of patients outside the share": counts.by_share,
        "skipped by the stride": counts.by_stride,
        "equal to another, pixel for pixel": counts.duplicates,
    }
    said = ", ".join(f"{number:,} {why}" for why, number in reasons.items() if number)
    return f"Left out of {counts.dataset}: {said}." if said else ""
