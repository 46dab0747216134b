"""A shell completes commands and flags by what is printed, which needs no framework."""

import shutil
import subprocess

import pytest
from test_layout import HEAVY, imported_by

from kerasresnet.__main__ import COMMANDS
from kerasresnet.completion.__main__ import print_script


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    modules, printed = imported_by("-m", "kerasresnet.completion", "bash")
    assert modules & HEAVY == set()
    file = tmp_path_factory.mktemp("completion") / "kerasresnet"
    file.write_text(printed)
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ev"], {"evaluate"}),
        (["fit", "--epo"], {"--epochs", "--epoch-share"}),
        (["search", "--max-p"], {"--max-params"}),
        (["fit", "--precision", "b"], {"bfloat16"}),
    ],
)
def test_bash_completes_commands_flags_and_values(words, found, script):
    typed = " ".join(["kerasresnet", *words])
    lines = [
        f"source {script}",
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMP_LINE='{typed}'",
        "_tyro_kerasresnet",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert {line.strip() for line in done.stdout.splitlines()} == found, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        print_script(shell)
    printed = capsys.readouterr().out
    assert not stop.value.code and all(name in printed for name in COMMANDS)
