"""The picture of a search says what its files say, at every moment, for little."""

import dataclasses
import io
import time

import pytest
from made_up_search import SECONDS, MadeUpSearch
from rich.console import Console

from kerasresnet.command import duration
from kerasresnet.run import Run
from tuning.search.oracle.brackets import plan_brackets
from tuning.search.view import live
from tuning.search.view.live import draw, watch
from tuning.search.view.progress import progress_of
from tuning.search.view.trials import SearchReader, best_trial, read_trials

PLANNED = plan_brackets(9, 3).epochs


def drawn(what):
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(what)
    return console.export_text()


def test_before_anything_is_there(tmp_path):
    assert "has not begun" in drawn(draw(SearchReader(tmp_path / "nowhere").read()))
    search = MadeUpSearch(tmp_path / "s")
    text = drawn(draw(SearchReader(search.path).read()))
    assert "hyperband search under 20,000 parameters, digits: 400 images to train on" in text
    assert "0 of 9 × 1 epoch" in text
    assert f"0 of {PLANNED} done" in text
    assert "no epoch measured yet" in text


def test_what_is_done_what_runs_and_what_is_to_come(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=10, failing={"0003"})
    one, two = search.begin("tuner0"), search.begin("tuner1")
    search.train(one, 1)
    search.train(two, 0)
    text = drawn(draw(SearchReader(search.path).read()))
    trials = {trial.trial_id: trial for trial in read_trials(search.path)}
    first = best_trial([t for t in trials.values() if t.epochs == 1])
    assert "9 of 9 × 1 epoch" in text and f"best {100 * first.score:.2f} %" in text
    assert "0 of 3 × 3 epochs, 2 running" in text
    assert "0 of 2 × 9 epochs" in text and "0 of 3 × 9 epochs" in text
    for trial, epochs in ((one, "2 of 3"), (two, "1 of 3")):
        shown = trials[trial.trial_id]
        (line,) = (line for line in text.splitlines() if line.startswith(trial.trial_id))
        assert shown.spec in line and f"{shown.parameters:,}" in line and epochs in line
        assert f"{100 * shown.rows[-1]['val_accuracy']:.2f} %" in line
        assert line.rstrip().endswith(f"from {shown.parent}")
    assert f"{100 * first.score:.2f} % after 1 epoch, trial {first.trial_id}: {first.spec}" in text
    assert f"({first.parameters / 20_000:.1%} of the limit)" in " ".join(text.split())
    assert "9 of 23 done, 1 failed" in text
    assert f"10 of {PLANNED} done" in text
    assert "trial 0003 failed: KerasResNetError: the loss became nan" in text


def test_when_all_is_done(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish()
    text = drawn(draw(SearchReader(search.path).read()))
    assert "1 of 1 × 9 epochs" in text and "3 of 3 × 9 epochs" in text
    assert "running" not in text and " left" not in text
    assert f"{PLANNED} of {PLANNED} done" in text
    assert f"{duration(PLANNED * SECONDS)} of training" in text


def test_a_random_search_is_one_rung(tmp_path):
    search = MadeUpSearch(tmp_path / "s", tuner="random", max_trials=5).finish(trials=2)
    text = drawn(draw(SearchReader(search.path).read()))
    assert "2 of 5 × 9 epochs" in text
    assert "18 of 45 done" in text


def test_of_several_iterations_the_one_that_runs_is_shown(tmp_path):
    search = SearchReader(MadeUpSearch(tmp_path / "s", iterations=2).finish(trials=1).path).read()
    assert "iteration 1 of 2" in drawn(draw(search))
    later = dataclasses.replace(search.trials[0], iteration=1)
    text = drawn(draw(dataclasses.replace(search, trials=(later,))))
    assert "iteration 2 of 2" in text and "1 of 9 × 1 epoch" in text


def test_time_left_is_what_the_epochs_left_will_take(tmp_path):
    search = MadeUpSearch(tmp_path / "s")
    reader = SearchReader(search.path)
    assert progress_of(reader.read()).seconds_left is None
    search.finish(trials=4)
    now = progress_of(reader.read())
    assert (now.epochs_done, now.seconds) == (4, 4 * SECONDS)
    assert now.seconds_left == pytest.approx((PLANNED - 4) * SECONDS)
    assert now.epochs_per_hour == pytest.approx(3600 / SECONDS)
    search.begin("tuner0"), search.begin("tuner1")
    now = progress_of(reader.read())
    assert now.seconds_left == pytest.approx((PLANNED - 4) * SECONDS / 2)
    assert now.epochs_per_hour == pytest.approx(2 * 3600 / SECONDS)


def test_time_left_counts_the_start_of_processes(tmp_path):
    search = MadeUpSearch(tmp_path / "s", tuner="random", max_trials=5).finish(trials=2)
    reader = SearchReader(search.path)
    epochs = progress_of(reader.read()).seconds_left
    assert epochs == pytest.approx(3 * 9 * SECONDS)
    for trial_id, extra in (("0", 8.0), ("1", 12.0)):
        trial = next(t for t in reader.read().trials if int(t.trial_id) == int(trial_id))
        Run(trial.path / "run").update(trial_seconds=9 * SECONDS + extra)
    assert progress_of(reader.read()).seconds_left == pytest.approx(epochs + 3 * 10.0)
    search.begin()
    assert progress_of(reader.read()).seconds_left == pytest.approx(epochs + 2 * 10.0)


def test_a_failed_trial_costs_time_and_brings_no_epoch(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=1)
    trial = search.begin()
    search.train(trial)
    search.end(trial, "ValueError: boom")
    now = progress_of(SearchReader(search.path).read())
    assert (now.epochs_done, now.seconds) == (1, 2 * SECONDS)
    assert now.seconds_left == pytest.approx((PLANNED - 1) * SECONDS)


def test_durations_are_as_exact_as_needed():
    seconds = (0.4, 59.4, 59.6, 92, 599.4, 600, 3570, 3599, 3900, 86_399, 97_200)
    assert [duration(s) for s in seconds] == [
        *("0 s", "59 s", "1 min 00 s", "1 min 32 s", "9 min 59 s", "10 min"),
        *("1 h 00 min", "1 h 00 min", "1 h 05 min", "1 d 00 h", "1 d 03 h"),
    ]


class Steps:
    """A search that goes one step on whenever it is asked whether it is finished."""

    def __init__(self, search, failing=()):
        self.search, self.failing, self.asked = search, failing, 0
        self.steps = self._steps()

    def _steps(self):
        while (trial := self.search.begin()) is not None:
            yield
            self.search.train(trial, 0 if trial.trial_id in self.failing else None)
            yield
            self.search.end(trial, "ValueError: boom" if trial.trial_id in self.failing else None)
            yield

    def __call__(self):
        self.asked += 1
        return next(self.steps, "over") == "over"


@pytest.fixture
def watched(monkeypatch):
    """A function that watches to the end and returns what was printed."""
    monkeypatch.setattr(live, "PAUSE", 0)

    def run(path, finished, *, terminal=False, **settings):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=120, height=50)
        watch(path, finished, console=console, **settings)
        return file.getvalue()

    return run


@pytest.mark.parametrize("terminal", [False, True])
def test_logs_have_one_line_an_event(tmp_path, watched, terminal):
    search = MadeUpSearch(tmp_path / "s")
    steps = Steps(search, failing={"0004"})
    printed = watched(search.path, steps, terminal=terminal, plain=True)
    assert "\x1b" not in printed
    lines = [line.split(" ", 1)[1] for line in printed.splitlines()]
    trials = read_trials(search.path)
    assert len(trials) == 24
    for trial in trials:
        told = [line for line in lines if line.startswith(f"trial {trial.trial_id} ")]
        assert len(told) == 2
        assert trial.spec in told[0] and "started" in told[0]
        assert (f"{trial.parent} is promoted" in told[0]) == bool(trial.parent)
        end = f"finished: {100 * (trial.score or 0):.2f} % after" if trial.score else "failed: "
        assert end in told[1]
    assert "trial 0004 failed: ValueError: boom" in lines
    ends = [line[:17] for line in lines if line.startswith("bracket")]
    assert ends == ["bracket 2 is done", "bracket 1 is done", "bracket 0 is done"]
    assert lines[-1].startswith("the search is done: 23 of 23 trials, the best ")
    assert best_trial(trials).spec in lines[-1]
    assert len(lines) == 2 * 24 + 3 + 1


def test_a_search_that_goes_on_tells_where_it_stands_not_all_over_again(tmp_path, watched):
    search = MadeUpSearch(tmp_path / "s").finish(trials=3)
    trial = search.begin()
    search.train(trial, 0)
    search.restart()
    moments = iter([search.begin, lambda: search.end(trial)])
    search.train(trial)

    def finished():
        step = next(moments, None)
        return step is None or step() == "never"

    first, again, *rest = watched(search.path, finished).splitlines()
    assert "going on: 3 of 23 trials, the best " in first
    assert again.endswith("trial 0003 goes on after 1 epoch")
    assert "trial 0003 finished" in rest[0]
    assert "stopped: 4 of 23 trials" in rest[-1]
    assert len(rest) == 2


def test_the_terminal_shows_the_end_and_draws_only_what_has_changed(tmp_path, watched):
    search = MadeUpSearch(tmp_path / "s")
    steps = Steps(search)
    printed = watched(search.path, steps, terminal=True)
    assert f"{PLANNED} of {PLANNED} done" in printed.rpartition("hyperband search")[2]
    frames = printed.count("hyperband search")
    assert steps.asked / 2 < frames <= steps.asked + 2
    looks = iter(range(200))
    printed = watched(search.path, lambda: next(looks, None) is None, terminal=True)
    assert printed.count("hyperband search") == 2  # first frame, and last


def test_a_look_a_second_takes_less_than_a_percent_of_a_core(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish()
    reader = SearchReader(search.path)
    reader.read()
    begun = time.process_time()
    for _ in range(100):
        reader.read()
    assert time.process_time() - begun < 1.0


def test_markup_in_an_error_is_text(tmp_path):
    search = MadeUpSearch(tmp_path / "s")
    trial = search.begin()
    search.end(trial, "ValueError: shape [/32, 3] is [bold]wrong[/bold]")
    assert "shape [/32, 3] is [bold]wrong[/bold]" in drawn(draw(SearchReader(search.path).read()))
