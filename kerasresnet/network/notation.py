"""The text form of a network, read: `BB2x64-BN2x100` as the fields of a spec; named specs."""

from __future__ import annotations

import re
from typing import Any

from kerasresnet.errors import UsageError, did_you_mean, quoted

NAMED_SPECS: dict[str, str] = {
    # Table 1 of the report, row by row (rows 1-4 and 5-6 and 10-11 differ in the optimizer).
    "table1-01": "BB2x64-BB3x128-BB2x192-BB2x256",
    "table1-02": "BB2x64-BB3x128-BB2x192-BB2x256",
    "table1-03": "BB2x64-BB3x128-BB2x192-BB2x256",
    "table1-04": "BB2x64-BB3x128-BB2x192-BB2x256",
    "table1-05": "BB2x64-BB2x128-BB2x232-BB2x268",
    "table1-06": "BB2x64-BB2x128-BB2x232-BB2x268",
    "table1-07": "BN2x64-BN2x118-BN2x178-BN2x256",
    "table1-08": "BN2x64-BB2x128-BB2x232-BN2x256",
    "table1-09": "BB2x64-BN2x100-BN2x160-BB2x256",
    "table1-10": "BN3x64-BN4x96-BN6x128-BN3x190",
    "table1-11": "BN3x64-BN4x96-BN6x128-BN3x190",
    "table1-12": "BN3x64-BN8x72-BN36x74-BN3x90",
    # Larger images: the stem, and the first stack of the second, go down until a stack's are as
    # small as CIFAR-10's; He et al.'s 18 layers at half their width.
    "images64": "stem32s2-BB2x32-BB2x64-BB2x128-BB2x256-in64x64x3",
    "images224": "stem32k7s2-BB2x32s2-BB2x64-BB2x128-BB2x256-in224x224x3",
}

_N = r"([0-9]{1,6})"
_STACK = re.compile(rf"(?!in|pool|stem)([A-Za-z]+){_N}x{_N}(?:s{_N})?(?:k{_N})?(?:p{_N})?(m)?")
_STEM = re.compile(rf"stem{_N}?(?:k{_N})?(?:s{_N})?")
_WHITEN = re.compile(rf"whiten{_N}")
_POOL = re.compile(rf"pool{_N}")
_ACTIVATION = re.compile("relu|gelu")
_CLASSES = re.compile(rf"classes{_N}")
_INPUT = re.compile(rf"in{_N}x{_N}x{_N}")


def read_text(text: str) -> dict[str, Any]:
    """The fields that a text form or a name says, each stack as the fields of its own.

    Raises `UsageError` for what is no text form, not for numbers that no network can have.
    """
    if not isinstance(text, str):
        raise UsageError(f"a spec is text such as BB2x64-BN2x100, received {quoted(text)}")
    text = NAMED_SPECS.get(text, text)
    fields: dict[str, Any] = {"stacks": []}
    for part in text.split("-"):
        _parse_part(part, text, fields)
    return fields


def _parse_part(part: str, text: str, fields: dict[str, Any]) -> None:
    """Read one part of `text` into `fields`."""

    def put(**found: Any) -> None:
        if fields.keys() & found.keys():
            raise UsageError(
                f"spec {quoted(text)}: {quoted(part)} says again what an earlier part said"
            )
        fields.update(found)

    def numbers(match: re.Match) -> list[int | None]:
        return [int(n) if n is not None else None for n in match.groups()]

    if match := _STEM.fullmatch(part):
        channels, kernel, stride = numbers(match)
        kernel, stride = 3 if kernel is None else kernel, 1 if stride is None else stride
        put(stem_channels=channels, stem_kernel=kernel, stem_stride=stride)
    elif match := _WHITEN.fullmatch(part):
        put(whiten=int(match[1]))
    elif match := _POOL.fullmatch(part):
        put(pool=int(match[1]))
    elif match := _ACTIVATION.fullmatch(part):
        put(activation=match[0])
    elif match := _CLASSES.fullmatch(part):
        put(classes=int(match[1]))
    elif match := _INPUT.fullmatch(part):
        put(input_shape=tuple(numbers(match)))
    elif match := _STACK.fullmatch(part):
        names = ("blocks", "channels", "stride", "conv_kernel", "shortcut_kernel")
        values = [int(n) if n is not None else None for n in match.groups()[1:-1]]
        stack = {name: v for name, v in zip(names, values, strict=True) if v is not None}
        if match[1] not in ("BB", "BN"):
            raise UsageError(
                f"spec {quoted(text)}: unknown block type {quoted(match[1])} in {quoted(part)}; "
                "known are BB (basic) and BN (bottleneck)"
            )
        if match[match.lastindex] == "m":
            stack["down"] = "maxpool"
        fields["stacks"].append({"block": match[1], **stack})
    else:
        raise UsageError(
            f"spec {quoted(text)}: {did_you_mean(text, NAMED_SPECS)}cannot read {quoted(part)}; "
            "write stacks "
            "as BB2x64 or BN3x128s1k5p3 (blocks x channels, stride, conv kernel, projection "
            "kernel; then m to go down by max-pool) joined by '-', with stem32k3s1 or whiten2, "
            "gelu, pool4, classes10, in32x32x3 "
            "where wanted, or one of table1-01 … table1-12, images64, images224"
        )
