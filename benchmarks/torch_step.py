"""PyTorch's side of train_step.py: one training step of a network of basic blocks, channels last.

Started by train_step.py, with the interpreter that has PyTorch; imports nothing else of ours. Reads
seconds from standard input, a line a turn, and answers with images a second.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, block: dict):
        super().__init__()
        outputs, kernel, stride = block["channels"], block["conv_kernel"], block["stride"]
        self.first = conv_bn(inputs, outputs, kernel, stride)
        self.second = conv_bn(outputs, outputs, kernel)
        self.shortcut = nn.Identity()
        if block["projects"]:
            self.shortcut = conv_bn(inputs, outputs, block["shortcut_kernel"], stride)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = torch.relu(self.first(images))
        return torch.relu(self.second(inner) + self.shortcut(images))


class Network(nn.Module):
    def __init__(self, stem: int, stem_kernel: int, blocks: list[dict], classes: int):
        super().__init__()
        layers, channels = [conv_bn(3, stem, stem_kernel), nn.ReLU()], stem
        for block in blocks:
            layers.append(BasicBlock(channels, block))
            channels = block["channels"]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images).mean((2, 3)))


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["cores"])
    with np.load(settings["images"]) as file:
        images = torch.from_numpy(file["images"]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(file["labels"]).long()
    mean, deviation = (torch.tensor(v)[:, None, None] for v in settings["normalisation"])
    network = Network(**settings["network"]).to(memory_format=torch.channels_last)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == settings["parameters"], f"{count} parameters"
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    loss_of, size = nn.CrossEntropyLoss(), settings["batch_size"]
    bfloat16, start = settings["precision"] == "bfloat16", 0

    def step() -> None:
        nonlocal start
        if start + size > len(images):
            start = 0
        part = slice(start, start := start + size)
        batch = ((images[part].float() - mean) / deviation).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = loss_of(network(batch), labels[part])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        begun, steps = time.perf_counter(), 0
        while time.perf_counter() - begun < float(line):
            step()
            steps += 1
        print(steps * size / (time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main()
