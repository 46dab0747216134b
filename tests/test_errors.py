"""Commands end in one line, on whatever terminal."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", ["kerasresnet.fit", "kerasresnet.predict", "tuning.search"])
def test_help_is_shown_on_every_terminal(command, encoding):
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert f"usage: python -m {command}".encode() in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_signs_that_a_terminal_does_not_have_stop_no_command(encoding):
    code = (
        "from kerasresnet.command import exit_on_error\nfrom rich.console import Console\n"
        "with exit_on_error('x'):\n    print('β × …')\n    Console().print('β × …')\n"
        "    raise OSError(28, 'No space left on device', 'β')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 2 and len(done.stderr.splitlines()) == 1
    assert b"; free some room, then type the same again" in done.stderr
