"""The contact sheet and its command."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kerasresnet.augment.__main__ import SheetOptions, write_sheet
from kerasresnet.augment.operations import OPERATIONS
from kerasresnet.augment.sheet import COLUMNS, PICTURES, POLICIES, draw_sheet, operation_rows


def pictures(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COLUMNS, 32, 32, channels), dtype=np.uint8)


def test_the_sheet_shows_every_operation_and_every_policy():
    tall, short = draw_sheet(pictures()), draw_sheet(pictures(), policies=POLICIES[:1])
    row = (tall.height - short.height) / (len(POLICIES) - 1)
    assert 64 <= row <= 80
    assert tall.height > row * (len(OPERATIONS) + len(POLICIES))
    assert draw_sheet(pictures(channels=1)).size == tall.size


def test_a_row_begins_with_the_originals_and_goes_on_with_rising_strength():
    images = np.full((PICTURES, 32, 32, 3), 100, np.uint8)
    rows = {row.name: row for row in operation_rows(images)}
    assert list(rows) == list(OPERATIONS)
    brightness = rows["Brightness"].pictures[:, 0, 0, 0].astype(int)
    assert brightness[:PICTURES].tolist() == [100] * PICTURES
    strength = np.abs(brightness - 100).reshape(-1, PICTURES)
    assert (np.diff(strength, axis=0) > 0).all()
    assert rows["Rotate"].detail == "5 15 30 degrees, anticlockwise"


def test_the_command_writes_a_picture_of_the_digits(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    write_sheet(SheetOptions(out=out, data="digits", augment=("crop", "randaugment(m=14)")))
    with Image.open(out) as sheet:
        assert sheet.format == "PNG" and sheet.width > 900
    assert str(out) in capsys.readouterr().out


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "kerasresnet.augment", *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out"),
        (["--out", "sheet.jpg"], ".png"),
        (["--out", "nowhere/at/all/sheet.png"], "folder"),
        (["--out", "sheet.png", "--augment", "crap"], "did you mean 'crop'"),
        (["--out", "sheet.png", "--data", "cifar11"], "did you mean 'cifar10'"),
    ],
)
def test_wrong_flags_end_with_one_sentence_and_code_2(arguments, message):
    result = command(*arguments)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
