"""How well an early rung foretells the end, and whether averaged weights make it better.

python benchmarks/rungs.py searches/cifar10-5000000       trials of a search, of a study, results
python benchmarks/rungs.py results docs/search-300k/leaderboard.json
python benchmarks/rungs.py --measure 16 --out benchmarks/rungs.json     minutes, on the digits

A rung is the validation accuracy after so many epochs; printed is Spearman's rank correlation with
that after the last one, over the runs that have as many epochs, those whose weights are averaged
apart from the others. In a search only promoted trials come to the end: what is told of those says
less than of runs that were all trained through.

--measure trains networks drawn from the space through, with averaged weights, and scores the last
weights too at every epoch: the same runs as two searches would see them. That is possible with
`ema` alone, which changes no training; `lookahead` does. What is done stands in --out at any time.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from scipy.stats import spearmanr

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run, versions
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.view.trials import SearchReader

LAST, AVERAGED = "last weights", "averaged weights"
RESAMPLED = 2_000  # bootstrap samples of the runs
# What --measure draws from: shapes and rates; all else is the recipe's, or one network in four
# would not train at all in so few epochs.
DRAWN = {"optimizer": "convmuon", "randaugment": 0, "resolution": "none", "average": "none"}
LIMIT = 20_000  # parameters


@dataclass(frozen=True)
class RungsOptions:
    """Rank correlations between each rung and the end."""

    paths: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="PATH")] = ()
    """Directories of searches, studies and results, leaderboard.json files, files of --out."""
    measure: int | None = None
    """Train so many networks on the digits instead."""
    epochs: int = 9
    """--measure: epochs of each."""
    ema: float = 0.98
    """--measure: the share of the past in the average."""
    out: Path | None = None
    """--measure: a JSON file for the curves."""


@dataclass(frozen=True)
class Curve:
    """Validation accuracy, 0 … 1, after each epoch of one run."""

    kind: str
    scores: tuple[float, ...]


def read_curves(path: Path) -> Iterator[Curve]:
    """The curves that `path` holds. Raises `UsageError` where it holds none."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a search, a study, or result files")
    if (path / "search.json").is_file():
        found = list(_of_search(path))
    else:
        files = [path] if path.is_file() else sorted(path.rglob("*.json"))
        found = [curve for file in files for curve in _of_file(file)]
    if not found:
        raise UsageError(f"{path} holds no validation accuracy by epoch")
    yield from found


def _of_search(folder: Path) -> Iterator[Curve]:
    trials = [trial for trial in SearchReader(folder).read().trials if trial.rows]
    parents = {trial.parent for trial in trials}
    for trial in trials:
        if trial.trial_id not in parents:  # a promoted one holds its parent's epochs
            kind = AVERAGED if trial.recipe.ema or trial.recipe.lookahead else LAST
            yield Curve(kind, tuple(row["val_accuracy"] for row in trial.rows))


def _of_file(file: Path) -> Iterator[Curve]:
    """Curves of a result file, a leaderboard, or what --measure wrote; none of anything else."""
    try:
        found = read_json(file)
    except KerasResNetError as error:
        raise UsageError(str(error)) from None
    if not isinstance(found, dict):
        return
    if "recipe" in found and "epochs" in found:
        rows, recipe = found["epochs"], found["recipe"]
        if all("val_accuracy" in row for row in rows):
            kind = AVERAGED if recipe.get("ema") or recipe.get("lookahead") else LAST
            yield Curve(kind, tuple(row["val_accuracy"] for row in rows))
    elif "trials" in found:
        parents = {trial["promoted_from"] for trial in found["trials"]}
        for trial in found["trials"]:
            if trial["trial"] not in parents:
                average = trial["hyperparameters"].get("average", "none") != "none"
                yield Curve(AVERAGED if average else LAST, tuple(trial["val_accuracy"]))
    for network in found.get("networks", ()):
        yield Curve(LAST, tuple(network["last"]))
        yield Curve(AVERAGED, tuple(network["averaged"]))


def whole(curves: Sequence[Curve], kind: str) -> np.ndarray:
    """Scores [runs, epochs] of the runs of a kind that have the most epochs."""
    scores = [curve.scores for curve in curves if curve.kind == kind]
    most = max(map(len, scores), default=0)
    return np.array([found for found in scores if len(found) == most])


def correlation(scores: np.ndarray, epoch: int) -> float:
    """Spearman's between the scores [runs, epochs] after `epoch` and the last; NaN if all equal."""
    early, late = scores[:, epoch - 1], scores[:, -1]
    if min(len(set(early)), len(set(late))) < 2:
        return float("nan")
    return float(spearmanr(early, late).statistic)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the middle 90 % of the numbers among `values` lie."""
    low, high = np.nanquantile(values, [0.05, 0.95])
    return float(low), float(high)


def print_rungs(curves: Sequence[Curve]) -> None:
    """A line for each kind and rung, with the interval that other runs might have given."""
    for kind in (LAST, AVERAGED):
        scores = whole(curves, kind)
        if not len(scores):
            print(f"{kind}: no run")
            continue
        runs, epochs = scores.shape
        print(f"{kind}: {runs} runs of {epochs} epochs")
        if runs < 3:
            print("  too few to rank")
            continue
        draw = np.random.default_rng(0)
        picks = [draw.integers(runs, size=runs) for _ in range(RESAMPLED)]
        for epoch in range(1, epochs):
            low, high = interval([correlation(scores[pick], epoch) for pick in picks])
            print(
                f"  after {epoch:3} of {epochs}: {correlation(scores, epoch):5.2f}   "
                f"(90 % of resampled runs: {low:5.2f} … {high:5.2f})"
            )


def print_difference(curves: Sequence[Curve]) -> None:
    """What averaging adds to each rung's correlation, over the same runs."""
    last, averaged = whole(curves, LAST), whole(curves, AVERAGED)
    draw = np.random.default_rng(0)
    picks = [draw.integers(len(last), size=len(last)) for _ in range(RESAMPLED)]
    print("averaged less last, the same runs:")
    for epoch in range(1, last.shape[1]):
        gains = [correlation(averaged[p], epoch) - correlation(last[p], epoch) for p in picks]
        low, high = interval(gains)
        gain = correlation(averaged, epoch) - correlation(last, epoch)
        print(f"  after {epoch:3}: {gain:+5.2f}   (90 %: {low:+5.2f} … {high:+5.2f})")


def measure(options: RungsOptions) -> dict[str, Any]:
    """Train networks on the digits, and score last and averaged weights after every epoch."""
    quiet_tensorflow()
    import keras

    from kerasresnet.data import load_data, train_val_split
    from kerasresnet.fit.epochs import train_epochs
    from kerasresnet.machine import describe_device

    class LastWeights(keras.callbacks.Callback):
        """Scores the weights of the last step; validation itself sees the average."""

        def __init__(self) -> None:
            super().__init__()
            self.scores: list[float] = []

        def on_epoch_end(self, epoch, logs=None):
            right = np.argmax(self.model.predict_on_batch(val[0]), axis=-1) == val[1]
            self.scores.append(float(right.mean()))

    data = load_data("digits", None)
    train, val = train_val_split(data.x_train, data.y_train, 400, 0)
    base = Recipe.named("digits").replace(max_params=LIMIT, epochs=options.epochs, keep="last")
    space, draw, networks = Space(base, narrow(DRAWN, base)), random.Random(0), []
    about = {"device": describe_device(), "versions": versions(), "data": "digits"}
    about |= {"images": {"train": len(train[0]), "val": len(val[0])}, "ema": options.ema}
    found = {**about, "drawn_from": space.to_json(), "networks": networks}
    for seed in range(options.measure):
        recipe = space.recipe(space.sample(draw)).replace(ema=options.ema)
        last = LastWeights()
        with tempfile.TemporaryDirectory(prefix="kerasresnet-rungs-") as folder:
            run = Run.create(Path(folder) / "run", recipe, {})
            train_epochs(run, recipe, train, val, seed=seed, callbacks=[last])
            averaged = [row["val_accuracy"] for row in run.metrics]
        print(f"{recipe.spec}: {last.scores[-1]:.2%} last, {averaged[-1]:.2%} averaged", flush=True)
        networks.append({"spec": str(recipe.spec), "last": last.scores, "averaged": averaged})
        if options.out:
            write_json(options.out, found)
    return found


def main() -> None:
    with exit_on_error("benchmarks/rungs.py"):
        options = parse(RungsOptions, None, prog="python benchmarks/rungs.py")
        if (options.measure is None) == (not options.paths):
            raise UsageError("give paths of searches, studies or results, or --measure N")
        if options.measure is not None and (options.measure < 3 or options.epochs < 2):
            raise UsageError("--measure is 3 networks or more, --epochs 2 or more")
        if options.measure is None:
            print_rungs([curve for path in options.paths for curve in read_curves(path)])
            return
        networks = measure(options)["networks"]
        curves = [Curve(LAST, tuple(n["last"])) for n in networks]
        curves += [Curve(AVERAGED, tuple(n["averaged"])) for n in networks]
        print_rungs(curves)
        print_difference(curves)


if __name__ == "__main__":
    main()
