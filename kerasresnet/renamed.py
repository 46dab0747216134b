"""Keyword arguments that had another name once, still taken under it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def also_as(**names: str) -> Callable[[Callable], Callable]:
    """`also_as(labels="class_names")`: what is given as `labels` becomes `class_names`."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def called(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                given[names[old]] = given.pop(old)
            return function(*args, **given)

        return called

    return decorate
