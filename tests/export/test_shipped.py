"""The network that comes with the repository: small, complete, and as good as its card says."""

from pathlib import Path

import pytest

from kerasresnet.disk import read_json
from kerasresnet.network.budget import count_parameters
from kerasresnet.network.spec import ResNetSpec

SHIPPED = Path(__file__).resolve().parents[2] / "saved_models" / "best" / "1"


def card():
    return read_json(SHIPPED / "assets.extra" / "model_card.json")


def test_it_is_small_and_within_the_limit():
    assert sum(f.stat().st_size for f in SHIPPED.rglob("*") if f.is_file()) < 11e6
    found = card()
    assert found["export"]["precision"] == "bfloat16"
    assert count_parameters(ResNetSpec.from_text(found["network"])) == found["parameters"]
    assert found["parameters"] <= 5_000_000


@pytest.mark.slow
def test_it_reaches_what_its_card_says():
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    found = evaluate_path(EvaluateOptions(path=SHIPPED.parent))
    said = card()["test_accuracy_of_this_export"]
    assert found["images"] == 10_000
    # Another processor rounds bfloat16 elsewhere: some images of ten thousand change sides.
    assert found["accuracy"] == pytest.approx(said["export"], abs=0.001)
