"""A run in Python: gone on with, measured, exported, shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kerasresnet.errors import UsageError, unknown
from kerasresnet.python.images import asked_for
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData
    from kerasresnet.fit.strategy import Strategy
    from kerasresnet.python.images import Data


def open_run(path: str | Path) -> OpenedRun:
    """The run of that directory. Raises `UsageError` where there is none."""
    return OpenedRun.open(path)


@dataclass(frozen=True)
class OpenedRun(Run):
    """A run, and what can be done with it; `results`, `metrics`, `recipe`, `facts` are its files.

    In a notebook it shows itself as a table with its curves.
    """

    def resume(
        self,
        data: Data | None = None,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        data_dir: str | Path | None = None,
        strategy: Strategy = "single",
        verbose: bool = True,
    ) -> Self:
        """Do what is missing of the run, as `kerasresnet.fit --resume` does; all but the export.

        `data` is needed where the images were given from Python (None: loaded again); `strategy`
        is that of `train`, and may be another than before. Raises `UsageError` where the images
        are no longer the same, or another process trains the run.
        """
        from kerasresnet.fit.training import outcome_written, train_run
        from kerasresnet.machine import quiet_tensorflow

        quiet_tensorflow()
        with self.locked(), outcome_written(self):
            recipe, seed = self.recipe.replace(precision=self.fact("precision")), self.fact("seed")
            measured = self.results_path.is_file() and self.holds_model()
            images = None if measured else self._images(data, data_dir, verbose)
            how = {"callbacks": callbacks, "strategy": strategy, "verbose": verbose}
            train_run(self, recipe, images, seed=seed, **how)
        return self

    def evaluate(
        self, data: Data | None = None, *, tta: bool = False, data_dir: str | Path | None = None
    ) -> dict[str, Any]:
        """Accuracy, loss, per-class accuracy and confusions of the kept network on test images.

        `data` is what `train` takes (None: what the run was trained on). With `tta`, "tta" has
        "flip": accuracy and loss of the mean over every image and its mirror image. Raises
        `UsageError` for images or classes that are not the network's.
        """
        from kerasresnet.evaluate.__main__ import evaluate_predictor
        from kerasresnet.load.predictor import load_predictor
        from kerasresnet.machine import quiet_tensorflow

        quiet_tensorflow()
        predictor, images = load_predictor(self.path), self._images(data, data_dir, verbose=False)
        return evaluate_predictor(predictor, images, self.path, tta=tta)

    def export(self, export_dir: str | Path = "saved_models", **options: Any) -> Path:
        """Export the kept network for serving; the directory or file that was written.

        `options` are the flags of `kerasresnet.export`: `format="litert"`, `precision="bfloat16"`,
        `name="mine"`, …. Raises `UsageError` for what makes no sense, `KerasResNetError` for a
        network that learnt nothing, unless `force=True`.
        """
        from kerasresnet.export.__main__ import ExportOptions, check_options, export, refuse_dead
        from kerasresnet.machine import quiet_tensorflow

        known = {field.name for field in fields(ExportOptions)} - {"run_dir", "export_dir"}
        if strange := set(options) - known:
            raise UsageError(unknown("option of an export", min(strange), sorted(known)))
        asked = ExportOptions(self.path, Path(export_dir), **options)
        check_options(asked)
        if self.results_path.is_file() and not asked.force:
            refuse_dead(self)
        quiet_tensorflow()
        return export(asked)

    def load_model(self) -> keras.Model:
        """The kept network: a plain Keras model, uint8 images [N, H, W, C] → logits [N, K].

        Raises `KerasResNetError` where there is none yet, or its file is damaged.
        """
        from kerasresnet.load.predictor import load_keras
        from kerasresnet.machine import quiet_tensorflow

        quiet_tensorflow()
        return load_keras(self.model_path)

    def _repr_html_(self) -> str:
        from kerasresnet.report.summary import summary_of

        return str(summary_of(self))

    def _images(self, data: Data | None, data_dir: str | Path | None, verbose: bool) -> ImageData:
        """`data`, else the images of the run."""
        from kerasresnet.data import load_again

        if data is None:
            settings = self.facts.get("data_settings")
            return load_again(self.fact("data"), settings, data_dir, verbose=verbose)
        request, images = asked_for(data)
        if images is None:
            shape = self.recipe.spec.input_shape
            images = request.for_input(shape).load(data_dir, verbose=verbose)
        return images
