"""From a run to `saved_models/<name>/<version>/`, the layout that TF Serving watches.

    python -m kerasresnet.export runs/20260131-101500-quick

The SavedModel takes raw pixels, uint8 [N, H, W, C], and gives probabilities [N, classes],
class_id [N] and label [N]. It is written aside, reloaded and compared, then renamed: a server
that watches the directory sees a whole version or none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from kerasresnet.errors import KerasResNetError, UsageError, exit_on_error
from kerasresnet.options import parse
from kerasresnet.quiet import quiet_tensorflow
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-4  # of a probability, between the Keras model and its reloaded export


def export_saved_model(
    run_or_model: Run | str | Path | keras.Model,
    export_dir: str | Path = "saved_models",
    *,
    name: str | None = None,
    version: int | None = None,
    labels: Sequence[str] | None = None,
) -> Path:
    """Export a run (or a model of ours) and return the directory of the new version.

    `name` is the run's own by default, `version` one more than the highest there. `labels` are
    the names of the classes, the run's own by default, else "0", "1", …. Raises `UsageError` for
    something that cannot be exported or a version that exists, `KerasResNetError` where the
    written model does not give what the Keras model gives.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"a SavedModel needs the tensorflow backend, and this is {keras.backend.backend()}; "
            "run python -m kerasresnet.export with KERAS_BACKEND=tensorflow"
        )
    model, name, labels = _resolve(run_or_model, name, labels)
    home = Path(export_dir) / name
    if version is not None and (home / str(version)).exists():
        raise UsageError(f"{home / str(version)} exists, and a version is never overwritten")
    with _aside(home) as folder:
        _write(model, folder, labels)
        _check(model, folder)
        return _publish(folder, home, version)


def _resolve(run_or_model: Any, name: str | None, labels: Sequence[str] | None):
    import keras

    if isinstance(run_or_model, keras.Model):
        model = run_or_model
    else:
        run = run_or_model if isinstance(run_or_model, Run) else Run.open(run_or_model)
        if not run.model_path.is_file():
            raise UsageError(f"{run.path} holds no model yet: its first epoch is not finished")
        model = keras.saving.load_model(run.model_path, compile=False)
        name, labels = name or run.facts["name"], labels or run.facts["labels"]
    classes = model.output_shape[-1]
    labels = [str(i) for i in range(classes)] if labels is None else list(labels)
    if len(labels) != classes:
        raise UsageError(f"the model has {classes} classes, and {len(labels)} labels were given")
    return model, name or model.name, labels


@contextlib.contextmanager
def _aside(home: Path) -> Iterator[Path]:
    """A folder on the same file system, whose name no server takes for a version."""
    import tensorflow as tf

    folder = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=home))
        folder.chmod(0o755)  # the server may be another user
        yield folder
    except (OSError, tf.errors.OpError) as error:
        raise KerasResNetError(f"cannot write the export under {home}: {error}") from None
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _write(model: keras.Model, folder: Path, labels: list[str]) -> None:
    import keras
    import tensorflow as tf

    names = tf.constant(labels)
    height, width, channels = model.input_shape[1:]

    def serve(images):
        # TF Serving does not check shapes; without this a wrong one can end the server.
        images = tf.ensure_shape(images, [None, height, width, channels])
        probabilities = tf.nn.softmax(model(images, training=False))
        class_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {
            "probabilities": probabilities,
            "class_id": class_id,
            "label": tf.gather(names, class_id),
        }

    # Without track(): that would store every variable twice (keras issue 23553).
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        serve,
        input_signature=[tf.TensorSpec([None, height, width, channels], tf.uint8, name="images")],
    )
    archive.write_out(str(folder), verbose=False)


def _check(model: keras.Model, folder: Path) -> None:
    """Raises `KerasResNetError` unless the reloaded export equals `model` on random images."""
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:]), dtype=np.uint8)
    loaded = tf.saved_model.load(str(folder))
    served = loaded.signatures["serving_default"](images=tf.constant(images))
    expected = tf.nn.softmax(model(images, training=False)).numpy()
    difference = float(np.abs(served["probabilities"].numpy() - expected).max())
    # Written so that NaN fails.
    if not difference <= TOLERANCE:
        raise KerasResNetError(
            f"the export differs from the model by {difference:g} in a probability, more than "
            f"{TOLERANCE:g}; nothing was published"
        )


def _publish(folder: Path, home: Path, version: int | None) -> Path:
    """Rename `folder` to a version of `home`; where another export took the number, to the next."""
    while True:
        number = version if version is not None else _highest_version(home) + 1
        target = home / str(number)
        try:
            # A directory is renamed onto an empty one at most: nobody's version is overwritten.
            os.rename(folder, target)
            return target
        except OSError:
            if not target.exists():
                raise
            if version is not None:
                raise UsageError(f"{target} exists, and a version is never overwritten") from None


def _highest_version(home: Path) -> int:
    return max((int(p.name) for p in home.iterdir() if p.name.isdigit()), default=0)


@dataclass(frozen=True)
class ExportOptions:
    """Export a run as a SavedModel that TF Serving can serve."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """The run, as kerasresnet.fit made it."""
    export_dir: Path = Path("saved_models")
    """Where it goes: <export-dir>/<name>/<version>/."""
    name: str | None = None
    """What the model is called (default: the run's name)."""
    version: int | None = None
    """The version (default: one more than the highest there)."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def main() -> None:
    with exit_on_error("kerasresnet.export"):
        options = parse(ExportOptions, None, prog="python -m kerasresnet.export")
        run = Run.open(options.run_dir)
        if options.version is not None and options.version < 1:
            raise UsageError(f"a version is 1 or more, received {options.version}")
        quiet_tensorflow(options.verbose)
        path = export_saved_model(
            run, options.export_dir, name=options.name, version=options.version
        )
        print(path)


if __name__ == "__main__":
    main()
