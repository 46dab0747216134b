"""A search without training: the real oracle and real run directories, made-up scores."""

import json
import os
import random
import shutil

from keras_tuner.engine.trial import TrialStatus

from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.search.oracle import build_oracle
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

LIMIT = 20_000
SECONDS = 10.0  # an epoch
NARROW = {"stacks": [2, 3], "blocks": [1, 2], "conv_kernel": 3, "optimizer": ["sgd", "adamw"]}


class MadeUpSearch:
    """The directory of a search, taken forward step by step as its driver would.

    `score(recipe, epoch)` is the validation accuracy; by default one that grows with the epochs.
    """

    def __init__(self, path, *, score=None, changes=None, **settings):
        self.path = path
        self.score = score or made_up_score
        asked = {"max_epochs": 9, "seed": 3, "train_images": 400, "val_images": 100}
        settings = Settings(**{**asked, "data": "digits", "max_params": LIMIT, **settings})
        base = Recipe.named("digits").replace(
            max_params=LIMIT, epochs=settings.max_epochs, keep="last"
        )
        self.space = Space(base, narrow(changes or NARROW))
        with Project.alone(path) as project:
            self.project = project.begin(settings, self.space)
        self.restart()

    def begin(self, tuner_id="tuner0"):
        """Take a trial; None where there is none now."""
        trial = self.oracle.create_trial(tuner_id)
        return trial if trial.status == TrialStatus.RUNNING else None

    def train(self, trial, epochs=None):
        """Train the trial's run: `epochs` of them, or up to its rung."""
        values, run = trial.hyperparameters.values, self.run_of(trial)
        until = values["tuner/epochs"]
        until = until if epochs is None else min(until, len(run.metrics) + epochs)
        for epoch in range(len(run.metrics) + 1, until + 1):
            reached = self.score(run.recipe, epoch)
            row = {"epoch": epoch, "accuracy": reached, "loss": 1.0, "val_accuracy": reached}
            row |= {"val_loss": 1.0, "learning_rate": 0.1, "seconds": SECONDS}
            run.write_metrics([*run.metrics, row])

    def run_of(self, trial):
        values = trial.hyperparameters.values
        home = self.path / f"trial_{trial.trial_id}" / "run"
        if home.is_dir():
            return Run(home)
        if parent := values.get("tuner/trial_id"):
            shutil.copytree(self.path / f"trial_{parent}" / "run", home, copy_function=os.link)
            return Run(home)
        recipe = self.space.recipe(values)
        started = f"2026-01-31T10:{int(trial.trial_id):02}:00+0000"
        facts = {"name": recipe.name, "seed": int(trial.trial_id), "started": started}
        facts |= {"precision": "float32", "device": "a machine", "versions": {"keras": "3.15"}}
        facts |= {"parameters": count_parameters(recipe.spec), "macs": count_macs(recipe.spec)}
        return Run.create(home, recipe, facts | {"images": {"train": 400, "val": 100}})

    def end(self, trial, error=None):
        """Report what the trial reached, or that it failed."""
        if error:
            trial.status, trial.message = TrialStatus.FAILED, f"Traceback:\n  …\n{error}"
            self.oracle.end_trial(trial)
            return
        reached = Run(self.path / f"trial_{trial.trial_id}" / "run").metrics[-1]["val_accuracy"]
        self.oracle.update_trial(trial.trial_id, {"val_accuracy": reached})
        trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)

    def finish(self, *, trials=None, failing=()):
        """Run `trials` more, or all that are left; those with an id in `failing` fail."""
        while trials is None or trials > 0:
            if (trial := self.begin()) is None:
                return self
            failed = trial.trial_id in failing
            self.train(trial, 0 if failed else None)
            self.end(trial, "KerasResNetError: the loss became nan" if failed else None)
            trials = trials if trials is None else trials - 1
        return self

    def restart(self):
        """What a process finds that goes on after a kill: trials that nobody runs."""
        self.oracle = build_oracle(self.project.settings, self.space, self.path)
        self.oracle.reload()

    def read(self, name):
        return json.loads((self.path / name).read_text())


def made_up_score(recipe, epoch):
    """Better for some recipes than for others, and with more epochs; 0.3 … 0.95."""
    luck = random.Random(recipe.to_toml()).random()
    return round(0.3 + 0.4 * epoch / (epoch + 2) + 0.25 * luck, 4)
