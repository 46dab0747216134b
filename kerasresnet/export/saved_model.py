"""From a run to `saved_models/<name>/<version>/`, the layout that TF Serving watches.

The SavedModel takes raw pixels or PNG and JPEG files (`kerasresnet.export.signatures`). It is
written aside, reloaded and compared, then renamed: a server that watches the directory sees a
whole version or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.predictor import load_keras
from kerasresnet.recipe import check_name
from kerasresnet.renamed import also_as
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData

# Of a probability, between the Keras model and its reloaded export.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
MAX_BATCH = 1_024  # images of a request


@also_as(labels="class_names")
def export_saved_model(
    run_or_model: Run | str | Path | keras.Model,
    export_dir: str | Path = "saved_models",
    *,
    name: str | None = None,
    version: int | None = None,
    class_names: Sequence[str] | None = None,
    freeze: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
    tta: Literal["flip"] | None = None,
    max_batch: int = MAX_BATCH,
    calibrated: bool = True,
    measure_on: ImageData | None = None,
) -> Path:
    """Export a run (or a model of ours) and return the directory of the new version.

    `name` is the run's own by default, `version` one more than the highest there. `class_names` are
    the names of the classes, the run's own by default, else "0", "1", …. Batch norms are folded
    into convolutions; `freeze` writes variables as constants, which a server runs faster, and
    bfloat16 computes in it. `tta` "flip" answers with the mean over the image and its mirror image,
    for twice the work. A request of more than `max_batch` images is refused. `calibrated` divides
    the logits by the temperature that the run fitted on its validation images, where it had enough:
    the same answers, as sure as they are right. With `measure_on` the model card says what the
    export and the Keras model reach on all of its test images.

    Raises `UsageError` for something that cannot be exported or a version that exists,
    `KerasResNetError` where the written model does not give what the Keras model gives.
    """
    from kerasresnet.export.card import model_card, write_card
    from kerasresnet.export.publish import aside, publish, refuse_taken
    from kerasresnet.export.signatures import write_signatures
    from kerasresnet.export.warmup import write_warmup

    require_tensorflow()
    if max_batch < 1:
        raise UsageError(f"max_batch is 1 image or more, received {max_batch}")
    run, model, name, class_names = resolve(run_or_model, name, class_names)
    temperature = set_temperature(run, model) if calibrated else None
    home = Path(export_dir) / name
    refuse_taken(home, version)
    with aside(home) as folder:
        write_signatures(
            model,
            folder,
            class_names,
            freeze=freeze,
            precision=precision,
            tta=tta,
            max_batch=max_batch,
        )
        _check(model, folder, precision, tta, min(8, max_batch))
        write_warmup(folder, name, model.input_shape[1:], max_batch)
        accuracy = None
        if measure_on:
            accuracy = measure_export(model, folder, measure_on, tta, min(500, max_batch))
        settings = _settings(temperature, freeze, precision, tta, max_batch)
        write_card(model_card(run, class_names, settings, accuracy), folder / "assets.extra")
        return publish(folder, home, version)


def find_saved_model(run: Run, export_dir: str | Path) -> Path | None:
    """The version that `export_saved_model(run, export_dir)` made before; None where it did not.

    A process that is killed when it has published one cannot write down any more where it is.
    """
    from kerasresnet.export.publish import find_version

    made_of = {"model_sha256": run.model_checksum(), "export": _settings(_temperature(run))}
    return find_version(Path(export_dir) / run.fact("name"), made_of)


def _settings(
    temperature: float | None,
    freeze: bool = False,
    precision: str = "float32",
    tta: str | None = None,
    max_batch: int = MAX_BATCH,
) -> dict[str, Any]:
    """What the model card says of how the run's model was exported."""
    settings = {"precision": precision, "frozen": freeze or precision == "bfloat16"}
    settings["max_batch"] = max_batch
    if temperature:
        settings["temperature"] = round(temperature, 4)
    if tta:
        settings["tta"] = tta
    return settings


def require_tensorflow() -> None:
    """Raises `UsageError` where Keras runs on another backend."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"an export needs the tensorflow backend, and this is {keras.backend.backend()}; "
            "run python -m kerasresnet.export with KERAS_BACKEND=tensorflow"
        )


def resolve(
    run_or_model: Any, name: str | None = None, class_names: Sequence[str] | None = None
) -> tuple[Run | None, keras.Model, str, list[str]]:
    """(run, model, name, class_names) of what is to be exported; no run for a bare model."""
    import keras

    run = None
    if isinstance(run_or_model, keras.Model):
        model = run_or_model
    else:
        run = run_or_model if isinstance(run_or_model, Run) else Run.open(run_or_model)
        if not run.model_path.is_file():
            raise UsageError(f"{run.path} holds no model yet: its first epoch is not finished")
        model = load_keras(run.model_path)
        name, class_names = name or run.fact("name"), class_names or run.fact("labels")
    classes = model.output_shape[-1]
    class_names = [str(i) for i in range(classes)] if class_names is None else list(class_names)
    if len(class_names) != classes:
        raise UsageError(
            f"the model has {classes} classes, and {len(class_names)} names were given"
        )
    try:
        return run, model, check_name(name or model.name), class_names
    except ValueError as error:
        raise UsageError(
            f"the model cannot be called {name!r}: {error}; give another --name"
        ) from None


def set_temperature(run: Run | None, model: keras.Model) -> float | None:
    """Divide the logits of `model` by its run's temperature, in its head's own weights.

    Returns the temperature, None (and changes nothing) where the run fitted none.
    """
    if not (temperature := _temperature(run)):
        return None
    head = model.get_layer("head")
    head.set_weights([values / temperature for values in head.get_weights()])
    return temperature


def _temperature(run: Run | None) -> float | None:
    fitted = run.results.get("calibration") if run and run.results_path.is_file() else None
    return fitted["temperature"] if fitted else None


def _check(
    model: keras.Model, folder: Path, precision: str, tta: str | None, count: int = 8
) -> None:
    """Raises `KerasResNetError` unless the reloaded export equals `model` on random images."""
    import tensorflow as tf

    from kerasresnet.evaluate.measure import with_tta

    shape = (count, *model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    loaded = tf.saved_model.load(str(folder))
    expected = tf.nn.softmax(with_tta(model.predict_on_batch, tta)(images)).numpy()
    files = [tf.io.encode_png(image) for image in images]
    for served in (
        loaded.signatures["serving_default"](images=tf.constant(images)),
        loaded.signatures["serving_bytes"](image_bytes=tf.stack(files)),
    ):
        difference = float(np.abs(served["probabilities"].numpy() - expected).max())
        # Written so that NaN fails.
        if not difference <= TOLERANCE[precision]:
            raise KerasResNetError(
                f"the export differs from the model by {difference:g} in a probability, more than "
                f"{TOLERANCE[precision]:g}; nothing was published"
            )


def measure_export(
    model: keras.Model, folder: Path, data: ImageData, tta: str | None, batch_size: int = 500
) -> dict[str, Any]:
    """Accuracy on all test images of `data`, of the SavedModel in `folder` and of `model`."""
    from kerasresnet.evaluate.measure import measure, with_tta
    from kerasresnet.load.predictor import load_predictor

    served = load_predictor(folder)
    found = {"data": data.name, "images": len(data.x_test)}
    for key, predictor in (("export", served), ("keras", with_tta(model.predict_on_batch, tta))):
        metrics = measure(
            predictor, data.x_test, data.y_test, data.class_names, batch_size=batch_size
        )
        found[key] = metrics["accuracy"]
    return found
