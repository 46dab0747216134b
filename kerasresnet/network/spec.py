"""What a network is: a tuple of stacks, each with its own kind of residual block.

The text form reads like the report's Table 1 and needs no quoting in a shell:

    BB2x64-BB2x128-BB2x232-BB2x268      four stacks of two basic blocks
    BN3x64-BB2x128s1k5p3                then stride 1, conv kernel 5, projection kernel 3
    stem32k5s2-BB1x64-BN2x100-pool2     a stem of its own, and 2x2 windows in the final pool
    BB1x16-classes100-in28x28x1         100 classes, grey images of 28x28
    whiten2-BB1x64m-BB1x256m-BB1x256m   a whitening stem, and stacks that go down by max-pool
    BB2x64-BB2x128-gelu                 GELU instead of ReLU in all blocks

What equals its default is left out. The blocks are those of He et al., "Deep Residual Learning
for Image Recognition" (arXiv 1512.03385, figure 5); a BN has its stride on the k x k convolution.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from kerasresnet.errors import UsageError, unknown
from kerasresnet.network.notation import NAMED_SPECS, read_text
from kerasresnet.schema import Schema

EXPANSION = {"BB": 1, "BN": 4}  # channels out of a block = its channels x this


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel must be odd (1, 3, 5, …) to have a centre")
    return value


Activation = Literal["relu", "gelu"]
Count = Annotated[int, Field(ge=1, le=65_536, strict=True)]
Stride = Annotated[int, Field(ge=1, le=8, strict=True)]
Kernel = Annotated[int, Field(ge=1, le=31, strict=True), AfterValidator(_odd)]


class StackSpec(Schema):
    """One stack: `blocks` residual blocks of one type; the first one has the stack's stride.

    `channels` is the width inside a block; a stack puts out `channels * EXPANSION[block]`.
    `stride=None` means 1 in a network's first stack and 2 in every later one. `conv_kernel` is
    that of the k x k convolutions: both of a BB, the middle one of a BN.

    `down` says how the first block goes down by its stride: by that of its k x k convolution and of
    its projection, or by max-pooling what its first convolution puts out (and what its shortcut
    takes in), as in K. Jordan's speed runs (arXiv 2404.00498). A stack with "maxpool" has stride 2
    unless told otherwise, the first one too.
    """

    block: Literal["BB", "BN"] = "BB"
    blocks: Count = 2
    channels: Count = 64
    stride: Stride | None = None
    conv_kernel: Kernel = 3
    shortcut_kernel: Kernel = 1
    down: Literal["stride", "maxpool"] = "stride"

    @model_validator(mode="after")
    def _pools_something(self) -> Self:
        if self.down == "maxpool" and self.stride == 1:
            raise ValueError(
                f"a stack of stride 1 does not go down, and {self.to_text()} has max-pool (m) for "
                "it; leave out one of s1 and m"
            )
        return self

    @property
    def out_channels(self) -> int:
        return self.channels * EXPANSION[self.block]

    def to_text(self) -> str:
        """`BB2x64`, then stride, conv kernel, projection kernel, max-pool where not default."""
        text = f"{self.block}{self.blocks}x{self.channels}" + "".join(
            letter + str(value)
            for letter, value, default in (
                ("s", self.stride, None),
                ("k", self.conv_kernel, 3),
                ("p", self.shortcut_kernel, 1),
            )
            if value != default
        )
        return text + ("m" if self.down == "maxpool" else "")


class Block(NamedTuple):
    """One residual block with everything resolved: all that a builder or a counter needs."""

    kind: Literal["BB", "BN"]
    in_channels: int
    channels: int
    out_channels: int
    stride: int
    conv_kernel: int
    shortcut_kernel: int
    in_size: tuple[int, int]  # height, width
    out_size: tuple[int, int]
    pools: bool = False  # whether it goes down by max-pool, not by stride
    activation: Activation = "relu"

    @property
    def projects(self) -> bool:
        """Whether the shortcut needs a projection: the shape decides, never the position."""
        return self.stride != 1 or self.in_channels != self.out_channels


class Stage(NamedTuple):
    """A stack resolved: its first block, and the one that the other `blocks - 1` repeat."""

    first: Block
    rest: Block
    blocks: int


class ResNetSpec(Schema):
    """A whole network: stem, stacks, average pool, head.

    `stem_channels=None` means the channels of the first stack. `whiten=k` is another stem: a frozen
    k x k convolution with the eigenvectors of k x k patches of training images, scaled to unit
    variance, and their negatives, 2 k^2 channels a channel in (arXiv 2404.00498, section 3.2), with
    no padding; a ReLU follows it always, since with both signs that loses nothing. `activation` is
    that of all blocks and of other stems: ReLU, or exact GELU (arXiv 1606.08415). `pool` is
    "global", or k for k x k windows that the head sees one by one. `input_shape` is (height, width,
    channels) of the uint8 images. Raises `UsageError` for what cannot be built, such as a stack
    that would pool below 1 x 1.
    """

    stacks: Annotated[tuple[StackSpec, ...], Field(min_length=1, max_length=64)]
    stem_channels: Count | None = None
    stem_kernel: Kernel = 3
    stem_stride: Stride = 1
    whiten: Annotated[int, Field(ge=1, le=5, strict=True)] | None = None
    activation: Activation = "relu"
    pool: Literal["global"] | Count = "global"
    classes: Annotated[int, Field(ge=2, le=65_536, strict=True)] = 10
    input_shape: tuple[Count, Count, Count] = (32, 32, 3)

    @model_validator(mode="before")
    @classmethod
    def _accept_text(cls, value: Any) -> Any:
        return dict(cls.from_text(value)) if isinstance(value, str) else value

    @field_validator("pool", mode="before")
    @classmethod
    def _pool_size(cls, value: Any) -> Any:
        if value == "global" or (type(value) is int and value >= 1):
            return value
        raise ValueError("must be a window of 1 or more, or 'global'")

    @model_validator(mode="after")
    def _fits_its_input(self) -> Self:
        if self.whiten and (self.stem_channels, self.stem_kernel, self.stem_stride) != (None, 3, 1):
            raise ValueError(
                f"a whitening stem of kernel {self.whiten} has {self.stem} channels and stride 1, "
                "and a stem of its own was given too; leave out one of whiten and stem"
            )
        if self.whiten and self.whiten > min(self.input_shape[:2]):
            raise ValueError(
                f"whitening patches of {self.whiten}x{self.whiten} are larger than the input of "
                f"{self.input_shape[0]}x{self.input_shape[1]}; use a smaller kernel"
            )
        if self.stem_stride > min(self.input_shape[:2]):
            raise ValueError(
                f"stem stride {self.stem_stride} is larger than the input of "
                f"{self.input_shape[0]}x{self.input_shape[1]}; use a smaller one"
            )
        for i, stage in enumerate(self.stages):
            height, width = stage.first.in_size
            if stage.first.stride > min(height, width):
                flat = self.stacks[i].replace(stride=1, down="stride")
                raise ValueError(
                    f"stack {i} ({self.stacks[i].to_text()}) would pool below 1x1: it has stride "
                    f"{stage.first.stride}, and {height}x{width} is left of the input; use fewer "
                    f"stacks, or give it stride 1 ({flat.to_text()})"
                )
        height, width = self.final_size
        if self.pool != "global" and self.pool > min(height, width):
            raise ValueError(
                f"pool {self.pool} is larger than the {height}x{width} that the last stack puts "
                f"out; use pool{min(height, width)} or less, or leave it out for a global pool"
            )
        return self

    @property
    def stem(self) -> int:
        """Channels that the stem puts out."""
        if self.whiten:
            return 2 * self.whiten**2 * self.input_shape[2]
        return self.stem_channels or self.stacks[0].channels

    @property
    def stem_size(self) -> tuple[int, int]:
        """Height and width of what the stem puts out."""
        height, width, _ = self.input_shape
        if self.whiten:
            return height - self.whiten + 1, width - self.whiten + 1
        return -(-height // self.stem_stride), -(-width // self.stem_stride)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stacks in order, with channels, strides and sizes resolved."""
        size = self.stem_size
        channels, stages = self.stem, []
        for i, stack in enumerate(self.stacks):
            pools = stack.down == "maxpool"
            stride = stack.stride or (1 if i == 0 and not pools else 2)
            # An odd kernel k with k // 2 zeros on every side leaves ceil(n / stride); a pool of
            # whole windows leaves floor(n / stride).
            out = tuple(n // stride if pools else -(-n // stride) for n in size)
            width, kernels = stack.out_channels, (stack.conv_kernel, stack.shortcut_kernel)
            shape = (channels, stack.channels, width, stride, *kernels, size, out)
            first = Block(stack.block, *shape, pools=pools, activation=self.activation)
            shape = (width, stack.channels, width, 1, *kernels, out, out)
            rest = Block(stack.block, *shape, activation=self.activation)
            stages.append(Stage(first, rest, stack.blocks))
            size, channels = out, width
        return tuple(stages)

    @property
    def final_size(self) -> tuple[int, int]:
        """Height and width that the last stack puts out."""
        return self.stages[-1].first.out_size

    @property
    def features(self) -> int:
        """Inputs of the head: channels times pooled windows."""
        height, width = self.final_size
        windows = 1 if self.pool == "global" else (height // self.pool) * (width // self.pool)
        return self.stacks[-1].out_channels * windows

    @property
    def channels(self) -> tuple[int, ...]:
        """The width of every stack."""
        return tuple(stack.channels for stack in self.stacks)

    def to_text(self) -> str:
        """The canonical text form; `from_text` gives an equal spec back."""
        stem = (
            (str(self.stem_channels) if self.stem_channels else "")
            + (f"k{self.stem_kernel}" if self.stem_kernel != 3 else "")
            + (f"s{self.stem_stride}" if self.stem_stride != 1 else "")
        )
        parts = [f"whiten{self.whiten}"] if self.whiten else []
        parts += [f"stem{stem}"] if stem else []
        parts += [stack.to_text() for stack in self.stacks]
        parts += [self.activation] if self.activation != "relu" else []
        parts += [f"pool{self.pool}"] if self.pool != "global" else []
        parts += [f"classes{self.classes}"] if self.classes != 10 else []
        shape = self.input_shape
        parts += ["in" + "x".join(map(str, shape))] if shape != (32, 32, 3) else []
        return "-".join(parts)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the text form, or look up a named spec (`table1-06`). Raises `UsageError`."""
        fields = read_text(text)
        stacks = [StackSpec(**stack) for stack in fields.pop("stacks")]
        return cls(stacks=stacks, **fields)

    @classmethod
    def named(cls, name: str) -> Self:
        """A spec by name, one of `NAMED_SPECS`. Raises `UsageError` for an unknown one."""
        if name not in NAMED_SPECS:
            raise UsageError(unknown("spec name", name, NAMED_SPECS))
        return cls.from_text(NAMED_SPECS[name])

    def __str__(self) -> str:
        return self.to_text()
