"""Stems, max-pool, averages and resolutions: offered where the base can have them, and meant."""

import random

import pytest

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_parameters
from kerasresnet.network.resolution import sizes_by_epoch
from kerasresnet.recipe import Recipe
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space


def space(limit=1_000_000, spec=None, **changes):
    base = Recipe.named("quick").replace(max_params=limit)
    base = base.replace(spec=spec) if spec else base
    return Space(base, narrow(changes, base))


def samples(space, number=200):
    draw = random.Random(0)
    return [space.sample(draw) for _ in range(number)]


@pytest.mark.parametrize("limit", [20_000, 300_000, 5_000_000])
def test_every_stem_and_way_down_fills_the_limit(limit):
    here, seen = space(limit), set()
    for values in samples(here):
        spec = here.network(values)
        assert 0.95 * limit <= count_parameters(spec) <= limit
        whiten = {"conv": None, "whiten2": 2, "whiten3": 3}[values["stem"]]
        assert spec.whiten == whiten
        assert ("stem_kernel" in values) == ("stem_width" in values) == (whiten is None)
        for stack, stage in zip(spec.stacks, spec.stages, strict=True):
            goes_down = stage.first.stride == 2
            assert stack.down == (values["down"] if goes_down else "stride")
        strides = [stage.first.stride for stage in spec.stages]
        assert strides == [values["first_stride"], *[2] * (values["stacks"] - 1)]
        seen.add((values["stem"], values["down"], values["first_stride"]))
    assert len(seen) == 3 * 2 * 2


def test_averages_have_their_own_strength():
    here = space()
    kinds = set()
    for values in samples(here):
        recipe = here.recipe(values)
        kinds.add(values["average"])
        assert bool(recipe.ema) == (values["average"] == "ema")
        assert bool(recipe.lookahead) == (values["average"] == "lookahead")
    assert kinds == {"none", "ema", "lookahead"}


def test_an_optimizers_own_norm_rate_is_left_to_it():
    here = space(optimizer="convmuon")
    assert {here.recipe(v).norm_rate for v in samples(here)} == {None, 4.0, 24.0}
    here = space(optimizer="sgd")
    assert {here.recipe(v).norm_rate for v in samples(here)} == {None, 8.0, 64.0}


def test_resolutions_are_of_the_bases_images():
    assert space().dimensions["resolution"].values == ("none", "24:0.5+28:0.25+32:0.25")
    large = space(spec="BB1x16-BB1x16-in64x64x3")
    assert large.dimensions["resolution"].values == ("none", "48:0.5+56:0.25+64:0.25")
    for values in samples(large, 20):
        sizes = large.recipe(values).sizes
        assert sizes[-1] == 64 and (sizes[0] == 48) == (values["resolution"] != "none")
    for spec in ("BB1x16-in8x8x3", "BB1x16-in48x64x3", "BB1x16-pool4"):
        assert space(spec=spec).dimensions["resolution"].values == ("none",)


def test_a_strided_stem_has_no_whitening():
    here = space(spec="stem32s2-BB1x64-BB1x64")
    assert here.dimensions["stem"].values == ("conv",)
    with pytest.raises(UsageError, match="leave out one of whiten and stem"):
        space(spec="stem32s2-BB1x64-BB1x64", stem="whiten2")


def test_what_is_left_out_takes_what_belongs_to_it_along():
    names = narrow({"stem": "whiten2", "average": "none"}).keys()
    assert not {"stem_kernel", "stem_width", "ema", "lookahead"} & names
    here = space(stem="whiten2", average="none")
    assert all(here.network(values).whiten == 2 for values in samples(here, 20))
    again = narrow(here.to_json())
    assert again == dict(here.dimensions)


def test_no_sample_pools_small_images_below_one_pixel():
    # Four halvings leave 1 of 15 pixels with strides, which round up, and nothing with max-pool.
    small = "15:0.5+32:0.5"
    here = space(stacks=4, first_stride=2, resolution=["none", small])
    ways = set()
    for values in samples(here, 60):
        recipe = here.recipe(values)
        sizes_by_epoch(recipe.resolution, recipe.epochs, recipe.spec)
        ways.add((values["down"], values["resolution"]))
    assert ways == {("stride", "none"), ("stride", small), ("maxpool", "none")}
    never = space(stacks=4, first_stride=2, down="maxpool", resolution=small)
    with pytest.raises(UsageError, match=r"would pool the small images of 15:0\.5"):
        never.sample(random.Random(0))


def test_a_toml_file_may_write_a_schedule_as_recipes_do():
    here = space(resolution=["24:0.5, 32:0.5"], stem="whiten2")
    assert here.recipe(samples(here, 1)[0]).resolution == "24:0.5, 32:0.5"
