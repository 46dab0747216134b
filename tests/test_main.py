"""All commands under one name."""

import subprocess
import sys

import pytest

from kerasresnet.__main__ import COMMANDS, run_command
from kerasresnet.errors import UsageError


def test_without_a_command_it_names_them_all(capsys):
    run_command([])
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in COMMANDS)


def test_it_says_its_version(capsys):
    run_command(["--version"])
    assert capsys.readouterr().out.startswith("kerasresnet 0.")


def test_a_misspelt_command_is_told_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'search'"):
        run_command(["serach"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_that_of_its_module(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(SystemExit) as stop:
        run_command([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: python -m {COMMANDS[name][0]}" in capsys.readouterr().out


def test_a_mistake_in_a_flag_ends_as_it_does_there():
    done = subprocess.run(
        [sys.executable, "-m", "kerasresnet", "fit", "--epoch", "3"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "kerasresnet.fit: error: " in done.stderr
    assert "--epochs" in done.stderr
