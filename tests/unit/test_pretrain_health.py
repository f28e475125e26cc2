"""The judgement on a pretraining, on series made by hand: every alarm, and runs that must not raise one."""

import math

import pytest

from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.course import course_of, window_steps
from fmlab.pretrain.health import judge, metrics_table, probes_table, rose
from fmlab.pretrain.recipes import pretrain_setting
from fmlab.pretrain.signs import chance_loss, fewest_prototypes, little_information, thresholds

STEPS = 1000  # windows of 100, a warm-up of 50: settled from step 250 on


def setting_of(method, **asked):
    given = {"method": method, "sources": [{"dataset": "a"}], "key": "b", "recipe": "small", "steps": STEPS} | asked
    return pretrain_setting(pretraining(given), images=10_000, device="cpu")


def run(until, loss, every=5, **signals):
    """Lines up to a step; a number stays as it is, a pair goes evenly from its first to its second value."""

    def at(value, share):
        return value if isinstance(value, float) else value[0] + share * (value[1] - value[0])

    steps = [1, *range(every, until + 1, every)]
    return [
        {
            "step": step,
            "epoch": 1,
            "images": 128 * step,
            "losses": {"total": at(loss, step / until)},
            "signals": {name: at(value, step / until) for name, value in signals.items()},
        }
        for step in steps
    ]


def probe(step, knn, linear=0.5, half=0.05, **more):
    return {
        "step": step,
        "images": 128 * step,
        "seconds": 1.0,
        "knn": knn,
        "low": knn - half,
        "high": knn + half,
        "linear": linear,
    } | more


LEARNING = {
    "teacher_entropy": (0.95, 0.6),
    "mean_entropy": (0.99, 0.95),
    "mutual_information": (0.1, 2.5),
    "teacher_student_kl": (1.0, 0.6),
    "koleo": (1.7, 0.5),
    "retrieval": (0.1, 0.8),
    "feature_std": (0.5, 0.9),
    "effective_rank": (9.0, 40.0),
}
STALLED = LEARNING | {
    "teacher_entropy": (0.9, 0.985),
    "mean_entropy": 0.99,
    "mutual_information": (0.2, 0.18),
    "teacher_student_kl": (0.9, 0.1),
    "retrieval": 0.12,
}


# Healthy runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "loss", "signals"),
    [
        ("dinov2", (7.0, 5.0), LEARNING),
        ("dinov2", (7.0, 5.0), {}),  # nothing but the loss was measured
        # As measured: the features of a SimCLR run narrow while it learns.
        ("simclr", (4.1, 2.2), {"retrieval": (0.18, 0.52), "feature_std": (0.56, 0.32), "effective_rank": (9.2, 6.0)}),
        ("simclr", 0.4, {"retrieval": 0.97}),  # it has learnt all that there is
        ("mae", (1.06, 0.7), {"feature_std": 0.02, "effective_rank": 5.0}),  # a large common part is no collapse here
        ("mae", 0.7, {}),  # level, but far below a flat guess
        ("simsiam", (0.0, -0.9), {"retrieval": (0.1, 0.6), "output_std": (1.0, 0.9)}),
    ],
)
def test_a_run_that_learns_raises_no_alarm(method, loss, signals):
    for until in (30, 100, 300, 600, STEPS):
        judgement = judge(run(until, loss, **signals), setting_of(method))
        assert judgement.state == ("too early" if until < 250 else "healthy"), judgement.sentence
        assert judgement.step == until


def test_an_early_run_says_from_when_it_is_judged():
    assert judge([], setting_of("dinov2")).state == "too early"
    judgement = judge(run(100, 5.0, **STALLED), setting_of("dinov2"))
    assert judgement.state == "too early"
    assert "step 250" in judgement.sentence


def test_a_run_that_ends_before_it_can_be_judged_says_so():
    judgement = judge(run(20, 5.0), setting_of("mae", steps=20), finished=True)
    assert judgement.state == "too early"
    assert judgement.sentence.startswith("Too short to judge")


def test_planned_steps_decide_where_the_setting_leaves_them_open():
    open_ended = setting_of("dinov2", steps=None, max_minutes=5.0)
    assert open_ended.steps is None
    lines = run(300, 5.0, **STALLED)
    assert judge(lines, open_ended, steps=STEPS).state == "stalled"
    assert judge(lines, open_ended, steps=10 * STEPS).state == "too early"


# Collapse -------------------------------------------------------------------------------------------------------------


def collapsed(method, loss, signal, words, **signals):
    judgement = judge(run(400, loss, **signals), setting_of(method))
    assert (judgement.state, judgement.signal) == ("collapsed", signal), judgement.sentence
    assert words in judgement.sentence
    assert "Try " in judgement.sentence
    return judgement


def test_few_prototypes_are_a_collapse_however_healthy_the_features_look():
    """As measured without centring: spread and rank of the features hardly move while two prototypes remain."""
    judgement = collapsed(
        "dinov2", (4.9, 0.3), "mean_entropy", "of 512 prototypes",
        teacher_entropy=0.02, mean_entropy=0.06, mutual_information=0.3, teacher_student_kl=0.05, koleo=(1.7, 2.8),
        feature_std=(0.51, 0.44), effective_rank=(9.6, 3.7), retrieval=0.13,
    )  # fmt: skip
    assert judgement.value == 0.06
    assert "1.5 of 512" in judgement.sentence
    assert "KoLeo" in judgement.sentence


def test_falling_mean_entropy_is_told_with_where_it_began():
    lines = run(60, (4.9, 0.3), mean_entropy=(0.6, 0.1)) + [
        line | {"step": line["step"] + 60} for line in run(100, 0.3, mean_entropy=0.06)
    ]
    judgement = judge(lines, setting_of("dinov2"))
    assert judgement.state == "collapsed"
    assert "at the start" in judgement.sentence


def test_one_answer_for_all_images_is_a_collapse():
    healthy = LEARNING | {"mutual_information": 0.01, "teacher_entropy": 0.6, "mean_entropy": 0.6}
    lines = run(100, 5.0, **LEARNING) + [line | {"step": line["step"] + 100} for line in run(300, 5.0, **healthy)]
    judgement = judge(lines, setting_of("dinov2"))
    assert (judgement.state, judgement.signal) == ("collapsed", "mutual_information")


@pytest.mark.parametrize(
    ("method", "loss", "signal", "signals"),
    [
        ("dinov2", 5.0, "koleo", {"koleo": 17.0}),
        ("dinov2", 5.0, "effective_rank", {"effective_rank": 1.05}),
        ("dinov2", 5.0, "feature_std", {"feature_std": 0.001}),
        ("simsiam", -0.9, "output_std", {"output_std": 0.01, "retrieval": 0.5}),
        ("simsiam", -0.995, "loss", {"output_std": 0.42, "retrieval": 0.1}),
        ("simsiam", -0.9, "effective_rank", {"effective_rank": 1.0}),
        ("simclr", 4.5, "effective_rank", {"effective_rank": 1.01}),
        ("mae", 0.9, "effective_rank", {"effective_rank": 1.01}),
    ],
)
def test_every_collapse_is_seen_and_names_its_number(method, loss, signal, signals):
    fine = {"koleo": 1.0, "effective_rank": 9.0, "feature_std": 0.5, "output_std": 1.0, "retrieval": 0.1}
    start = run(100, -0.1 if method == "simsiam" else loss, **{name: fine[name] for name in signals})
    lines = start + [line | {"step": line["step"] + 100} for line in run(100, loss, **signals)]
    judgement = judge(lines, setting_of(method))
    assert (judgement.state, judgement.signal) == ("collapsed", signal), judgement.sentence
    assert judgement.value == pytest.approx(signals.get(signal, loss))


def test_a_collapse_is_believed_when_it_lasts_and_not_after_one_bad_batch():
    lines = run(500, (7.0, 5.0), **LEARNING)
    assert judge(lines, setting_of("dinov2")).state == "healthy"
    lines[-1]["signals"]["mean_entropy"] = 0.01
    assert judge(lines, setting_of("dinov2")).state == "healthy"
    for line in lines[-12:]:
        line["signals"]["mean_entropy"] = 0.01
    assert judge(lines, setting_of("dinov2")).state == "collapsed"


def test_a_start_that_looks_collapsed_is_given_the_warm_up():
    alike = {"feature_std": 0.01, "effective_rank": 1.1}
    assert judge(run(200, 4.8, **alike), setting_of("simclr")).state == "too early"
    assert judge(run(300, 4.8, **alike), setting_of("simclr")).state == "collapsed"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_told_at_once(loss):
    lines = run(10, 5.0) + run(15, loss)[-1:]
    judgement = judge(lines, setting_of("mae"))
    assert judgement.state == "collapsed"
    assert judgement.value is None
    assert "learning rate" in judgement.sentence
    assert "last number was 5" in judgement.sentence


# Stall ----------------------------------------------------------------------------------------------------------------


def test_a_dinov2_run_that_prefers_nothing_has_stalled():
    judgement = judge(run(400, (7.0, 6.9), **STALLED), setting_of("dinov2"))
    assert (judgement.state, judgement.signal) == ("stalled", "mutual_information")
    assert judgement.value == pytest.approx(0.18, abs=0.01)
    assert "not rising" in judgement.sentence
    assert "teacher entropy 0.97" in judgement.sentence
    assert "simclr" in judgement.sentence


@pytest.mark.parametrize(
    "better",
    [
        {"mutual_information": (0.1, 0.45)},  # it rises
        {"mutual_information": 0.8, "retrieval": (0.1, 0.3)},
        {"teacher_entropy": 0.7, "retrieval": (0.1, 0.3)},
        {"retrieval": (0.1, 0.5)},  # crops are told apart better and better
        {"teacher_student_kl": (0.2, 1.5), "retrieval": (0.1, 0.3)},
    ],
)
def test_each_sign_of_a_stall_can_be_contradicted(better):
    assert judge(run(400, 6.9, **STALLED | better), setting_of("dinov2")).state == "healthy"


def test_sinkhorn_keeps_information_up_so_that_retrieval_has_to_tell():
    """As measured: Sinkhorn centring forces information of over a nat on a teacher that tells no images apart."""
    forced = LEARNING | {
        "teacher_entropy": 0.81,
        "mean_entropy": 0.998,
        "mutual_information": (1.78, 1.3),
        "retrieval": 0.12,
    }
    judgement = judge(run(400, 6.4, **forced), setting_of("dinov2"))
    assert (judgement.state, judgement.signal) == ("stalled", "retrieval")


def test_simclr_at_chance_has_stalled():
    setting = setting_of("simclr", batch=64)
    assert chance_loss(setting) == pytest.approx(math.log(127))
    judgement = judge(run(400, 4.84, retrieval=0.02, feature_std=0.6, effective_rank=10.0), setting)
    assert (judgement.state, judgement.signal) == ("stalled", "loss")
    assert "4.84" in judgement.sentence
    assert judge(run(400, 4.84, retrieval=(0.02, 0.4)), setting).state == "healthy"
    assert judge(run(400, (4.84, 4.0), retrieval=0.02), setting).state == "healthy"


def test_simclr_that_never_leaves_its_start_has_stalled_though_it_is_below_chance():
    assert judge(run(400, 4.1, retrieval=0.17), setting_of("simclr", batch=48)).state == "stalled"


def test_mae_that_explains_nothing_has_stalled():
    judgement = judge(run(400, 0.995, effective_rank=9.0), setting_of("mae"))
    assert (judgement.state, judgement.signal, judgement.value) == ("stalled", "loss", 0.995)
    assert judge(run(400, (1.3, 0.98)), setting_of("mae")).state == "healthy"  # still falling


def test_mae_on_half_black_images_is_held_against_their_own_variance():
    lines = run(400, 0.52, target_variance=0.52)
    assert judge(lines, setting_of("mae")).state == "stalled"
    assert judge(run(400, 0.52), setting_of("mae")).state == "healthy"


def test_simsiam_stalls_without_agreement_and_without_telling_images_apart():
    judgement = judge(run(400, 0.0, retrieval=0.1, output_std=1.0), setting_of("simsiam"))
    assert (judgement.state, judgement.signal) == ("stalled", "loss")
    judgement = judge(run(400, -0.75, retrieval=0.1, output_std=0.8), setting_of("simsiam"))
    assert (judgement.state, judgement.signal) == ("stalled", "retrieval")


# What labels say ------------------------------------------------------------------------------------------------------


def test_features_no_better_than_their_start_have_learnt_nothing():
    lines = run(STEPS, (7.0, 5.0), **LEARNING)
    probes = [probe(0, 0.45), probe(500, 0.47), probe(STEPS, 0.49)]
    judgement = judge(lines, setting_of("dinov2"), probes, finished=True)
    assert (judgement.state, judgement.signal, judgement.value) == ("stalled", "knn", 0.49)
    assert judgement.sentence.startswith("Learnt nothing")
    assert "49.0 %" in judgement.sentence
    assert "45.0 % (40.0–50.0) of the random start" in judgement.sentence
    assert "128,000 images" in judgement.sentence
    assert "--method simclr" in judgement.sentence
    already = judge(run(STEPS, (5.0, 2.0)), setting_of("simclr"), probes, finished=True)
    assert "--method simclr" not in already.sentence


def test_labels_that_the_start_answers_already_tell_nothing():
    probes = [probe(0, 0.99), probe(STEPS, 1.0)]
    told = judge(run(STEPS, (5.0, 2.0)), setting_of("simclr"), probes, finished=True)
    assert told.state == "too early"
    assert "too easy to tell" in told.sentence


def test_a_stall_that_labels_contradict_is_none():
    lines = run(400, 6.9, **STALLED)
    assert judge(lines, setting_of("dinov2"), [probe(0, 0.45), probe(400, 0.6)]).state == "healthy"


def test_a_collapse_is_one_whatever_labels_said_before():
    lines = run(400, 0.3, mean_entropy=0.05)
    assert judge(lines, setting_of("dinov2"), [probe(0, 0.45), probe(200, 0.6)]).state == "collapsed"


def test_probes_that_have_not_risen_are_told_from_halfway_on():
    lines = run(700, (7.0, 5.0), **LEARNING)
    setting = setting_of("dinov2")
    assert judge(lines[:80], setting, [probe(0, 0.45), probe(300, 0.45)]).state == "healthy"
    judgement = judge(lines, setting, [probe(0, 0.45), probe(600, 0.45)])
    assert judgement.state == "stalled"
    assert "so far" in judgement.sentence


def test_worse_than_the_start_is_said():
    judgement = judge(run(STEPS, 5.0), setting_of("mae"), [probe(0, 0.45), probe(STEPS, 0.3)], finished=True)
    assert judgement.sentence.startswith("Worse than its start")


def test_a_linear_classifier_alone_may_show_that_something_was_learnt():
    probes = [probe(0, 0.45, 0.5), probe(STEPS, 0.46, 0.62)]
    judgement = judge(run(STEPS, 5.0), setting_of("dinov2"), probes, finished=True)
    assert (judgement.state, judgement.signal, judgement.value) == ("healthy", "linear", 0.62)
    wide = [probe(0, 0.45, 0.5, linear_low=0.3, linear_high=0.7), probes[1]]
    assert judge(run(STEPS, 5.0), setting_of("dinov2"), wide, finished=True).state == "stalled"


@pytest.mark.parametrize(
    ("knn", "linear", "told"),
    [
        (0.7, 0.8, "raw pixels reach 70.0 %, and 80.0 % by a linear classifier: it is not yet better than no network"),
        (
            0.7,
            0.5,
            "By nearest neighbours the raw pixels are as good (70.0 %); by a linear classifier it is better than",
        ),
        (
            0.5,
            0.8,
            "By a linear classifier the raw pixels are as good (80.0 %); by nearest neighbours it is better than",
        ),
        (0.5, 0.5, None),
    ],
)
# Nearest neighbours rise from the one start, a linear classifier alone from the other.
@pytest.mark.parametrize("start", [0.45, 0.58])
def test_raw_pixels_that_are_better_are_told(knn, linear, told, start):
    probes = [probe(0, start, 0.5), probe(STEPS, 0.6, 0.65)]
    judgement = judge(run(STEPS, 0.6), setting_of("mae"), probes, finished=True, pixels={"knn": knn, "linear": linear})
    assert judgement.state == "healthy"
    assert judgement.signal == ("knn" if start == 0.45 else "linear")
    assert (told or "Healthy") in judgement.sentence
    assert ("raw pixels" in judgement.sentence) == (told is not None)


def test_a_number_that_is_none_has_not_risen():
    assert not rose(probe(0, 0.5), probe(1, math.nan), "knn")
    assert rose(probe(0, 0.5), probe(1, 0.551), "knn")
    assert not rose(probe(0, 0.5), probe(1, 0.55), "knn")


# Windows, thresholds, tables ------------------------------------------------------------------------------------------


def test_windows_grow_with_the_run_and_hold_six_lines():
    assert [window_steps(steps) for steps in (None, 100, 1000, 100_000)] == [30, 30, 100, 2000]
    sparse = run(400, (0.0, 400.0), every=50)
    course = course_of(sparse, 30)
    assert course.now("loss") == pytest.approx((250 + 300) / 2)  # lines at 150, 200, …, 400: six, not one
    assert course_of(sparse[:5], 30) is None
    dense = course_of(run(400, (0.0, 400.0), every=1), 100)
    assert dense.now("loss") == pytest.approx(350.5)
    assert dense.change("loss") == pytest.approx(100)


def test_a_signal_that_is_not_measured_is_no_number():
    course = course_of(run(400, 1.0, koleo=math.nan), 100)
    assert course.now("koleo") is None
    assert course.now("retrieval") is None
    assert math.isnan(course.change("koleo"))
    assert not course.throughout("koleo", below=1.0)


def test_thresholds_are_those_that_judge():
    found = thresholds(setting_of("dinov2"))
    assert found["teacher_entropy"].value == 0.95
    assert found["mutual_information"].value == 0.5
    assert 512 ** found["mean_entropy"].value == pytest.approx(4)
    assert found["mean_entropy"].state == "collapsed"
    assert thresholds(setting_of("simclr", batch=64))["loss"].value == pytest.approx(0.97 * math.log(127))
    assert "teacher_entropy" not in thresholds(setting_of("mae"))
    assert "feature_std" not in thresholds(setting_of("mae"))
    small = setting_of("dinov2", batch=4)
    assert fewest_prototypes(small) == 1.2
    assert little_information(small) == pytest.approx(0.25 * math.log(4))


def test_tables_have_a_column_for_each_term_and_signal():
    lines = run(10, 5.0, koleo=1.0)
    lines[0]["losses"]["crops"] = 4.0
    table = metrics_table(lines)
    assert {"step", "images", "loss total", "loss crops", "signal koleo"} <= set(table.columns)
    assert table["loss crops"].isna().tolist() == [False, True, True]
    assert probes_table([probe(0, 0.4), probe(5, 0.5)])["knn"].tolist() == [0.4, 0.5]


def test_a_judgement_is_plain_data():
    plain = judge(run(400, 0.995), setting_of("mae")).plain
    assert set(plain) == {"state", "sentence", "signal", "value", "step"}
