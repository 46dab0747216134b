"""Which epoch trains at which size, and what is refused."""

import pytest

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs
from kerasresnet.network.resolution import Span, sizes_by_epoch, spans
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import Recipe

SPEC = ResNetSpec.from_text("BB1x4-BB1x4-BB1x4")


@pytest.mark.parametrize(
    ("text", "epochs", "sizes"),
    [
        (None, 2, (32, 32)),
        ("32:1", 2, (32, 32)),
        ("24:0.5, 28:0.25, 32:0.25", 8, (24,) * 4 + (28,) * 2 + (32,) * 2),
        ("24:.5,32:.5", 3, (24, 24, 32)),
        ("24:0.9, 32:0.1", 3, (24, 24, 32)),  # the last epoch is full size, however small its share
        ("24:0.5, 32:0.5", 1, (32,)),
    ],
)
def test_spans_end_at_the_nearest_epoch_and_the_last_is_full_size(text, epochs, sizes):
    assert sizes_by_epoch(text, epochs, SPEC) == sizes


def test_spans_join_equal_sizes_from_where_a_run_goes_on():
    sizes = (24, 24, 28, 32, 32)
    assert spans(sizes, 0, 5) == [Span(24, 0, 2), Span(28, 2, 3), Span(32, 3, 5)]
    assert spans(sizes, 1, 4) == [Span(24, 1, 2), Span(28, 2, 3), Span(32, 3, 4)]
    assert spans(sizes, 5, 5) == []


@pytest.mark.parametrize(
    ("text", "spec", "told"),
    [
        ("24:0.5, 28:0.5", SPEC, "ends at the full size of the network, 32"),
        ("24", SPEC, "sizes and shares of the epochs"),
        ("24:0.5; 32:0.5", SPEC, "sizes and shares of the epochs"),
        ("24:0.5, 32:0.6", SPEC, "add up to 1.*1.1 in all"),
        ("24:0, 32:1", SPEC, "above 0 and add up to 1"),
        ("3:0.5, 32:0.5", "BB1x4m-BB1x4m-BB1x4m", "would pool below 1x1"),
        ("24:0.5, 32:0.5", "BB1x4-pool2", "a global pool"),
        ("24:0.5, 32:0.5", "BB1x4-in32x24x3", "needs square images"),
    ],
)
def test_a_bad_resolution_is_told_in_one_line(text, spec, told):
    with pytest.raises(UsageError, match=told):
        sizes_by_epoch(text, 4, ResNetSpec.from_text(str(spec)))
    with pytest.raises(UsageError, match=told):
        Recipe(spec=str(spec), epochs=4, resolution=text)


def test_a_recipe_costs_less_where_its_images_are_smaller():
    recipe = Recipe(spec=SPEC, epochs=2, batch_size=64, resolution="16:0.5, 32:0.5")
    small = SPEC.replace(input_shape=(16, 16, 3))
    assert recipe.pflop_by_epoch(130) == [
        6 * count_macs(small) * 128 / 1e15,
        6 * count_macs(SPEC) * 128 / 1e15,
    ]
