"""Statistics against hand-computed values, and the real command on synthetic runs."""

import csv
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.run_folders import write_run
from vlajs_training import compare
from vlajs_training.comparison.curves import crossing, mean_success, on_grid, success_curve
from vlajs_training.comparison.report import cost_text, ratio_text
from vlajs_training.comparison.results import Comparison, compare_runs
from vlajs_training.comparison.statistics import (
    Costs,
    cost_ratio,
    interquartile_mean,
    mean_band,
    probability_of_improvement,
    stratified_interval,
)
from vlajs_training.runs import Curve, RunError, RunFolder

INF = float("inf")


def curve(*success: float) -> Curve:
    steps = np.arange(1, len(success) + 1) * 10_000
    return Curve(steps=steps, seconds=steps / 100.0, success=np.array(success))


# -- curves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("success", "steps"),
    [
        ((0.1, 0.5, 0.8, 0.9), 30_000),
        ((0.1, 0.85, 0.2, 0.81, 0.75), 40_000),  # one lucky evaluation; then 0.75 is just within the slack
        ((0.1, 0.85, 0.74, 0.2), None),  # 0.74 < 0.80 - 0.05
        ((0.1, 0.2, 0.9), None),  # at the end: the one before (0.2) does not confirm it
        ((0.1, 0.76, 0.9), 30_000),  # at the end: the one before (0.76) does
        ((0.9,), None),
        ((0.7, 0.79, 0.79), None),
    ],
)
def test_a_threshold_is_reached_where_the_next_evaluation_agrees(success: tuple[float, ...], steps: int | None) -> None:
    found = crossing(curve(*success), 0.8)
    assert (found and found.steps) == steps
    if found:
        assert found.seconds == found.steps / 100.0


@given(st.lists(st.integers(0, 256), min_size=1, max_size=12), st.sampled_from([0.5, 0.8, 0.9]))
def test_a_crossing_is_a_point_at_or_above_the_threshold(counts: list[int], threshold: float) -> None:
    made = curve(*(count / 256 for count in counts))
    found = crossing(made, threshold)
    if found is not None:
        assert made.success[list(made.steps).index(found.steps)] >= threshold
    elif len(counts) > 1:
        above = made.success >= threshold
        assert not (above[:-1] & above[1:]).any()  # two in a row would have counted


def test_training_success_is_averaged_over_windows(tmp_path: Path) -> None:
    # windows of 10,000 steps of ten rollouts: 0.0 ... 0.9 averages 0.45, then five rollouts of 1.0
    run = RunFolder.load(write_run(tmp_path / "run", training=[i / 10 for i in range(10)] + [1.0] * 5))
    windowed = success_curve(run, "training")
    np.testing.assert_array_equal(windowed.steps, [10_000, 15_000])
    np.testing.assert_allclose(windowed.success, [0.45, 1.0])


def test_common_grid_is_where_all_seeds_were_measured() -> None:
    other = Curve(steps=np.array([5_000, 25_000]), seconds=np.array([1.0, 2.0]), success=np.array([0.0, 1.0]))
    grid, values = on_grid([curve(0.0, 0.4, 0.8), other], "steps", points=4)
    np.testing.assert_allclose(grid, [10_000, 15_000, 20_000, 25_000])
    np.testing.assert_allclose(values[0], [0.0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(values[1], [0.25, 0.5, 0.75, 1.0])


def test_mean_success_is_the_area_under_the_curve() -> None:
    # from (0, 0): 0.5 * 10k * 0.4 = 2k; 10k * 0.6 = 6k; half of the last interval: 5k * 0.85 = 4.25k; of 25k
    assert mean_success(curve(0.4, 0.8, 1.0), 25_000) == pytest.approx((2_000 + 6_000 + 4_250) / 25_000)
    assert mean_success(curve(0.4, 0.8, 1.0), 10_000) == pytest.approx(0.2)


# -- statistics --------------------------------------------------------------------------------------------------


def costs(*values: float, budget: float = 400.0) -> Costs:
    return Costs(reached=np.array(values), observed=np.minimum(values, budget))


def test_medians_of_censored_runs() -> None:
    assert (costs(100, INF, 200).median, costs(100, INF, 200).median_at_least) == (200.0, 200.0)
    # two of three did not get there: the median is one of those, at least 400
    assert (costs(100, INF, INF).median, costs(100, INF, INF).median_at_least) == (INF, 400.0)
    # of four, two: the median lies between 200 and infinity, at least (200 + 400) / 2
    assert (costs(100, 200, INF, INF).median, costs(100, 200, INF, INF).median_at_least) == (INF, 300.0)
    assert cost_text(costs(100, INF, INF), "env_steps") == "not reached in 400"
    assert cost_text(costs(90, 120, 150), "seconds") == "2.0"


def test_ratio_is_median_by_median() -> None:
    ratio = cost_ratio(costs(100, 120, 140), costs(240, 300, 400))
    assert (ratio.low, ratio.high) == (0.4, 0.4)
    # the extreme resamples are all-100 over all-400 and all-140 over all-240; each median is an observed value
    assert 100 / 400 <= ratio.interval.low < 0.4 < ratio.interval.high <= 140 / 240
    assert ratio.text == "0.40"


@pytest.mark.parametrize(
    ("method", "baseline", "text", "interval"),
    [
        # the baseline never got there: at most 120 / 400, and nothing is known below
        (costs(100, 120, 140), costs(INF, INF, INF), "< 0.30", (0.0, 0.35)),
        # the method never did: at least 400 / 200; resamples of the baseline reach from 400 / 250 to no limit
        (costs(INF, INF, INF), costs(160, 200, 250), "> 2.00", (1.6, INF)),
        (costs(INF, INF), costs(INF, INF), "unknown", (0.0, INF)),
    ],
)
def test_ratio_with_runs_that_never_got_there(
    method: Costs, baseline: Costs, text: str, interval: tuple[float, float]
) -> None:
    ratio = cost_ratio(method, baseline)
    assert ratio.text == text
    assert (ratio.interval.low, ratio.interval.high) == pytest.approx(interval)
    assert ratio_text(ratio).startswith(text)


def test_interval_of_a_ratio_without_spread_is_a_point() -> None:
    ratio = cost_ratio(costs(100, 100), costs(200, 200))
    assert (ratio.interval.low, ratio.interval.high) == (0.5, 0.5)


def test_band_over_seeds() -> None:
    # two seeds at 0 and 1: a quarter of the resamples hold the first alone, a quarter the second alone
    mean, low, high = mean_band(np.array([[0.0, 0.5], [1.0, 0.5]]))
    np.testing.assert_allclose(mean, [0.5, 0.5])
    np.testing.assert_allclose(low, [0.0, 0.5])
    np.testing.assert_allclose(high, [1.0, 0.5])
    alone = mean_band(np.array([[0.3, 0.4]]))
    np.testing.assert_allclose(alone, [[0.3, 0.4]] * 3)


def test_interquartile_mean_drops_a_quarter_on_each_side() -> None:
    # eight scores: 0.0 and 0.1, 0.9 and 1.0 are dropped; (0.2 + 0.4 + 0.6 + 0.8) / 4
    tasks = [np.array([0.0, 0.2, 0.6, 1.0]), np.array([0.1, 0.4, 0.8, 0.9])]
    assert interquartile_mean(tasks) == pytest.approx(0.5)
    assert interquartile_mean([np.array([0.0, 0.0, 0.9])]) == pytest.approx(0.3)  # a quarter of three is nobody


def test_probability_of_improvement_counts_pairs_within_tasks() -> None:
    # task 1: 3 > 1, 3 > 2, 2 > 1 win, 2 = 2 half: 3.5 of 4; task 2: 0 of 2
    ours = [np.array([2.0, 3.0]), np.array([1.0])]
    theirs = [np.array([1.0, 2.0]), np.array([5.0, 6.0])]
    assert probability_of_improvement(ours, theirs) == pytest.approx((3.5 / 4 + 0) / 2)
    assert probability_of_improvement(theirs, ours) == pytest.approx((0.5 / 4 + 1) / 2)


def test_bootstrap_resamples_within_tasks() -> None:
    # no spread within a task, much between them: resampling across tasks would widen the interval
    scores = [np.array([0.0, 0.0, 0.0]), np.array([1.0, 1.0, 1.0])]
    interval = stratified_interval(interquartile_mean, scores)
    assert (interval.low, interval.high) == pytest.approx((0.5, 0.5))
    # one task of 0 and 1: a quarter of the resamples are all 0, a quarter all 1
    interval = stratified_interval(interquartile_mean, [np.array([0.0, 1.0])])
    assert (interval.low, interval.high) == (0.0, 1.0)


# -- runs --------------------------------------------------------------------------------------------------------

SLOW = [0.0, 0.2, 0.4, 0.52, 0.6, 0.7, 0.81, 0.85, 0.92, 0.93]
FAST = [0.3, 0.55, 0.82, 0.93, 0.95, 0.95, 0.95, 0.95, 0.95, 0.96]
NEVER = [0.0] * 10


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for seed in (1, 2):
        made.append(write_run(tmp_path / f"ppo{seed}", SLOW, seed=seed))
        made.append(write_run(tmp_path / f"vlajs{seed}", FAST, seed=seed, method="vlajs", teacher_scale=0.25))
        made.append(write_run(tmp_path / f"rpd{seed}", NEVER, seed=seed, method="vlajs-rpd", teacher_scale=0.25))
    return made


def compared(folders: list[Path]) -> Comparison:
    return compare_runs([RunFolder.load(folder) for folder in folders])


def test_command_writes_everything(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert compare.main([*map(str, folders), "--output", str(output)]) == 0
    captured = capsys.readouterr()
    last = captured.out.splitlines()[-1]
    assert last == f"RESULT runs=6 groups=3 measure=validation report={output / 'report.html'}"
    assert "bootstrap intervals are narrower than the truth" in captured.err

    rows = list(csv.reader((output / "steps_to_threshold.csv").open()))
    header = "task reward method teacher teacher_scale seed steps_to_50 steps_to_80 steps_to_90 final_success budget"
    assert rows[0] == header.split()
    assert rows[1] == ["pick_cube", "sub_optimal", "ppo", "", "", "1", "40000", "70000", "90000", "0.9300", "100000"]
    assert rows[3][2:10] == ["vlajs-rpd", "scripted", "0.25", "1", "", "", "", "0.0000"]
    assert rows[5][2:10] == ["vlajs", "scripted", "0.25", "1", "20000", "30000", "40000", "0.9600"]

    ratios = list(csv.DictReader((output / "ratio_to_ppo.csv").open()))
    (eighty,) = [r for r in ratios if (r["method"], r["axis"], r["threshold"]) == ("vlajs", "env_steps", "0.8")]
    assert float(eighty["ratio_low"]) == float(eighty["ratio_high"]) == pytest.approx(3 / 7, abs=1e-4)
    (never,) = [r for r in ratios if (r["method"], r["axis"], r["threshold"]) == ("vlajs-rpd", "env_steps", "0.8")]
    assert (never["median"], never["median_at_least"], never["seeds_reached"]) == ("", "100000.0", "0")
    assert float(never["ratio_low"]) == pytest.approx(10 / 7, abs=1e-4)
    assert never["ratio_high"] == ""

    page = (output / "report.html").read_text()
    assert "validation success" in page
    assert "not reached in 100,000" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []  # nothing is fetched
    for name in ("learning_curves", "steps_to_threshold", "aggregates"):
        image = matplotlib.image.imread(output / f"{name}.png")
        assert image.shape[1] == 1500
        assert image.std() > 0.05  # something is drawn
    assert not list(output.glob("*.partial"))


def test_one_run_without_regular_validations_turns_all_to_training_success(folders: list[Path], tmp_path: Path) -> None:
    odd = write_run(tmp_path / "odd", training=[0.5] * 100, seed=3)
    comparison = compared([*folders, odd])
    assert comparison.measure == "training"
    assert str(odd) in comparison.notes[0]
    assert "--validate-from-success 0" in comparison.notes[0]


def test_the_same_seed_twice_is_refused(folders: list[Path], tmp_path: Path) -> None:
    again = write_run(tmp_path / "again", SLOW, seed=1)
    with pytest.raises(RunError, match=r"ppo1 and .*again are both seed 1 of ppo"):
        compared([*folders, again])


def test_settings_that_differ_are_shown(folders: list[Path], tmp_path: Path) -> None:
    assert compared(folders).differing == ()
    other = write_run(tmp_path / "other", SLOW, seed=3, ppo={"rollout_steps": 10, "learning_rate": 0.002})
    assert compared([*folders, other]).differing == (("ppo.learning_rate", "0.001; 0.002"),)


def test_an_unfinished_run_counts_for_what_it_did(folders: list[Path], tmp_path: Path) -> None:
    short = write_run(tmp_path / "short", NEVER[:3], seed=3)
    comparison = compared([*folders, short])
    (group,) = [group for group in comparison.groups if group.algorithm.method == "ppo"]
    np.testing.assert_array_equal(group.costs(0.8, "env_steps").observed, [70_000, 70_000, 30_000])
    assert any("trained for 30,000 of 100,000" in note for note in comparison.notes)


def test_tasks_that_not_all_were_run_on_are_left_out_of_aggregates(folders: list[Path], tmp_path: Path) -> None:
    extra = write_run(tmp_path / "extra", FAST, task="push_cube")
    comparison = compared([*folders, extra])
    assert {aggregate.tasks for aggregate in comparison.aggregates} == {("pick_cube",)}
    assert any("leave out push_cube" in note for note in comparison.notes)
    by_label = {aggregate.algorithm.label: aggregate.final for aggregate in comparison.aggregates}
    assert by_label == pytest.approx({"ppo": 0.93, "vlajs, scripted x0.25": 0.96, "vlajs-rpd, scripted x0.25": 0.0})


@pytest.mark.parametrize(("words", "message"), [([], "no run given"), (["/nowhere"], "/nowhere is no run folder")])
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert compare.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
