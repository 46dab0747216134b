"""Whatever a recipe trains with: a run cut and gone on with is the whole run, bit for bit."""

import io
import zipfile

import h5py
import pytest

from kerasresnet.augment.policy import STEPS
from kerasresnet.recipe import OPTIMIZERS, Recipe
from kerasresnet.run import Run

ONE_CYCLE = {"schedule": "one_cycle", "optimizer": "sgd"}
CASES = {
    **{f"optimizer {name}": {"optimizer": name} for name in OPTIMIZERS},
    "coupled decay": {"optimizer": "sgd", "decay": "coupled", "decay_norm_and_bias": True},
    "norm_rate": {"norm_rate": 8.0},
    "cosine by epoch": {"schedule": "cosine", "schedule_step": "epoch"},
    "constant after a warm-up": {"schedule": "constant", "warmup_epochs": 1.5},
    "restarts": {"schedule": "cosine_restarts", "restart_epochs": 1.0, "restart_growth": 1.0},
    "one_cycle": ONE_CYCLE,
    "linear one_cycle with momentum": ONE_CYCLE
    | {"anneal": "linear", "cycle_momentum": (0.85, 0.95)},
    "ema": {"ema": 0.9},
    "lookahead": {"lookahead": 3},
    **{f"augment {name}": {"augment": (name,)} for name in STEPS},
    "augment flip by turns": {"augment": ("crop", "flip(alternating=true)")},
    "augment nothing": {"augment": ()},
    "all of them on the device": {
        "augment": ("crop", "flip", "randaugment", "cutout", "erase", "mixup", "cutmix"),
        "augment_on": "device",
    },
    "flip by turns on the device": {
        "augment": ("flip(alternating=true)",),
        "augment_on": "device",
    },
    "easy images rest": {
        "epoch_share": 0.75,
        "augment": ("flip(alternating=true)", "cutmix(p=0.3)"),
        "augment_on": "device",
        "resolution": "24:0.6, 32:0.4",
        "lookahead": 3,
    },
    "smaller images first": {"resolution": "16:0.3, 24:0.3, 32:0.4"},
    "whitening stem, max-pool": {"spec": "whiten2-BB1x8m-BN1x4m"},
    "bottlenecks": {"spec": "stem8s2-BB1x8-BN1x4"},
    "balanced": {"class_weights": "balanced"},
    "balanced on the device": {
        "class_weights": "balanced",
        "augment": ("crop", "mixup"),
        "augment_on": "device",
        "epoch_share": 0.75,
    },
    "bfloat16": {"precision": "bfloat16"},
    "best": {"keep": "best"},
}
BASE = {"name": "cut", "spec": "stem4s4-BB1x4", "epochs": 3, "batch_size": 64, "keep": "last"}
BASE |= {"optimizer": "convmuon", "learning_rate": 0.01, "weight_decay": 1e-3}
BASE |= {"precision": "float32"}


def arrays(file):
    """Every array of an HDF5 file, as bytes by name."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return found


def kept(run):
    with zipfile.ZipFile(run.model_path) as archive:
        return arrays(io.BytesIO(archive.read("model.weights.h5")))


def assert_same(run, other):
    """Metrics, the kept network, weights, averages and optimizers of all states: the same bits."""

    def rows(run):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics]

    assert rows(run) == rows(other) and kept(run) == kept(other)
    for ours, theirs in zip(run.states(), other.states(), strict=True):
        assert ours.epoch == theirs.epoch
        assert arrays(ours.weights) == arrays(theirs.weights)
        assert ours.average.exists() == theirs.average.exists()
        if ours.average.exists():
            assert arrays(ours.average) == arrays(theirs.average)


QUICK = ("ema", "easy images rest")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_cut_is_whole(case, digits, make_run):
    from kerasresnet.fit.epochs import train_epochs

    recipe = Recipe(**BASE | CASES[case])
    train, val = (
        (digits.x_train[part], digits.y_train[part]) for part in (slice(192), slice(192, 256))
    )
    whole, cut = make_run(recipe, "whole"), make_run(recipe, "cut")
    train_epochs(whole, recipe, train, val, seed=3)
    for until in (1, 3):  # each time a network, an optimizer and a pipeline that are new
        train_epochs(Run.open(cut.path), recipe, train, val, seed=3, until=until)
    assert_same(cut, whole)
