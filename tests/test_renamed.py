"""What had another name once is still taken, and read, under it."""

import dataclasses
import inspect

from kerasresnet import ImageData, export_saved_model


def test_class_names_are_still_taken_as_labels(digits):
    letters = tuple("abcdefghij")
    renamed = dataclasses.replace(digits, labels=letters)
    assert renamed.class_names == renamed.labels == letters
    assert dataclasses.replace(digits, class_names=letters).class_names == letters


def test_help_shows_the_new_name():
    for function in (ImageData, export_saved_model):
        names = inspect.signature(function).parameters
        assert "class_names" in names and "labels" not in names
