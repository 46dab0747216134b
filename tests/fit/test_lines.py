"""What a training prints fits a terminal of 80 columns and says when all will be done."""

import re

import pytest

from kerasresnet.fit import lines
from kerasresnet.fit.lines import EpochLines

LOGS = {"loss": 1.23456, "accuracy": 1.0, "val_loss": 9.87654, "val_accuracy": 1.0}


@pytest.fixture
def clock(monkeypatch):
    """A time that goes on by as much as it is told."""
    clock = {"now": 100.0}
    monkeypatch.setattr(lines.time, "perf_counter", lambda: clock["now"])
    return clock


def train(told, clock, epochs, steps, seconds, compiling=0.0):
    """Epochs `epochs` of so many steps, of `seconds` each."""
    for epoch in epochs:
        told.on_epoch_begin(epoch)
        clock["now"] += compiling if epoch == epochs[0] else 0.0
        for step in range(steps):
            clock["now"] += seconds
            told.on_train_batch_end(step, {"loss": 2.3, "accuracy": 0.5})
        told.on_epoch_end(epoch, LOGS)


def test_a_line_an_epoch_says_when_the_run_will_be_done(clock, capsys):
    # The later epochs cost twice as much: their images are larger.
    told = EpochLines([1.0] * 2 + [2.0] * 2, steps=30)
    train(told, clock, range(4), 30, 2.0)
    first, *epochs = capsys.readouterr().out.splitlines()
    assert first == "2.00 s a step, 16.67 TFLOP/s: about 6 min 00 s for the 6 PFLOP of training"
    assert epochs[0] == "epoch 1/4  loss 1.235  100.00 %  val. 9.877  100.00 %  5 min 00 s left"
    left = [line.rpartition("  ")[2] for line in epochs]
    assert left == ["5 min 00 s left", "4 min 00 s left", "1 min 29 s left", "100.00 %"]


def test_a_run_that_goes_on_counts_what_is_left_from_there_but_no_compiling(clock, capsys):
    told = EpochLines([1.0] * 100, steps=10)
    train(told, clock, [97, 98], 10, 1.0, compiling=300.0)
    epochs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line.rpartition("  ")[2] for line in epochs] == ["20 s left", "10 s left"]


@pytest.mark.parametrize("terminal", [True, False])
def test_no_line_is_longer_than_a_terminal(terminal, clock, monkeypatch, capsys):
    monkeypatch.setattr(lines.sys.stdout, "isatty", lambda: terminal)
    told = EpochLines([1e-6] * 1000, steps=10_000)
    train(told, clock, [997], 40, 8.5)  # 9 min 55 s are left
    shown = re.split(r"[\r\n]+", capsys.readouterr().out.strip())
    assert max(map(len, shown)) < 80 and len(shown) == (42 if terminal else 2)
    # On a terminal a line takes the place of the passing one, all of it.
    assert {len(line) for line in shown[:-1]} == {79} or not terminal
