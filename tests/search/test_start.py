"""A search starts with its base recipe, as near as the space has it, inside every limit."""

import pytest

from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.recipe import Recipe
from tuning.search.oracle import build_oracle
from tuning.search.project import Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import FILLED, Space
from tuning.search.space.start import first_choice


def space(base="quick", limit=5_000_000, max_macs=None, **changes):
    return Space(Recipe.named(base).replace(max_params=limit), narrow(changes), max_macs)


@pytest.mark.parametrize("limit", [300_000, 5_000_000])
@pytest.mark.parametrize("base", ["quick", "digits", "table1-06", "table1-10", "table1-12"])
def test_it_is_the_bases_shape_as_wide_as_the_limit_allows(base, limit):
    where = space(base, limit)
    values = first_choice(where)
    assert where.canonical(values) == values
    network, own = where.network(values), Recipe.named(base).spec
    assert FILLED * limit <= count_parameters(network) <= limit
    assert [s.block for s in network.stacks] == [s.block for s in own.stacks]
    assert [s.stride for s in network.stacks] == [s.stride for s in own.stacks]
    assert [s.blocks for s in network.stacks] == [min(s.blocks, 4) for s in own.stacks]


def test_the_quick_recipe_starts_as_it_is():
    base = Recipe.named("quick")
    found = space().recipe(first_choice(space()))
    # The searched rates begin above its weight decay of 0.
    changed = {"spec", "max_params", "weight_decay"}
    assert {name for name, value in found if value != getattr(base, name)} <= changed
    first = found.spec.stacks[0].channels
    ratios = [stack.channels / first for stack in found.spec.stacks]
    assert ratios == pytest.approx([1, 2, 4], rel=0.02)


FAST = Recipe.named("quick").replace(
    spec="whiten2-BB1x64m-BB1x128m-BB1x256m",
    norm_momentum=0.6,
    norm_rate=4.0,
    lookahead=5,
    resolution="20:0.5, 32:0.5",
    weight_decay=0.001,
    schedule="cosine",
)


@pytest.mark.parametrize(
    "base",
    [
        FAST,
        FAST.replace(spec="whiten3-BB2x64-BB2x128m", lookahead=None, ema=0.995, norm_rate=None),
        FAST.replace(spec="BB1x64-BB1x64", lookahead=None, resolution="24:0.5,28:0.25,32:0.25"),
    ],
    ids=["maxpool", "ema", "none"],
)
def test_stem_averages_rates_and_resolution_are_the_bases(base):
    where = Space(base.replace(max_params=5_000_000), narrow({}, base))
    found = where.recipe(first_choice(where))
    different = {name for name, value in found if value != getattr(base, name)}
    assert different <= {"spec", "max_params", "resolution"}
    assert found.sizes == base.sizes  # the same schedule, spaces apart
    assert found.spec.whiten == base.spec.whiten
    assert [s.down for s in found.spec.stacks] == [s.down for s in base.spec.stacks]
    assert [s.stride for s in found.spec.stacks] == [s.stride for s in base.spec.stacks]


def test_a_narrowed_space_has_its_own_nearest():
    where = space(stacks=2, blocks="3,4", conv_kernel=5, optimizer="sgd", label_smoothing="0.0,0.3")
    values = first_choice(where)
    assert (values["stacks"], values["blocks.1"], values["conv_kernel"]) == (2, 3, 5)
    assert values["optimizer"] == "sgd" and 0.05 < values["sgd.learning_rate"] < 1
    assert values["label_smoothing"] == 0.3  # 0.2 is asked for


def test_limits_that_the_base_cannot_keep_leave_the_first_draw_to_chance(tmp_path):
    heavy = space("table1-06")
    most = count_macs(heavy.network(first_choice(heavy))) - 1
    assert first_choice(space("table1-06", max_macs=most)) is None
    settings = Settings(tuner="random", max_trials=2, max_epochs=1)
    oracle = build_oracle(settings, space("table1-06", max_macs=most), tmp_path)
    drawn = oracle.create_trial("0").hyperparameters.values
    assert count_macs(oracle.networks.network(drawn)) <= most


@pytest.mark.parametrize("tuner", ["hyperband", "random", "bayesian"])
def test_every_tuner_tries_it_first_and_once(tuner, tmp_path):
    where = space("digits", 20_000)
    settings = Settings(tuner=tuner, max_trials=4, max_epochs=4, factor=2)
    oracle = build_oracle(settings, where, tmp_path)
    trials = [oracle.create_trial(f"tuner{i}") for i in range(4)]
    found = [where.canonical(trial.hyperparameters.values) for trial in trials]
    assert found[0] == first_choice(where) and found.count(found[0]) == 1
