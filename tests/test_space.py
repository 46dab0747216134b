"""Every sample is inside the budget, means one network and recipe, and can be narrowed."""

import random
import statistics
import tomllib

import pytest

from kerasresnet.budget import count_macs, count_parameters
from kerasresnet.errors import UsageError
from kerasresnet.recipe import Recipe
from tuning.options import SearchOptions, parse_search_options, read_space
from tuning.space import OPTIMIZERS, Space, narrow


def space(limit=5_000_000, base="quick", max_macs=None, **changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return Space(Recipe.named(base).replace(max_params=limit), narrow(changes), max_macs)


def samples(space, number, seed=0):
    draw = random.Random(seed)
    return [space.sample(draw) for _ in range(number)]


def test_ten_thousand_samples_fill_the_limit_and_none_is_over_it():
    shares = []
    for limit in (300_000, 5_000_000):
        here = space(limit)
        shares += [count_parameters(here.network(v)) / limit for v in samples(here, 5_000)]
    assert max(shares) <= 1 and min(shares) >= 0.95
    assert statistics.median(shares) >= 0.97


def test_a_limit_of_macs_is_kept():
    here = space(300_000, max_macs=20_000_000)
    assert max(count_macs(here.network(v)) for v in samples(here, 200)) <= 20_000_000


def test_samples_follow_from_the_seed():
    assert samples(space(), 20) == samples(space(), 20) != samples(space(), 20, seed=1)


@pytest.mark.parametrize("base", ["quick", "digits", "table1-06"])
def test_every_sample_is_a_recipe_that_toml_keeps(base, tmp_path):
    here = space(500_000, base)
    here = Space(here.base.replace(schedule="one_cycle", schedule_step="batch"), here.dimensions)
    here = Space(here.base.replace(cycle_momentum=(0.85, 0.95)), here.dimensions)
    for values in samples(here, 60):
        recipe = here.recipe(values)
        (tmp_path / "recipe.toml").write_text(recipe.to_toml())
        assert Recipe.from_toml(tmp_path / "recipe.toml") == recipe
        assert recipe.epochs == here.base.epochs and recipe.max_params == 500_000
        assert recipe.optimizer == values["optimizer"]
        assert recipe.learning_rate == values[f"{recipe.optimizer}.learning_rate"]


def test_each_dimension_changes_what_is_trained_and_its_identity():
    here = space(2_000_000)
    changed = set()
    for values in samples(here, 40):
        for name, dimension in here.dimensions.items():
            if not dimension.is_active(values) or name == "stacks" or dimension.continuous:
                continue
            for other in dimension.values:
                again = here.canonical({**_everything(here), **values, name: other})
                if other != values[name] and here.fits(again):
                    changed.add(name)
                    same = here.recipe(again) == here.recipe(values)
                    assert same == (here.identity(again) == here.identity(values)), name
    assert {"block.1", "blocks.3", "growth.2", "conv_kernel", "optimizer", "schedule"} <= changed
    assert {"shortcut_kernel", "stem_kernel", "stem_width", "first_stride"} <= changed
    assert {"randaugment", "label_smoothing"} <= changed


def _everything(space):
    """A value for every dimension, those that are inactive too."""
    return {name: dimension.values[0] for name, dimension in space.dimensions.items()}


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
        }
    )
    assert found["blocks.1"].values == found["blocks.6"].values == (1, 2, 3)
    assert found["blocks.2"].values == (7,)
    assert found["conv_kernel"].values == (7,)
    assert found["growth.4"].continuous and found["growth.4"].values == (1.2, 3.0)
    assert found["sgd.learning_rate"].values == (0.1,)
    assert not [name for name in found if name.startswith(("adamw.", "convmuon."))]
    assert "sgd.weight_decay" in found


def test_what_is_written_down_of_a_space_reads_back():
    found = narrow({"stacks": "2,3", "blocks.2": "1,2", "sgd.learning_rate": "0.05..0.2"})
    written = Space(Recipe.named("quick"), found).to_json()
    assert narrow(written) == found
    assert narrow(Space(Recipe.named("quick"), narrow({})).to_json()) == narrow({})


def test_a_space_in_toml_and_flags_after_it(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('stacks = 3\nblocks = [1, 2]\n[sgd]\nlearning_rate = "0.05..0.2"\n')
    tomllib.loads(path.read_text())
    assert read_space(path) == {
        "stacks": 3,
        "blocks": [1, 2],
        "sgd.learning_rate": "0.05..0.2",
    }
    options = parse_search_options(["--space", str(path), "--set", "blocks=4"])
    _, _, found = options.resolve()
    assert found.dimensions["blocks.3"].values == (4,)
    assert found.dimensions["stacks"].values == (3,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("colour", "red", "unknown dimension 'colour'"),
        ("block", "BN,XX", "block.1=XX"),
        ("blocks", "", "leaves nothing"),
        ("blocks", "4..2", "leaves nothing"),
        ("blocks", "two", "takes a whole number, received 'two'"),
        ("blocks", 1.5, "takes a whole number, received 1.5"),
        ("blocks", True, "takes a whole number, received True"),
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
    ],
)
def test_what_no_space_can_have_is_told_at_once(name, value, message):
    with pytest.raises(UsageError, match=message):
        narrow({name: value})


def test_a_limit_that_nothing_meets_is_told_with_an_example():
    with pytest.raises(UsageError, match=r"of 40 parameters.*raise --max-params"):
        space(40).sample(random.Random(0))
    with pytest.raises(UsageError, match="and at most 1,000 MACs"):
        space(300_000, max_macs=1_000).sample(random.Random(0))


def test_every_searched_optimizer_has_rates_of_its_own():
    for name in OPTIMIZERS:
        here = space(300_000, optimizer=name)
        (values,) = samples(here, 1)
        assert {key for key in values if "." in key and key.split(".")[0] in OPTIMIZERS} == {
            f"{name}.learning_rate",
            f"{name}.weight_decay",
        }


def test_train_best_takes_a_recipe_or_none():
    assert parse_search_options([]).train_best is None
    assert parse_search_options(["--train-best"]).train_best == "searched"
    assert parse_search_options(["--train-best", "--plain"]).train_best == "searched"
    assert parse_search_options(["--train-best", "table1-06"]).train_best == "table1-06"
    assert SearchOptions().resolve()[0].name == "cifar10-5000000"
