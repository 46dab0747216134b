"""What a value of a factor means: a network, a recipe, a name."""

import pytest

from kerasresnet.network.budget import count_parameters
from kerasresnet.recipe import Recipe
from tuning.study.factors import read_settings, with_value

ROW_1, ROW_6 = Recipe.named("table1-01"), Recipe.named("table1-06")


def values(base, *varied, **options):
    settings, mistakes = read_settings(base, varied, **options)
    assert not mistakes
    return {setting.label: setting.recipe for setting in settings[1:]}


def test_optimizers_vary_as_in_the_reports_rows_2_to_4():
    found = values(ROW_1.replace(epochs=200), "optimizer=sgd,adagrad,rmsprop,adam")
    for label, row in (("adagrad", "02"), ("rmsprop", "03"), ("adam", "04")):
        expected = Recipe.named(f"table1-{row}")
        assert found[f"optimizer={label}"].replace(name=expected.name) == expected
    assert found["optimizer=sgd"] == ROW_1.replace(epochs=200, name="base")


def test_a_rate_behind_an_optimizer_is_its_learning_rate():
    assert with_value(ROW_6, "optimizer", "adam@0.0005").learning_rate == 0.0005
    assert with_value(ROW_6, "optimizer", "sgd@0.1") == ROW_6.replace(learning_rate=0.1)
    assert with_value(ROW_6, "optimizer", "lion@1e-4").optimizer == "lion"


@pytest.mark.parametrize(
    "factor, value, spec",
    [
        ("channels", "64:128:192:256", "BB2x64-BB2x128-BB2x192-BB2x256"),
        ("blocks", "3:4:6:3", "BB3x64-BB4x128-BB6x232-BB3x268"),
        ("blocks", "1", "BB1x64-BB1x128-BB1x232-BB1x268"),
        ("block", "BN:BB:BB:BN", "BN2x64-BB2x128-BB2x232-BN2x268"),
        ("conv_kernel", "5", "BB2x64k5-BB2x128k5-BB2x232k5-BB2x268k5"),
        ("shortcut_kernel", "1:3:1:3", "BB2x64-BB2x128p3-BB2x232-BB2x268p3"),
        ("stem_kernel", "5", "stemk5-BB2x64-BB2x128-BB2x232-BB2x268"),
        ("pool", "2", "BB2x64-BB2x128-BB2x232-BB2x268-pool2"),
        ("activation", "gelu", "BB2x64-BB2x128-BB2x232-BB2x268-gelu"),
        ("pool", "4", "BB2x64-BB2x128-BB2x232-BB2x268"),
        ("spec", "table1-10", "BN3x64-BN4x96-BN6x128-BN3x190"),
    ],
)
def test_a_network_factor_changes_the_network_alone(factor, value, spec):
    changed = with_value(ROW_6, factor, value)
    assert str(changed.spec) == spec
    assert changed.replace(spec=ROW_6.spec) == ROW_6


@pytest.mark.parametrize(
    "text, policy",
    [
        ("crop+flip", ("crop", "flip")),
        ("crop:pad=2+randaugment:n=2:m=7", ("crop(pad=2)", "randaugment(magnitude=7)")),
        ("crop(pad=2)+randaugment(n=3, m=9)", ("crop(pad=2)", "randaugment(num_ops=3)")),
        ("flip:alternating=true", ("flip(alternating=true)",)),
        ("none", ()),
    ],
)
def test_a_policy_is_one_value(text, policy):
    (found,) = values(ROW_6, f"augment={text}").values()
    assert found == ROW_6.replace(augment=policy, name=found.name)
    assert len(values(ROW_6, f"augment={text},crop:pad=3")) == 2


def test_one_cycle_can_be_compared_with_a_schedule_that_moves_by_epoch():
    assert with_value(ROW_6, "schedule", "one_cycle").schedule_step == "batch"
    cycled = with_value(Recipe.named("quick"), "cycle_momentum", "0.85:0.95")
    assert cycled.cycle_momentum == (0.85, 0.95)
    assert with_value(cycled, "schedule", "cosine").cycle_momentum is None


def test_widen_makes_networks_of_the_bases_size():
    base = count_parameters(ROW_6.spec)
    for label, recipe in values(ROW_6, "blocks=1,4", "conv_kernel=5", "pool=2", widen=True).items():
        assert 0.99 * base <= count_parameters(recipe.spec) <= base, label
    assert values(ROW_6, "blocks=2", widen=True)["blocks=2"].spec == ROW_6.spec


def test_long_values_have_short_names_of_their_own():
    networks = ["-".join(["BB1x8"] * 20 + [f"BB1x{n}s1"]).replace("x8-", "x8s1-") for n in (8, 9)]
    names = {recipe.name for recipe in values(ROW_6, f"spec={','.join(networks)}").values()}
    assert len(names) == 2 and max(map(len, names)) < 70
