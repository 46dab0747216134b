"""The named specs for larger images go the whole way, on photographs of that size."""

import sys

import numpy as np
import pytest
from PIL import Image

from kerasresnet.network.budget import count_parameters
from kerasresnet.run import Run


@pytest.fixture
def crops(tmp_path, request):
    """A folder of crops of scikit-learn's two photographs: which of them is this from?

    Those to test are from the right third, which those to train do not reach.
    """
    from sklearn.datasets import load_sample_image

    size, rng = request.param, np.random.default_rng(0)
    for name in ("china", "flower"):
        photograph = load_sample_image(f"{name}.jpg")  # [427, 640, 3]
        for part, count, first, end in (("train", 40, 0, 400), ("test", 10, 400, 640)):
            folder = tmp_path / "crops" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                x, y = rng.integers(first, end - size + 1), rng.integers(0, 427 - size + 1)
                pixels = photograph[y : y + size, x : x + size]
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "crops"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crops", "spec"), [(64, "images64"), (224, "images224")], indirect=["crops"]
)
def test_a_named_spec_learns_is_exported_and_predicts(crops, spec, monkeypatch, capsys):
    from kerasresnet.fit.options import parse_fit_options
    from kerasresnet.fit.training import fit_command
    from kerasresnet.predict.__main__ import main

    home, size = crops.parent, spec.removeprefix("images")
    where = ["--run-dir", str(home / "run"), "--export-dir", str(home / "served")]
    flags = ["--spec", spec, "--epochs", "4", "--batch-size", "8"]
    fit_command(parse_fit_options(["--data", str(crops), *where, *flags]))
    run = Run.open(home / "run")
    assert run.recipe.spec.to_text().endswith(f"-classes2-in{size}x{size}x3")
    assert count_parameters(run.recipe.spec) < 5_000_000
    losses = [row["loss"] for row in run.metrics]
    assert losses[-1] < losses[0] / 2 and run.results["test"]["accuracy"] > 0.8
    picture = crops / "test" / "flower" / "3.png"
    export = home / "served" / run.fact("name")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["predict", str(export), str(picture)])
    main()
    assert "3.png" in (said := capsys.readouterr().out) and "flower" in said
