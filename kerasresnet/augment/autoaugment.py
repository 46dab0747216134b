"""AutoAugment (arXiv 1805.09501): the policy found on CIFAR-10, and what every image draws."""

import numpy as np

from kerasresnet.augment.apply import Draws
from kerasresnet.augment.arrays import gather, ops
from kerasresnet.augment.operations import CODE
from kerasresnet.augment.seeds import Seed, below, uniform

TOP_LEVEL = 9

# Table 7 of the paper: two operations a line, each with its probability and level (– for none).
_CIFAR10 = """
Invert       0.1 –   Contrast     0.2 6
Rotate       0.7 2   TranslateX   0.3 9
Sharpness    0.8 1   Sharpness    0.9 3
ShearY       0.5 8   TranslateY   0.7 9
AutoContrast 0.5 –   Equalize     0.9 –
ShearY       0.2 7   Posterize    0.3 7
Color        0.4 3   Brightness   0.6 7
Sharpness    0.3 9   Brightness   0.7 9
Equalize     0.6 –   Equalize     0.5 –
Contrast     0.6 7   Sharpness    0.6 5
Color        0.7 7   TranslateX   0.5 8
Equalize     0.3 –   AutoContrast 0.4 –
TranslateY   0.4 3   Sharpness    0.2 6
Brightness   0.9 6   Color        0.2 8
Solarize     0.5 2   Invert       0.0 –
Equalize     0.2 –   AutoContrast 0.6 –
Equalize     0.2 –   Equalize     0.6 –
Color        0.9 9   Equalize     0.6 –
AutoContrast 0.8 –   Solarize     0.2 8
Brightness   0.1 3   Color        0.7 0
Solarize     0.4 5   AutoContrast 0.9 –
TranslateY   0.9 9   TranslateY   0.7 9
AutoContrast 0.9 –   Solarize     0.8 3
Equalize     0.8 –   Invert       0.1 –
TranslateY   0.7 9   AutoContrast 0.9 –
"""

SubPolicy = tuple[tuple[str, float, int], tuple[str, float, int]]  # (name, probability, level)


def _read(table: str) -> tuple[SubPolicy, ...]:
    def cell(name: str, probability: str, level: str) -> tuple[str, float, int]:
        return name, float(probability), 0 if level == "–" else int(level)

    lines = [line.split() for line in table.strip().splitlines()]
    return tuple((cell(*words[:3]), cell(*words[3:])) for words in lines)


SUB_POLICIES = {"cifar10": _read(_CIFAR10)}


def draw_autoaugment(batch: int, seed: Seed, *, policy: str) -> Draws:
    """For each of `batch` images one sub-policy of `policy`, each as likely.

    Each of its two operations is drawn with its own probability, and is Identity otherwise.
    """
    sub_policies = SUB_POLICIES[policy]
    codes = np.array([[CODE[name] for name, _, _ in pair] for pair in sub_policies], "int32")
    probabilities = np.array([[p for _, p, _ in pair] for pair in sub_policies], "float32")
    levels = np.array([[level for _, _, level in pair] for pair in sub_policies], "float32")
    draws = uniform((batch, 5), seed)
    chosen = below(len(sub_policies), draws[:, 0])
    happens = draws[:, 1:3] < gather(probabilities, chosen)
    operation = ops.where(happens, gather(codes, chosen), CODE["Identity"])
    return Draws(operation, gather(levels, chosen), mirror=draws[:, 3:5] < 0.5)
