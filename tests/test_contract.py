"""What this package takes of Keras, TensorFlow and keras-tuner beyond their public names.

Each name stands here once, with what it is taken for: where a new version moves one, a test fails
with that sentence, and a private name that is used and not listed here fails too.
"""

import ast
import importlib

import pytest
from test_layout import MODULES

OPTIMIZER = "keras.optimizers:Optimizer"

# Where it is, its name, what it is taken for.
PRIVATE = [
    (OPTIMIZER, "_get_variable_index", "which of an optimizer's slots belongs to a variable"),
    (OPTIMIZER, "_apply_weight_decay", "replaced: the decay of a recipe is part of its step"),
    ("keras.src.backend.common.global_state", "set_global_attribute", "weights that are not made"),
]
# Attributes that are made when something is: looked up on an instance.
MADE = [
    ("an RMSprop", "_momentums", "its momentum, moved by a schedule"),
]
OF_PYTHON = {"_asdict", "_exit", "_replace"}  # os._exit; those of a NamedTuple


def found(place):
    module, _, name = place.partition(":")
    thing = importlib.import_module(module)
    return getattr(thing, name) if name else thing


@pytest.mark.parametrize(("place", "name", "purpose"), PRIVATE)
def test_a_private_name_is_where_it_was(place, name, purpose):
    assert hasattr(found(place), name), (
        f"{place} has no {name} in this version, and it is taken for: {purpose}; see who uses it, "
        "and the upper bounds in pyproject.toml"
    )


def test_what_instances_have_is_there():
    import keras

    rmsprop = keras.optimizers.RMSprop(0.1, momentum=0.9)
    rmsprop.build([keras.Variable([1.0])])
    made = {"an RMSprop": rmsprop}
    for what, name, purpose in MADE:
        assert hasattr(made[what], name), f"{what} has no {name}, taken for: {purpose}"


def names_of_ours():
    """Every name that our own sources define, so that a private one of ours is not counted."""
    ours = set()
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                ours.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                ours.add(node.attr)
    return ours


def test_no_other_private_name_is_used():
    listed = {name for _, name, _ in (*PRIVATE, *MADE)} | OF_PYTHON | names_of_ours()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                if not node.attr.startswith("__"):
                    assert node.attr in listed, f"{name}, line {node.lineno}: {node.attr}"
            elif isinstance(node, ast.ImportFrom) and ".src" in (node.module or ""):
                assert node.module == "keras.src.backend.common", f"{name}: {node.module}"
