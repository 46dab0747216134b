"""Where a run goes on: the newest state that is whole, and what was measured up to it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kerasresnet.errors import KerasResNetError, first_line
from kerasresnet.run.record import Row

if TYPE_CHECKING:
    import keras

    from kerasresnet.run import Run


class NothingLeft(KerasResNetError):
    """A run has been trained, and no state of it can be read."""


def restore(
    run: Run,
    model: keras.Model,
    network: keras.Model,
    kept: keras.Model,
    *,
    keep: str,
    averaged: bool,
) -> int:
    """Load the run's newest whole state into the compiled `model`; returns the epochs behind it.

    `network` is what `model` trains, `kept` the network that the run keeps, which holds the
    averaged weights where they are `averaged`. Metrics are set back to those of the state, and
    model.keras is mended from it where that is possible. Raises `NothingLeft` where there are
    states and none of them will do.
    """
    refused = []
    metrics = _metrics(run, refused)
    for state in run.states():
        try:
            rows = state.check(metrics, averaged=averaged)
            # The optimizer's variables must exist before its weights load, or stay untouched.
            model.optimizer.build(model.trainable_variables)
            model.load_weights(state.weights)
            if averaged:
                kept.load_weights(state.average)
            _mend_model(run, network, kept, rows, keep=keep, averaged=averaged)
        except Exception as error:  # whatever a damaged file makes Keras raise
            refused.append(_reason(error, state.weights.name))
            continue
        if refused or metrics[: state.epoch] != rows:
            refused += [] if metrics[: state.epoch] == rows else ["metrics.json says otherwise"]
            _say(f"{run.path}: {'; '.join(refused)}: going on from epoch {state.epoch}")
            run.write_metrics(rows)
        return state.epoch
    if refused or len(metrics) > 1:  # the first epoch writes its metrics before its state
        reasons = "; ".join(refused) or f"it has metrics of {len(metrics)} epochs and no state"
        raise NothingLeft(
            f"{run.path} cannot go on: {reasons}; begin again with python -m kerasresnet.fit "
            f"--recipe {run.path / 'recipe.toml'}"
        )
    return 0


def _metrics(run: Run, refused: list[str]) -> list[Row]:
    try:
        return run.metrics
    except KerasResNetError as error:
        refused.append(str(error))
        return []


def _mend_model(
    run: Run,
    network: keras.Model,
    kept: keras.Model,
    rows: list[Row],
    *,
    keep: str,
    averaged: bool,
) -> None:
    """Write model.keras again where it is damaged; raises `KerasResNetError` where none can."""
    if run.holds_model():
        return
    scores = [row.get("val_accuracy", 0.0) for row in rows]
    best = len(rows) if keep == "last" else scores.index(max(scores)) + 1
    if best != len(rows):
        raise KerasResNetError(
            f"{run.model_path.name} is damaged, and with it the weights of epoch {best}, the best"
        )
    if not averaged:
        kept.set_weights(network.get_weights())
    run.save_model(kept)
    _say(f"{run.model_path} was damaged: written again from epoch {best}")


def _reason(error: Exception, name: str) -> str:
    """One line that names the file, whoever raised it."""
    told = first_line(error)
    return told if isinstance(error, KerasResNetError) else f"{name} does not load: {told}"


def _say(text: str) -> None:
    print(f"kerasresnet.fit: {text}", file=sys.stderr, flush=True)
