"""Every sample is inside the budget, means one network and recipe, and can be narrowed."""

import itertools
import json
import os
import random
import statistics
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.recipe import Recipe
from tuning.search.space.choices import OPTIMIZERS, narrow
from tuning.search.space.dimension import span
from tuning.search.space.space import Space


def space(limit=5_000_000, base="quick", max_macs=None, **changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return Space(Recipe.named(base).replace(max_params=limit), narrow(changes), max_macs)


def samples(space, number, seed=0):
    draw = random.Random(seed)
    return [space.sample(draw) for _ in range(number)]


def test_ten_thousand_samples_fill_the_limit_and_none_is_over_it():
    shares = []
    for limit, number in ((300_000, 4_000), (1_000_000, 3_000), (5_000_000, 3_000)):
        here = space(limit)
        shares += [count_parameters(here.network(v)) / limit for v in samples(here, number)]
    assert len(shares) == 10_000
    assert max(shares) <= 1 and min(shares) >= 0.95
    assert statistics.median(shares) >= 0.97


@given(st.integers(200, 3_000), st.integers(0, 2**32))
def test_where_whole_channels_are_coarse_a_sample_still_fills_the_limit(limit, seed):
    here = space(limit, stacks="1,2", block="BB", blocks=1, conv_kernel=3, stem_kernel=3)
    try:
        values = here.sample(random.Random(seed))
    except UsageError as error:
        assert "no network of the space uses 95% to 100%" in str(error)
        return
    assert 0.95 * limit <= count_parameters(here.network(values)) <= limit


def test_a_network_that_leaves_parameters_unused_does_not_fit():
    here = space(700, stacks="1,2", block="BB", blocks=1, conv_kernel=3)
    draw, unused = random.Random(0), 0
    for _ in range(200):
        values: dict = {}
        for dimension in here.dimensions.values():
            if dimension.is_active(values):
                values[dimension.name] = dimension.draw(draw)
        try:
            share = count_parameters(here.network(values)) / 700
        except UsageError:  # not even one channel a stack
            share = 2
        assert here.fits(values) == (0.95 <= share <= 1)
        unused += share < 0.95
    assert unused


def test_a_limit_of_macs_is_kept():
    here = space(300_000, max_macs=20_000_000)
    assert max(count_macs(here.network(v)) for v in samples(here, 200)) <= 20_000_000


def test_samples_follow_from_the_seed():
    assert samples(space(), 20) == samples(space(), 20) != samples(space(), 20, seed=1)


def test_another_process_draws_the_same_and_knows_it_again():
    code = (
        "import random\nfrom kerasresnet.recipe import Recipe\n"
        "from tuning.search.space.choices import narrow\n"
        "from tuning.search.space.space import Space\n"
        "space = Space(Recipe.named('quick'), narrow({'blocks': '1..3'}))\n"
        "draw = random.Random(7)\n"
        "print([space.identity(space.sample(draw)) for _ in range(5)])\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "42"}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    here = space(blocks="1..3")
    assert told.stdout.strip() == str([here.identity(v) for v in samples(here, 5, seed=7)])


CYCLING = Recipe.named("table1-06").replace(
    schedule="one_cycle", schedule_step="batch", cycle_momentum=(0.85, 0.95), ema=0.99
)


@pytest.mark.parametrize(
    "base",
    [*map(Recipe.named, ("quick", "digits", "table1-06")), CYCLING],
    ids=["quick", "digits", "table1-06", "cycling"],
)
def test_every_sample_is_a_recipe_that_toml_keeps(base, tmp_path):
    here = Space(base.replace(max_params=500_000), narrow({}))
    for values in samples(here, 60):
        recipe = here.recipe(values)
        (tmp_path / "recipe.toml").write_text(recipe.to_toml())
        assert Recipe.from_toml(tmp_path / "recipe.toml") == recipe
        assert recipe.spec == here.network(values)
        assert recipe.optimizer == values["optimizer"]
        assert recipe.learning_rate == values[f"{recipe.optimizer}.learning_rate"]
        assert recipe.weight_decay == values[f"{recipe.optimizer}.weight_decay"]
        assert recipe.schedule == values["schedule"]
        cycles = recipe.schedule == "one_cycle"
        assert recipe.cycle_momentum == (base.cycle_momentum if cycles else None)
        for chosen in ("norm_momentum", "ema", "lookahead"):
            assert getattr(recipe, chosen) == values.get(chosen)
        for kept in ("epochs", "batch_size", "keep", "precision", "decay_norm_and_bias"):
            assert getattr(recipe, kept) == getattr(base, kept)
        assert recipe.augment[: len(base.augment)] == base.augment
        assert len(recipe.augment) - len(base.augment) == bool(values["randaugment"])


def test_stem_stride_and_pool_of_the_base_stay():
    base = Recipe.named("quick").replace(spec="stem32s2-BB1x64-BB1x64-pool2-in48x64x3-classes7")
    here = Space(base.replace(max_params=300_000), narrow({"stacks": 2}, base))
    for values in samples(here, 10):
        spec = here.network(values)
        assert (spec.stem_stride, spec.pool) == (2, 2)
        assert (spec.input_shape, spec.classes) == ((48, 64, 3), 7)


def _neighbours(space, name, number=60):
    """Pairs of choices that both fit, and differ in one dimension."""
    dimension = space.dimensions[name]
    defaults = {name: dimension.values[0] for name, dimension in space.dimensions.items()}
    for values in samples(space, number):
        for other in dimension.values if dimension.is_active(values) else ():
            again = space.canonical({**defaults, **values, name: other})
            if other != values[name] and space.fits(again):
                yield values, again


@pytest.mark.parametrize("name", narrow({}))
def test_each_dimension_changes_what_is_trained_and_its_identity(name):
    here = space(2_000_000)
    pairs = list(_neighbours(here, name))
    different = [pair for pair in pairs if here.recipe(pair[0]) != here.recipe(pair[1])]
    assert len(different) >= 10
    # Only ratios may mean the same, where whole channels cannot follow them.
    assert different == pairs or name.startswith(("growth", "stem_width"))
    for one, other in pairs:
        same = (one, other) not in different
        assert (here.identity(one) == here.identity(other)) == same


def test_what_changes_nothing_changes_no_identity():
    here = space(300_000, stacks=1, block="BB", stem_width="0.9999,1", first_stride="1,2")
    (values,) = samples(space(300_000, stacks=1, block="BB", stem_width=1, first_stride=1), 1)
    twins = [{**values, "shortcut_kernel": kernel} for kernel in (1, 3)]  # nothing is projected
    assert len({here.identity(twin) for twin in twins}) == 1
    twins = [{**twin, "first_stride": 2} for twin in twins]  # now it is
    assert len({here.identity(twin) for twin in twins}) == 2
    twins = [{**values, "stem_width": width} for width in (0.9999, 1.0)]  # the same, once rounded
    assert len({str(here.network(twin)) for twin in twins}) == 2
    assert len({count_parameters(here.network(twin)) for twin in twins}) == 1
    assert len({here.identity(twin) for twin in twins}) == 1


def test_different_ratios_that_mean_one_network_have_one_identity():
    # So few parameters that ratios round to the same channels.
    here = space(700, stacks=2, block="BB", blocks=1, conv_kernel=3, stem_width=1.0)
    found = {}
    for values in samples(here, 400):
        spec = here.network(values)
        rest = {k: v for k, v in values.items() if k != "growth.2"}
        found.setdefault((str(spec), str(rest)), set()).add(here.identity(values))
    assert all(len(identities) == 1 for identities in found.values())
    one = samples(here, 1)[0]
    twins = [{**one, "growth.2": growth} for growth in (1.0, 1.5, 2.0, 2.5)]
    networks = [str(here.network(twin)) for twin in twins]
    assert len(set(networks)) < 4
    assert len({here.identity(twin) for twin in twins}) == len(set(networks))


def test_a_space_is_narrowed_by_family_member_range_list_and_new_values():
    found = narrow(
        {
            "stacks": "6",
            "blocks": "1..3",
            "blocks.2": 7,
            "conv_kernel": [7],
            "growth": "1.2..3",
            "optimizer": "sgd",
            "sgd.learning_rate": 0.1,
            "sgd.weight_decay": "0.01..0.01",
        }
    )
    assert found["blocks.1"].values == found["blocks.6"].values == (1, 2, 3)
    assert found["blocks.2"].values == (7,)
    assert found["conv_kernel"].values == (7,)
    assert found["growth.4"].continuous and found["growth.4"].values == (1.2, 3.0)
    assert found["sgd.learning_rate"].values == (0.1,)
    assert not [name for name in found if name.startswith(("adamw.", "convmuon."))]
    rate = found["sgd.weight_decay"]
    assert rate.values == (0.01,) and not rate.continuous


def test_ratios_are_kept_however_far_apart_the_widths_are():
    here = space(100_000_000, stacks=6, block="BB", blocks=1, growth=2.5, first_stride=1)
    (values,) = samples(here, 1)
    widths = here.network(values).channels
    for before, after in itertools.pairwise(widths):
        assert after / before == pytest.approx(2.5, rel=0.1)
    (values,) = samples(space(stem_width=100, stacks=2, stem="conv"), 1)
    spec = space(stem_width=100, stacks=2, stem="conv").network(values)
    assert spec.stem / spec.stages[0].first.out_channels == pytest.approx(100, rel=0.2)


DEFAULT = narrow({})
RATES = [name for name, dimension in DEFAULT.items() if dimension.continuous]
RATE = st.floats(1e-6, 0.9)


@st.composite
def changes(draw):
    """A few dimensions, each fixed, or narrowed to some of its values, or to a range."""
    found = {}
    for name in draw(st.lists(st.sampled_from(list(DEFAULT)), unique=True, max_size=8)):
        if name in RATES:
            low, high = sorted((draw(RATE), draw(RATE)))
            found[name] = draw(st.sampled_from([low, [low, high], f"{low!r}..{high!r}"]))
        else:
            values = draw(st.lists(st.sampled_from(DEFAULT[name].values), min_size=1, unique=True))
            found[name] = draw(st.sampled_from([values[0], values, ",".join(map(str, values))]))
    return found


@given(changes(), st.integers(0, 2**32))
def test_a_narrowed_space_draws_what_it_says_and_reads_back_equal(changes, seed):
    try:
        found = narrow(changes)
    except UsageError as error:  # blocks.4, and only two or three stacks
        assume("unknown dimension" not in str(error))
        raise
    here = Space(Recipe.named("quick").replace(max_params=1_000_000), found)
    assert narrow(json.loads(json.dumps(here.to_json()))) == found
    values = here.sample(random.Random(seed))
    assert here.canonical(values) == values
    assert 950_000 <= count_parameters(here.network(values)) <= 1_000_000
    for name, value in values.items():
        low, *_, high = (*found[name].values, found[name].values[-1])
        assert low <= value <= high if found[name].continuous else value in found[name].values
    for name, wanted in changes.items():
        if name in values and not isinstance(wanted, str | list):
            assert values[name] == wanted


@given(st.floats(1e-9, 1e9), st.floats(1, 10), st.integers(0, 2**32))
def test_no_draw_of_a_range_is_outside_it(low, factor, seed):
    dimension = span("rate", low, low * factor)
    draw = random.Random(seed)
    assert all(low <= dimension.draw(draw) <= low * factor for _ in range(5))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("colour", "red", "unknown dimension 'colour': known are stacks, block, blocks"),
        ("blcoks", 1, "unknown dimension 'blcoks': did you mean 'blocks'"),
        ("blocks.5", 1, "did you mean 'blocks.4'"),
        ("learning_rate", 1, "did you mean 'sgd.learning_rate'"),
        ("block", "BN,XX", "^block.1=XX"),
        ("block", 3, "'BB' or 'BN'"),
        ("block", ["BB", True], "takes a name, received True"),
        ("blocks", "", "leaves nothing"),
        ("blocks", "4..2", "leaves nothing"),
        ("blocks", "two", "takes a whole number, received 'two'"),
        ("blocks", 1.5, "takes a whole number, received 1.5"),
        ("blocks", True, "takes a whole number, received True"),
        ("blocks", [1, [2]], r"takes a whole number, received \[2\]"),
        ("blocks", None, "takes a whole number, received None"),
        ("blocks", "1..", "takes a whole number, received ''"),
        ("blocks", "1..2,4", "takes a whole number, received '2,4'"),
        ("blocks", "1..1000000000000", "is more than 1,000 numbers; write a shorter range"),
        ("blocks", [], "leaves nothing"),
        ("blocks", float("inf"), "takes a whole number, received inf"),
        ("stacks", float("nan"), "takes a whole number, received nan"),
        ("growth", float("inf"), "takes a number, received inf"),
        ("growth", False, "takes a number, received False"),
        ("growth", 10**400, "takes a number, received 1000"),
        ("growth", "nan..2", "takes a number, received 'nan'"),
        ("growth", 101, "a ratio of channels is 0.01 to 100, received 101.0"),
        ("first_stride", -1, "greater than or equal to 1, received -1"),
        ("stem_kernel", 33, "less than or equal to 31"),
        ("shortcut_kernel", "2", "must be odd"),
        ("schedule", "cosin", "'cosine'"),
        ("label_smoothing", 1, "less than 1"),
        ("adamw.weight_decay", -0.1, "greater than or equal to 0"),
        ("blocks", 0, "greater than or equal to 1"),
        ("block", "BB..BN", "has no order"),
        ("conv_kernel", "4", "must be odd"),
        ("label_smoothing", "nan", "takes a number, received 'nan'"),
        ("label_smoothing", "0..0.2", "a range starts above 0"),
        ("sgd.learning_rate", "-1", "greater than 0"),
        ("randaugment", "31", "at most 30"),
        ("stacks", "0", "stacks are 1 to 16"),
        ("growth", "0", "a ratio of channels"),
        ("optimizer", "adam", "did you mean 'adamw'"),
        ("average", "emma", "unknown average 'emma': did you mean 'ema'"),
        ("ema", 1.0, "less than 1"),
        ("lookahead", 0, "greater than or equal to 1"),
        ("norm_momentum", 1, "less than 1"),
        ("sgd.norm_rate", 0, "greater than 0"),
        ("down", "pool", "'maxpool'"),
        ("stem", "whiten", "a stem is conv, or whiten and a kernel of 1 to 5 such as whiten2"),
        ("stem", "2", "a stem is conv, or whiten and a kernel"),
        ("stem", "whiten6", "less than or equal to 5"),
        ("resolution", "24:0.5+28:0.5", "ends at the full size of the network, 32"),
        ("resolution", "24:0.5,32:0.5", "shares of a resolution are above 0 and add up to 1"),
        ("resolution", "small", "a resolution is sizes and shares of the epochs"),
    ],
)
def test_what_no_space_can_have_is_told_at_once(name, value, message):
    with pytest.raises(UsageError, match=message) as caught:
        narrow({name: value})
    assert "\n" not in str(caught.value)


def test_a_limit_that_nothing_meets_is_told_with_an_example():
    with pytest.raises(UsageError, match=r"of 40 parameters.*raise --max-params"):
        space(40).sample(random.Random(0))
    with pytest.raises(UsageError, match="and at most 1,000 MACs"):
        space(300_000, max_macs=1_000).sample(random.Random(0))
    with pytest.raises(UsageError, match=r"would pool below 1x1.*allow fewer and smaller"):
        space(stacks=9).sample(random.Random(0))


def test_keras_tuner_knows_every_dimension_and_when_it_exists():
    here = space(stacks="2,4", blocks__2="1..3", growth="1.1..2", adamw__learning_rate=0.01)
    declared = here.declared()
    assert [known.name for known in declared.space] == list(here.dimensions)
    for values in samples(here, 20):
        declared.values = values
        assert [known.name for known in declared.space if declared.is_active(known)] == list(values)


def test_every_searched_optimizer_has_rates_of_its_own():
    for name in OPTIMIZERS:
        here = space(300_000, optimizer=name)
        (values,) = samples(here, 1)
        assert {key for key in values if "." in key and key.split(".")[0] in OPTIMIZERS} == {
            f"{name}.learning_rate",
            f"{name}.weight_decay",
            f"{name}.norm_rate",
        }
