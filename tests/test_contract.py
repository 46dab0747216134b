"""What this package takes of Keras, TensorFlow and keras-tuner beyond their public names.

Each name stands here once, with what it is taken for: where a new version moves one, a test fails
with that sentence, and a private name that is used and not listed here fails too.
"""

import ast
import importlib

import pytest
from test_layout import MODULES

ORACLE = "keras_tuner.src.engine.oracle:Oracle"
HYPERBAND = "keras_tuner.src.tuners.hyperband:HyperbandOracle"
BAYESIAN = "keras_tuner.src.tuners.bayesian:BayesianOptimizationOracle"
TUNER = "keras_tuner.src.engine.tuner:Tuner"
BASE_TUNER = "keras_tuner.src.engine.base_tuner:BaseTuner"
OPTIMIZER = "keras.optimizers:Optimizer"

# Where it is, its name, what it is taken for.
PRIVATE = [
    (OPTIMIZER, "_get_variable_index", "which of an optimizer's slots belongs to a variable"),
    (OPTIMIZER, "_apply_weight_decay", "replaced: the decay of a recipe is part of its step"),
    ("keras.src.backend.common.global_state", "set_global_attribute", "weights that are not made"),
    (ORACLE, "_get_trial_dir", "where a trial's files lie"),
    (ORACLE, "_get_oracle_fname", "where the oracle's file lies"),
    (ORACLE, "_record_values", "replaced: values are recorded before a trial begins"),
    (ORACLE, "_check_consecutive_failures", "replaced: a failed trial ends no search"),
    (ORACLE, "_compute_values_hash", "replaced: a network is tried once, however it is written"),
    (ORACLE, "_save_trial", "replaced: written aside and renamed"),
    (ORACLE, "_duplicate", "whether values were tried before"),
    (ORACLE, "_set_project_dir", "the search directory of a worker"),
    (HYPERBAND, "_start_new_bracket", "extended: where a bracket begins"),
    (HYPERBAND, "_increment_bracket_num", "which bracket comes next"),
    (HYPERBAND, "_get_epochs", "epochs of a rung"),
    (HYPERBAND, "_get_size", "trials of a rung"),
    (BAYESIAN, "_vector_to_values", "extended: what is drawn is brought into the budget"),
    (TUNER, "_try_build", "replaced: a network over the limit fails its trial"),
    (BASE_TUNER, "_try_run_and_update_trial", "extended: what a trial's end leaves"),
    (BASE_TUNER, "_run_and_update_trial", "extended: one trial at a time"),
    (BASE_TUNER, "_populate_initial_space", "replaced: the space is the oracle's"),
    (BASE_TUNER, "_get_tuner_fname", "replaced: no file of the tuner's own"),
    (BASE_TUNER, "_is_worker", "whether the oracle is in another process"),
]
# Attributes that are made when something is: looked up on an instance.
MADE = [
    ("an RMSprop", "_momentums", "its momentum, moved by a schedule"),
    ("a Hyperband oracle", "_current_bracket", "the bracket that a trial belongs to"),
    ("a Hyperband oracle", "_current_iteration", "the round of brackets"),
    ("an oracle", "_display", "switched off: the search shows its own"),
]
RPC = {
    "keras_tuner.src": ["protos"],
    "keras_tuner.src.distribute.oracle_chief": ["OracleServicer"],
    "keras_tuner.src.distribute.oracle_client": ["OracleClient"],
    "keras_tuner.src.engine.oracle": ["LOCKS", "THREADS"],
}
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
    import keras_tuner

    rmsprop = keras.optimizers.RMSprop(0.1, momentum=0.9)
    rmsprop.build([keras.Variable([1.0])])
    objective = keras_tuner.Objective("val_accuracy", "max")
    hyperband = keras_tuner.oracles.HyperbandOracle(objective=objective)
    made = {"an RMSprop": rmsprop, "a Hyperband oracle": hyperband, "an oracle": hyperband}
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
                assert node.module in {"keras.src.backend.common", *RPC}, f"{name}: {node.module}"


def test_the_rpc_of_keras_tuner_is_where_it_was():
    for module, names in RPC.items():
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
