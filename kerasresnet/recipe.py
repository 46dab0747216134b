"""How a network is trained: one frozen object, one TOML file, the flags of one command.

The named recipes are the files of `kerasresnet/recipes/`; the head of each says its command and
what it reaches. A file may start from another: `base = "quick"`, then what differs.
"""

from __future__ import annotations

import math
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
import tyro
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kerasresnet.augment.policy import parse_step, step_text
from kerasresnet.disk import read_toml
from kerasresnet.errors import UsageError, unknown
from kerasresnet.network.budget import DEFAULT_LIMIT, count_macs
from kerasresnet.network.resolution import sizes_by_epoch
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.schema import Schema

# What `kerasresnet.optim` builds; listed here too, so that a wrong name needs no Keras to be told.
OPTIMIZERS = (
    *("sgd", "convmuon", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "adafactor", "adamax"),
    *("ftrl", "lamb", "lion", "muon", "nadam", "schedulefreeadamw"),
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


def check_name(text: str) -> str:
    """`text`, what a run and an exported model can be called. Raises `ValueError` for another."""
    # Of a directory, so never a path: it must not lead out of the one above.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text):
        fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80] or "my-net"
        raise ValueError(
            "a name is 1 to 80 letters, digits, '.', '_' and '-', a letter or digit first, "
            f"such as {fitting!r}"
        )
    return text


Name = Annotated[str, AfterValidator(check_name)]
NESTEROV = ("sgd", "convmuon", "muon")  # those with Nesterov's momentum


class Recipe(Schema):
    """How to train. `name` and `spec` say which network it is meant for, the rest how."""

    name: Name = "custom"
    """What the run and the exported model are called."""
    spec: ResNetSpec
    """The network: BB2x64-BN2x100, or a name such as table1-06."""
    max_params: Annotated[int, Field(ge=1)] = DEFAULT_LIMIT
    """The most trainable parameters the network may have."""

    epochs: Annotated[int, Field(ge=1, le=100_000)]
    """Passes over the training images."""
    epoch_share: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """Share of the images in each epoch, 0.5 to 1: the easiest rest, and are back in the next."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    """Images per step."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the training images held out for validation (stratified); 0 trains on all."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights the run keeps: best validation accuracy, or the last."""

    optimizer: str = "sgd"
    """sgd, convmuon, adam, adamw, rmsprop, adagrad, or another of Keras' by name."""
    learning_rate: Annotated[Positive, tyro.conf.arg(aliases=("--lr",))] = 0.1
    """The highest learning rate of the schedule."""
    momentum: Momentum = 0.9
    """Momentum of the optimizers that have one."""
    nesterov: bool = False
    """Nesterov's momentum, in the optimizers that have it (sgd, convmuon, muon)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Strength of the weight decay; see decay for its form."""
    decay: Literal["coupled", "decoupled"] = "decoupled"
    """Coupled adds decay x weight to the gradient (PyTorch's SGD); decoupled shrinks weights."""
    decay_norm_and_bias: bool = False
    """Whether batch-norm parameters and biases decay as well."""
    norm_rate: Positive | None = None
    """Learning rate of batch-norm parameters and biases, in units of the kernels' (default: 1; with
    convmuon 8, the head's too)."""
    norm_momentum: Momentum = 0.9
    """The share of the past that batch norm's moving statistics keep at each step."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Keep an average of weights and batch-norm statistics instead of the last ones, with this
    share of the past per step (0.99, say), less in the first steps."""
    lookahead: Annotated[int, Field(ge=1)] | None = None
    """Every so many steps (5, say) go back to an average of weights and batch-norm statistics,
    which keeps more of the past the nearer the end."""

    schedule: Literal["constant", "cosine", "cosine_restarts", "one_cycle"] = "cosine"
    """How the learning rate moves."""
    schedule_step: Literal["batch", "epoch"] = "batch"
    """When it moves: after every batch, or after every epoch (constant within)."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs of linear warm-up, before the schedule begins."""
    final_fraction: Fraction = 0.0
    """The learning rate at the end, as a share of learning_rate."""
    restart_epochs: Positive = 10.0
    """cosine_restarts: length of the first cycle."""
    restart_growth: Annotated[float, Field(ge=1)] = 2.0
    """cosine_restarts: each cycle is this much longer than the one before."""
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """one_cycle: where the peak stands, as a share of the training."""
    anneal: Literal["cos", "linear"] = "cos"
    """one_cycle: the shape of its two slopes."""
    cycle_momentum: tuple[Momentum, Momentum] | None = None
    """one_cycle: momentum at the peak and at both ends, such as 0.85 0.95."""

    resolution: str | None = None
    """Side of the training images and share of the epochs, such as '24:0.5, 28:0.25, 32:0.25';
    the full size comes last (default: full size always)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """balanced: an image's loss counts the more the rarer its class is in training."""
    augment: tuple[str, ...] = ("crop", "flip")
    """Augmentations in order, such as crop:pad=4 flip 'randaugment(n=2, m=9)'."""
    augment_on: Literal["pipeline", "device"] = "pipeline"
    """Where augmentation runs: in tf.data on the CPU, or inside the training step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the training; auto takes bfloat16 where the hardware multiplies it."""

    @field_validator("*", mode="before")
    @classmethod
    def _none(cls, value: Any, info: ValidationInfo) -> Any:
        # TOML has no null: "none" takes away what a base has.
        optional = cls.model_fields[info.field_name].default is None
        return None if optional and value == "none" else value

    @field_validator("optimizer", mode="before")
    @classmethod
    def _known_optimizer(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower() not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", value, OPTIMIZERS))
        return value.lower() if isinstance(value, str) else value

    @field_validator("augment")
    @classmethod
    def _canonical_steps(cls, steps: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(step_text(parse_step(step)) for step in steps)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.keep == "best" and not self.val_fraction:
            raise ValueError(
                "keep 'best' needs a validation slice, and val_fraction is 0; hold images out "
                "(val_fraction = 0.1), or keep 'last'"
            )
        if self.cycle_momentum and self.schedule != "one_cycle":
            raise ValueError(
                f"cycle_momentum belongs to schedule 'one_cycle', received schedule "
                f"{self.schedule!r}; leave one of them out"
            )
        if self.cycle_momentum and self.cycle_momentum[0] > self.cycle_momentum[1]:
            raise ValueError(
                "cycle_momentum is the momentum at the peak, then the higher one at both ends, "
                f"received {list(self.cycle_momentum)}; turn them round"
            )
        if self.schedule == "one_cycle" and self.schedule_step == "epoch":
            raise ValueError("schedule 'one_cycle' moves every batch; use schedule_step 'batch'")
        if self.ema and self.lookahead:
            raise ValueError(
                f"ema and lookahead are two averages, and a run keeps one, received {self.ema:g} "
                f"and {self.lookahead}; leave one of them out (--lookahead None, in a file "
                'lookahead = "none")'
            )
        sizes_by_epoch(self.resolution, self.epochs, self.spec)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must be below the {self.epochs} epochs, received "
                f"{self.warmup_epochs:g}"
            )
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """The side of the training images in each epoch, in pixels."""
        return sizes_by_epoch(self.resolution, self.epochs, self.spec)

    def images_by_epoch(self, images: int) -> int:
        """How many of `images` training images each epoch is made of."""
        return round(self.epoch_share * images)

    @property
    def images_for_a_batch(self) -> int:
        """So many training images fill a batch in every epoch."""
        return math.ceil(self.batch_size / self.epoch_share)

    def pflop_by_epoch(self, images: int) -> list[float]:
        """What each epoch of `images` training images costs, in 10^15 operations.

        6 for each MAC (2 forward, 4 backward) of every image of a full batch, at its size.
        """
        channels = self.spec.input_shape[2]
        seen = self.images_by_epoch(images) // self.batch_size * self.batch_size
        macs = {self.spec.input_shape[0]: count_macs(self.spec)}
        for size in set(self.sizes) - macs.keys():
            macs[size] = count_macs(self.spec.replace(input_shape=(size, size, channels)))
        return [6 * macs[size] * seen / 1e15 for size in self.sizes]

    @classmethod
    def names(cls) -> list[str]:
        """The named recipes: `quick` first, then by name."""
        stems = [f.name.removesuffix(".toml") for f in _RECIPES.iterdir() if f.suffix == ".toml"]
        return sorted(stems, key=lambda name: (name != "quick", name))

    @classmethod
    def named(cls, name: str) -> Self:
        """The recipe of that name in `kerasresnet/recipes/`. Raises `UsageError` if unknown."""
        if name not in cls.names():
            raise UsageError(unknown("recipe", name, cls.names()))
        return cls.from_toml(_RECIPES / f"{name}.toml")

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """A named recipe, or a TOML file where the argument looks like a path."""
        path = Path(name_or_path)
        if path.suffix != ".toml" and path.name == str(name_or_path):
            return cls.named(str(name_or_path))
        return cls.from_toml(path)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a recipe from a TOML file. Raises `UsageError` that names file and mistake."""
        return cls._from_toml(Path(path), seen=())

    @classmethod
    def _from_toml(cls, path: Path, seen: tuple[Path, ...]) -> Self:
        fields = read_toml(
            path, "recipe", f"; give a TOML file, or one of {', '.join(cls.names())}"
        )
        try:
            base = fields.pop("base", None)
            if base is None:
                return cls(**{"name": path.stem, **fields})
            if path in seen:
                raise UsageError(f"base {base!r} leads back to itself")
            start = _RECIPES / f"{base}.toml" if base in cls.names() else path.parent / str(base)
            return cls._from_toml(start, (*seen, path)).replace(**{"name": path.stem, **fields})
        except UsageError as error:
            raise UsageError(f"recipe {path.name}: {error}") from None

    def to_toml(self) -> str:
        """The whole recipe as TOML; `from_toml` of it gives an equal recipe back."""
        fields = {name: value for name, value in dict(self).items() if value is not None}
        fields["spec"] = self.spec.to_text()
        return tomli_w.dumps(fields)


_RECIPES = Path(str(resources.files("kerasresnet.recipes")))

# What a recipe trains by where it says nothing, as those of before a field was there do.
DEFAULTS = {n: f.default for n, f in Recipe.model_fields.items() if not f.is_required()}
