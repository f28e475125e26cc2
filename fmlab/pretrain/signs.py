"""The signs by which a pretraining is known to have stalled or collapsed, for each method: what is looked at, and when.

In: a run's `Course`, its setting. Out: the first `Sign` that holds, with the number that
showed it and what to try next; and the thresholds, so that figures can draw them. No torch here.

Measured on ultrasound frames with small networks (some hundred to some thousand steps):
- Features of a collapsing DINOv2 run kept a standard deviation of 0.4 of what is possible and an effective rank near 4,
  while all images of a batch shared two prototypes; those of a learning SimCLR run fell from 0.56 to 0.32 and from 9 to
  6. So neither says anything until nearly nothing is left, and no run is called healthy because of them.
- SimSiam without its stopped gradient reached a loss of −0.99 while the other view was found no more often than at the
  start; batch norm kept the standard deviation of its projections at 0.4. So agreement is held against retrieval.
- Stalled DINOv2 runs gave every image nearly the same, nearly even answer: teacher entropy above 0.95 of its maximum,
  divergence of the student falling toward 0.1 nat, mutual information under 0.5 nat and level.

What a method's loss is at chance: SimCLR, log(2B − 1), all other crops of the batch being equally near; MAE, the
variance of its target, which a prediction of each patch's mean leaves; SimSiam, 0, the cosine of unrelated directions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fmlab.pretrain.course import NEARLY_ALL, RISE, Course
from fmlab.pretrain.recipes import PretrainSetting

FEWEST_PROTOTYPES = 4.0  # that a batch of 16 images or more shares
SAME_ANSWER = 0.05  # nat of mutual information: nothing of the image is left in the teacher's answer
CROWDED = 6.9  # KoLeo: the nearest two images of a batch are less than 0.001 of their length apart
ONE_DIRECTION = 1.3  # effective rank
NARROW = 0.03  # standard deviation of normalised features as a share of what is possible
OUTPUTS_ALIKE = 0.1  # the same of SimSiam's projection, which its batch norm holds near 1 until it collapses

FULL_AGREEMENT = -0.95  # SimSiam's loss, at −1 when both views have one and the same prediction

EVEN_ANSWER = 0.95  # teacher entropy as a share of its maximum
LITTLE_INFORMATION = 0.5  # nat
AT_CHANCE = 0.03  # a SimCLR loss this near its start or chance has not left it
LEAST_EXPLAINED = 0.03  # of the variance of MAE's target
NO_AGREEMENT = 0.2  # of SimSiam's cosine


@dataclass(frozen=True)
class Sign:
    """One thing that is wrong, in words, and the number that showed it."""

    signal: str
    value: float
    problem: str
    advice: str


@dataclass(frozen=True)
class Threshold:
    """Where a signal becomes alarming."""

    value: float
    side: Literal["below", "above"]
    state: Literal["stalled", "collapsed"]


def collapse_sign(course: Course, setting: PretrainSetting) -> Sign | None:
    """The first sign of a collapse that holds throughout the latest window."""
    return next((sign for look in COLLAPSE[setting.method] if (sign := look(course, setting)) is not None), None)


def stall_sign(course: Course, setting: PretrainSetting) -> Sign | None:
    """The first sign that nothing is being learnt, over both windows."""
    return next((sign for look in STALL[setting.method] if (sign := look(course, setting)) is not None), None)


def thresholds(setting: PretrainSetting) -> dict[str, Threshold]:
    """By the signal's name, where it becomes alarming in this setting; of those that say something by themselves."""
    found = {"effective_rank": Threshold(ONE_DIRECTION, "below", "collapsed")}
    if setting.method != "mae":
        found["feature_std"] = Threshold(NARROW, "below", "collapsed")
    if setting.method == "simsiam":
        found["output_std"] = Threshold(OUTPUTS_ALIKE, "below", "collapsed")
        found["loss"] = Threshold(-NO_AGREEMENT, "above", "stalled")
    if setting.method == "simclr":
        found["loss"] = Threshold((1 - AT_CHANCE) * chance_loss(setting), "above", "stalled")
    if setting.method == "mae":
        found["loss"] = Threshold(1 - LEAST_EXPLAINED, "above", "stalled")
    if setting.distillation is not None:
        found["teacher_entropy"] = Threshold(EVEN_ANSWER, "above", "stalled")
        found["mutual_information"] = Threshold(little_information(setting), "below", "stalled")
        fewest = math.log(fewest_prototypes(setting)) / math.log(setting.distillation.prototypes)
        found["mean_entropy"] = Threshold(fewest, "below", "collapsed")
        found["koleo"] = Threshold(CROWDED, "above", "collapsed")
    return found


def chance_loss(setting: PretrainSetting) -> float:
    """SimCLR's loss in nats when all other crops of a batch are equally near."""
    return math.log(2 * setting.batch - 1)


def fewest_prototypes(setting: PretrainSetting) -> float:
    """Prototypes below which a batch shares too few: 4, and a quarter of a batch smaller than 16."""
    return min(FEWEST_PROTOTYPES, max(1.2, setting.batch / 4))


def little_information(setting: PretrainSetting) -> float:
    """Mutual information in nats that a run which learns exceeds; a batch of B images holds log B at most."""
    return min(LITTLE_INFORMATION, 0.25 * math.log(setting.batch))


# Collapse: the network gives every image the same answer --------------------------------------------------------------

_LESS_EASY = "a teacher that is centred (centring ema or sinkhorn), a KoLeo weight of 0.1, a smaller learning rate"


def _few_prototypes(course: Course, setting: PretrainSetting) -> Sign | None:
    prototypes = setting.distillation.prototypes if setting.distillation else 2
    fewest = fewest_prototypes(setting)
    if not course.throughout("mean_entropy", below=math.log(fewest) / math.log(prototypes)):
        return None
    now, start = course.now("mean_entropy") or 0.0, course.start("mean_entropy")
    used = prototypes**now
    fell = f", down from {prototypes**start:,.0f} at the start" if start is not None and start > now else ""
    crowding = _from_to(course, "koleo", "; KoLeo, which rises as images crowd together, went from {:.1f} to {:.1f}")
    return Sign(
        "mean_entropy",
        now,
        f"all images of a batch share about {used:.1f} of {prototypes:,} prototypes (mean entropy {now:.3f} of its "
        f"maximum{fell}{crowding})",
        _LESS_EASY,
    )


def _same_answer(course: Course, setting: PretrainSetting) -> Sign | None:
    if not (
        course.throughout("mutual_information", below=SAME_ANSWER)
        and course.throughout("teacher_entropy", below=EVEN_ANSWER)
    ):
        return None
    now = course.now("mutual_information") or 0.0
    return Sign(
        "mutual_information",
        now,
        f"the teacher gives every image the same answer (mutual information {now:.3f} nat; 0 is no difference at all)",
        _LESS_EASY,
    )


def _crowded(course: Course, setting: PretrainSetting) -> Sign | None:
    now, start = course.now("koleo"), course.start("koleo")
    if not course.throughout("koleo", above=CROWDED) or now is None or start is None or now < start + 1:
        return None
    return Sign(
        "koleo",
        now,
        f"the features of different images have become nearly equal (KoLeo rose from {start:.1f} to {now:.1f}: nearest "
        f"images are {math.exp(-now):.4f} of their length apart)",
        _LESS_EASY + "; or thin near-duplicate frames",
    )


def _outputs_alike(course: Course, setting: PretrainSetting) -> Sign | None:
    if not course.throughout("output_std", below=OUTPUTS_ALIKE):
        return None
    now = course.now("output_std") or 0.0
    return Sign(
        "output_std",
        now,
        f"the projections of all images point in one direction (their standard deviation is {now:.3f} of that of evenly "
        "spread ones; a run that learns stays near 1)",
        "a smaller learning rate, a larger batch (batch norm needs one), or --method simclr, which cannot collapse this way",
    )


def _agreed_on_nothing(course: Course, setting: PretrainSetting) -> Sign | None:
    found, start = course.now("retrieval"), course.start("retrieval")
    if found is None or start is None or found > NEARLY_ALL or not course.level("retrieval"):
        return None
    if not course.throughout("loss", below=FULL_AGREEMENT):
        return None
    now = course.now("loss") or -1.0
    return Sign(
        "loss",
        now,
        f"all views predict each other perfectly (loss {now:.3f}; −1 is the least) and yet the other view of an image is "
        f"found in {_percent(found)} of images only, at the start in {_percent(start)}: every image gets one answer",
        "a smaller learning rate, a larger batch (batch norm needs one), or --method simclr, which cannot collapse this way",
    )


def _one_direction(course: Course, setting: PretrainSetting) -> Sign | None:
    if not course.throughout("effective_rank", below=ONE_DIRECTION):
        return None
    now = course.now("effective_rank") or 1.0
    return Sign(
        "effective_rank",
        now,
        f"the features of all images differ in hardly one direction (effective rank {now:.2f}; 1 is none left)",
        "a smaller learning rate, a longer warm-up, or another method",
    )


def _narrow(course: Course, setting: PretrainSetting) -> Sign | None:
    if not course.throughout("feature_std", below=NARROW):
        return None
    now = course.now("feature_std") or 0.0
    return Sign(
        "feature_std",
        now,
        f"the features of all images point in nearly one direction (standard deviation {now:.3f} of that of evenly spread "
        "ones)",
        "a smaller learning rate, a longer warm-up, or another method",
    )


# Stall: nothing is learnt, though nothing is broken -------------------------------------------------------------------

_EASIER = (
    "--method simclr, which starts more easily on few images; else fewer prototypes, a larger batch, or a learning rate "
    "three times higher or lower"
)


def _even_answer(course: Course, setting: PretrainSetting) -> Sign | None:
    entropy, information = course.now("teacher_entropy"), course.now("mutual_information")
    little = little_information(setting)
    if entropy is None or information is None or entropy <= EVEN_ANSWER or information >= little:
        return None
    rises = course.rises("mutual_information", RISE["mutual_information"])
    if rises or not course.level("retrieval") or course.rises("teacher_student_kl", SAME_ANSWER):
        return None
    divergence = _from_to(
        course, "teacher_student_kl", "; teacher and student differ by {1:.2f} nat, at the start {0:.2f}"
    )
    return Sign(
        "mutual_information",
        information,
        f"the teacher's answer hardly depends on the image (mutual information {information:.2f} nat and not rising; a run "
        f"that learns passes {little:.2g}) and prefers no prototype (teacher entropy {entropy:.3f} of its "
        f"maximum{divergence})",
        _EASIER,
    )


def _no_way_from_start(course: Course, setting: PretrainSetting) -> Sign | None:
    information, found = course.now("mutual_information"), course.now("retrieval")
    if information is None or found is None or found > NEARLY_ALL:
        return None
    if not (course.level("mutual_information") and course.level("retrieval")):
        return None
    return Sign(
        "retrieval",
        found,
        f"the other view of an image is found as rarely as at the start (in {_percent(found)} of images, at the start "
        f"{_percent(course.start('retrieval') or 0.0)}), and mutual information stands at {information:.2f} nat",
        _EASIER,
    )


def _contrast_at_chance(course: Course, setting: PretrainSetting) -> Sign | None:
    now, start, found = course.now("loss"), course.start("loss"), course.now("retrieval")
    if now is None or start is None or not course.loss_level() or not course.level("retrieval"):
        return None
    if found is not None and found > NEARLY_ALL:
        return None
    chance = chance_loss(setting)
    if now < (1 - AT_CHANCE) * min(start, chance):
        return None
    words = f"; the other view is found in {_percent(found)} of images, as at the start" if found is not None else ""
    return Sign(
        "loss",
        now,
        f"the loss stays where it began ({now:.2f} nat; {start:.2f} at the start, {chance:.2f} = log(2·{setting.batch} − 1) "
        f"is pure chance){words}",
        "a learning rate three times higher (or lower, if the loss jumps), weaker augmentation, or a larger batch",
    )


def _nothing_rebuilt(course: Course, setting: PretrainSetting) -> Sign | None:
    now = course.now("loss")
    variance = course.now("target_variance") or 1.0  # below 1 where patches are flat, as outside the sector
    if now is None or not course.loss_level() or now < (1 - LEAST_EXPLAINED) * variance:
        return None
    return Sign(
        "loss",
        now,
        f"the hidden patches are rebuilt no better than by one grey each (loss {now:.3f}, and {variance:.3f} is what a "
        "flat guess leaves), and the loss has stopped falling",
        "a learning rate three times higher, a longer run (MAE needs many epochs), or larger crops, so that a patch shows "
        "more than speckle",
    )


def _no_agreement(course: Course, setting: PretrainSetting) -> Sign | None:
    now = course.now("loss")
    if now is None or now <= -NO_AGREEMENT or not course.loss_level() or not course.level("retrieval"):
        return None
    return Sign(
        "loss",
        now,
        f"two views of an image do not predict each other (their cosine is {-now:.2f} and not rising; a run that learns "
        f"passes {NO_AGREEMENT})",
        "a learning rate three times higher, a larger batch, or --method simclr",
    )


def _views_not_found(course: Course, setting: PretrainSetting) -> Sign | None:
    """SimSiam's loss falls in stalled and half-collapsed runs too; retrieval does not lie."""
    found, start = course.now("retrieval"), course.start("retrieval")
    if found is None or start is None or found > NEARLY_ALL or not course.level("retrieval"):
        return None
    if not course.loss_level():
        return None
    return Sign(
        "retrieval",
        found,
        f"the loss has settled, yet the other view of an image is found as rarely as at the start (in {_percent(found)} of "
        f"images, at the start {_percent(start)}): the views agree without telling images apart",
        "a larger batch, a smaller learning rate, or --method simclr",
    )


Look = Callable[[Course, PretrainSetting], Sign | None]

COLLAPSE: dict[str, tuple[Look, ...]] = {
    "dinov2": (_few_prototypes, _same_answer, _crowded, _one_direction, _narrow),
    "simsiam": (_outputs_alike, _agreed_on_nothing, _one_direction, _narrow),
    "simclr": (_one_direction, _narrow),
    "mae": (_one_direction,),  # its features may share a large common part and still hold everything
}

STALL: dict[str, tuple[Look, ...]] = {
    "dinov2": (_even_answer, _no_way_from_start),
    "simsiam": (_no_agreement, _views_not_found),
    "simclr": (_contrast_at_chance,),
    "mae": (_nothing_rebuilt,),
}


# ------------------------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _from_to(course: Course, name: str, words: str) -> str:
    """Words about a signal at the start and now; nothing where it is not measured."""
    now, start = course.now(name), course.start(name)
    return words.format(start, now) if now is not None and start is not None else ""
