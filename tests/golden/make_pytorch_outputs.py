"""Write pytorch_outputs.json: the logits of the published PyTorch networks on two images.

    cd tests && python -m golden.make_pytorch_outputs

Needs torch 2.13 and NumPy, nothing else, and nothing else here needs torch. The network is the
report's: convolutions without bias and with k // 2 zeros on both sides, batch norm with epsilon
1e-5, a bottleneck's stride on its k x k convolution, ReLU after the addition, a projection
wherever the shape changes, average pool over all that is left, a head with a bias. The published
code pads a 5 x 5 convolution or a 3 x 3 projection wrongly and crashes; here they are padded too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from golden import drawn_weights
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Stack(NamedTuple):
    block: str
    blocks: int
    channels: int
    stride: int
    kernel: int = 3
    shortcut_kernel: int = 1


class Network(NamedTuple):
    stacks: list[Stack]
    stem: tuple[int, int, int]  # channels, kernel, stride
    size: int = 32


def row(types: str, blocks: str, channels: str) -> Network:
    """A row of the report's Table 1."""
    numbers = [int(b) for b in blocks.split()], [int(c) for c in channels.split()]
    rows = zip(types.split(), *numbers, (1, 2, 2, 2), strict=True)
    return Network([Stack(*values) for values in rows], stem=(numbers[1][0], 3, 1))


NETWORKS = {
    "table1-01": row("BB BB BB BB", "2 3 2 2", "64 128 192 256"),
    "table1-02": row("BB BB BB BB", "2 3 2 2", "64 128 192 256"),
    "table1-03": row("BB BB BB BB", "2 3 2 2", "64 128 192 256"),
    "table1-04": row("BB BB BB BB", "2 3 2 2", "64 128 192 256"),
    "table1-05": row("BB BB BB BB", "2 2 2 2", "64 128 232 268"),
    "table1-06": row("BB BB BB BB", "2 2 2 2", "64 128 232 268"),
    "table1-07": row("BN BN BN BN", "2 2 2 2", "64 118 178 256"),
    "table1-08": row("BN BB BB BN", "2 2 2 2", "64 128 232 256"),
    "table1-09": row("BB BN BN BB", "2 2 2 2", "64 100 160 256"),
    "table1-10": row("BN BN BN BN", "3 4 6 3", "64 96 128 190"),
    "table1-11": row("BN BN BN BN", "3 4 6 3", "64 96 128 190"),
    "table1-12": row("BN BN BN BN", "3 8 36 3", "64 72 74 90"),
    # Kernels that the published code crashes on, and sizes that a stride does not divide.
    "BB1x8k5-BB2x12k5p3": Network(
        [Stack("BB", 1, 8, 1, 5), Stack("BB", 2, 12, 2, 5, 3)], stem=(8, 3, 1)
    ),
    "BN1x4k5p3-BN2x6k7p5-in31x31x3": Network(
        [Stack("BN", 1, 4, 1, 5, 3), Stack("BN", 2, 6, 2, 7, 5)], stem=(4, 3, 1), size=31
    ),
    "stem6k5s2-BB1x6s2k5p3-BN1x4s3k5p3-in29x29x3": Network(
        [Stack("BB", 1, 6, 2, 5, 3), Stack("BN", 1, 4, 3, 5, 3)], stem=(6, 5, 2), size=29
    ),
}


def load(parameter: torch.Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def conv_bn(
    name: str, index: str, inputs: int, outputs: int, kernel: int, stride: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    (weight,) = drawn_weights.conv(f"{name}_conv{index}", (kernel, kernel, inputs, outputs))
    load(conv.weight, weight.transpose(3, 2, 0, 1))
    norm = nn.BatchNorm2d(outputs, eps=1e-5)
    arrays = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    values = drawn_weights.batch_norm(f"{name}_bn{index}", outputs)
    for parameter, value in zip(arrays, values, strict=True):
        load(parameter, value)
    return nn.Sequential(conv, norm)


class ResidualBlock(nn.Module):
    def __init__(self, name: str, inputs: int, stack: Stack, stride: int) -> None:
        super().__init__()
        c, k = stack.channels, stack.kernel
        if stack.block == "BB":
            layers = [(inputs, c, k, stride), (c, c, k, 1)]
        else:
            layers = [(inputs, c, 1, 1), (c, c, k, stride), (c, 4 * c, 1, 1)]
        self.branch = nn.ModuleList(
            conv_bn(name, str(i), *layer) for i, layer in enumerate(layers, start=1)
        )
        self.outputs = layers[-1][1]
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != self.outputs:
            kernel = stack.shortcut_kernel
            self.shortcut = conv_bn(f"{name}_shortcut", "", inputs, self.outputs, kernel, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for layer in self.branch[:-1]:
            y = torch.relu(layer(y))
        return torch.relu(self.branch[-1](y) + self.shortcut(x))


def build(network: Network, classes: int = 10) -> nn.Module:
    channels, kernel, stride = network.stem
    layers = [conv_bn("stem", "", 3, channels, kernel, stride), nn.ReLU()]
    for i, stack in enumerate(network.stacks):
        for j in range(stack.blocks):
            block = ResidualBlock(f"stack{i}_block{j}", channels, stack, 1 if j else stack.stride)
            layers.append(block)
            channels = block.outputs
    head = nn.Linear(channels, classes)
    weight, bias = drawn_weights.dense("head", (channels, classes))
    load(head.weight, weight.T)
    load(head.bias, bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def logits(network: Network) -> list[list[float]]:
    images = drawn_weights.images(2, network.size)
    pixels = (images / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    with torch.inference_mode():
        outputs = build(network)(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    return [[round(value, 6) for value in image] for image in outputs.tolist()]


def main() -> None:
    entries = [f"{json.dumps(name)}: {logits(network)}" for name, network in NETWORKS.items()]
    path = Path(__file__).with_name("pytorch_outputs.json")
    path.write_text("{\n" + ",\n".join(entries) + "\n}\n")


if __name__ == "__main__":
    main()
