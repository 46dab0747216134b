"""Every operation gives PIL's pixels, at every level and in both directions."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kerasresnet.augment.apply import Draws, amounts, apply_draws
from kerasresnet.augment.operations import CODE, OPERATIONS, WIDE_OPERATIONS
from kerasresnet.augment.policy import TrivialAugment
from kerasresnet.augment.randaugment import draw_randaugment
from kerasresnet.augment.steps import apply_to_images
from kerasresnet.augment.trivialaugment import draw_trivialaugment
from kerasresnet.data import load_data

TOP = 30
LEVELS = range(TOP + 1)

each_range = pytest.mark.parametrize(
    "operations", [OPERATIONS, WIDE_OPERATIONS], ids=["usual", "wide"]
)


@pytest.fixture(scope="module")
def photographs():
    """64 pieces of a photograph, uint8 [64, 32, 32, 3], flat and steep ones among them."""
    from sklearn.datasets import load_sample_image

    photograph = load_sample_image("flower.jpg")
    corners = np.random.default_rng(0).integers(0, (390, 600), (64, 2))
    return np.stack([photograph[y : y + 32, x : x + 32] for y, x in corners])


def by_pil(picture: np.ndarray, name: str, amount: float) -> np.ndarray:
    """What PIL makes of one picture; the conventions are AutoAugment's published code's."""
    image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
    width, height = image.size
    affine = {
        "ShearX": (1, amount, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, amount, 1, 0),
        "TranslateX": (1, 0, -int(amount * width), 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, -int(amount * height)),
    }
    match name:
        case "Identity":
            result = image
        case "ShearX" | "ShearY" | "TranslateX" | "TranslateY":
            result = image.transform(image.size, Image.Transform.AFFINE, affine[name])
        case "Rotate":
            result = image.rotate(amount)
        case "Brightness" | "Color" | "Contrast" | "Sharpness":
            result = getattr(ImageEnhance, name)(image).enhance(amount)
        case "Posterize":
            result = ImageOps.posterize(image, round(amount))
        case "Solarize":
            result = ImageOps.solarize(image, amount)
        case _:
            result = getattr(ImageOps, name.lower())(image)
    return np.asarray(result).reshape(picture.shape)


def exact_amount(name: str, level: float, mirror: bool, operations=OPERATIONS) -> float:
    operation = operations[name]
    way = (operation.strongest - operation.weakest) * level / TOP
    return float(operation.weakest + (-way if mirror and operation.mirrored else way))


def eagerly(images, *draws, operations=OPERATIONS):
    return apply_draws(images, Draws(*draws), top=TOP, operations=operations)


@tf.function(autograph=False)
def in_graph(images, *draws):
    return eagerly(images, *draws)


@tf.function(autograph=False)
def in_graph_wide(images, *draws):
    return eagerly(images, *draws, operations=WIDE_OPERATIONS)


def ours(images, name, level, mirror, run=in_graph):
    shape = (len(images), 1)
    operation = np.full(shape, CODE[name], "int32")
    return run(images, operation, np.full(shape, level, "float32"), np.full(shape, mirror)).numpy()


def settings(name: str, levels=LEVELS):
    mirrors = (False, True) if OPERATIONS[name].mirrored else (False,)
    return [(level, mirror) for level in levels for mirror in mirrors]


def check_against_pil(images, name, levels=LEVELS, operations=OPERATIONS):
    run = in_graph_wide if operations is WIDE_OPERATIONS else in_graph
    for level, mirror in settings(name, levels):
        amount = exact_amount(name, level, mirror, operations)
        expected = np.stack([by_pil(image, name, amount) for image in images])
        np.testing.assert_array_equal(
            ours(images, name, level, mirror, run), expected, err_msg=f"level {level}, {mirror=}"
        )


@each_range
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_equals_pil_on_photographs_at_every_level(name, operations, photographs):
    check_against_pil(photographs[:16], name, operations=operations)


@pytest.mark.slow
@each_range
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_equals_pil_on_cifar10_at_every_level(name, operations):
    check_against_pil(load_data("cifar10").x_test[:512], name, operations=operations)


@each_range
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_equals_pil_on_noise_of_other_shapes(name, operations):
    noise = np.random.default_rng(1).integers(0, 256, (8, 23, 40, 3), dtype=np.uint8)
    check_against_pil(noise, name, levels=(0, 4, 17, 20, 30), operations=operations)


@each_range
@pytest.mark.parametrize("shape", [(96, 96), (224, 224), (500, 333)])
def test_rotations_equal_pil_on_large_pictures(shape, operations):
    noise = np.random.default_rng(2).integers(0, 256, (1, *shape, 1), dtype=np.uint8)
    check_against_pil(noise, "Rotate", levels=(16, 20, 26, 30), operations=operations)


@each_range
@pytest.mark.parametrize("name", OPERATIONS)
def test_it_equals_pil_on_grey_pictures(name, operations, photographs):
    check_against_pil(photographs[:8, :, :, :1], name, levels=(3, 20), operations=operations)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast"])
def test_it_equals_pil_on_pictures_of_few_levels(name):
    flat = np.full((6, 32, 32, 3), 77, np.uint8)
    flat[1, 0, 0] = 78
    flat[2, :16] = 3
    flat[3] = 255
    flat[4, 5, 5] = 255, 0, 77
    flat[5, :, :, 1] = np.arange(32)
    check_against_pil(flat, name, levels=(9, 30))


UNCHANGED_AT_ZERO = [
    name for name in OPERATIONS if name not in ("AutoContrast", "Equalize", "Invert", "Solarize")
]


@pytest.mark.parametrize("name", UNCHANGED_AT_ZERO)
def test_level_zero_changes_nothing(name, photographs):
    for mirror in (False, True):
        np.testing.assert_array_equal(ours(photographs, name, 0, mirror), photographs)


def test_solarize_at_level_zero_changes_nothing_but_pure_white_as_in_torchvision(photographs):
    pictures = photographs.copy()
    pictures[0, :4] = 255
    expected = np.where(pictures == 255, 0, pictures)
    np.testing.assert_array_equal(ours(pictures, "Solarize", 0, False), expected)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "Identity"])
def test_the_top_level_changes_every_picture(name, photographs):
    noise = np.random.default_rng(2).integers(20, 200, photographs.shape, dtype=np.uint8)
    changed = (ours(noise, name, TOP, False) != noise).any(axis=(1, 2, 3))
    assert changed.all()


@each_range
def test_amounts_are_the_float32_nearest_to_the_exact_ones(operations):
    for name in OPERATIONS:
        for level, mirror in settings(name):
            draws = Draws(
                np.array([[CODE[name]]], "int32"),
                np.array([[level]], "float32"),
                np.array([[mirror]]),
            )
            exact = np.float32(exact_amount(name, level, mirror, operations))
            amount = amounts(draws, top=TOP, operations=operations).numpy()
            assert amount == exact, (name, level, mirror)


# torchvision's TrivialAugmentWide: the highest of its 31 values, its translations by 32 pixels.
WIDEST = dict.fromkeys(("ShearX", "ShearY"), 0.99)
WIDEST |= dict.fromkeys(("TranslateX", "TranslateY"), 32 / 32)
WIDEST |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 1 + 0.99)
WIDEST |= {"Rotate": 135, "Posterize": 2, "Solarize": 0}


def test_the_wide_ranges_are_torchvisions():
    assert list(WIDE_OPERATIONS) == list(OPERATIONS)
    for name, operation in WIDE_OPERATIONS.items():
        assert float(operation.strongest) == WIDEST.get(name, 0), name
        assert operation._replace(strongest=0) == OPERATIONS[name]._replace(strongest=0)


@pytest.mark.parametrize("place", ["eagerly", "in a pipeline"])
def test_wide_operations_equal_pil_at_their_extremes(place, photographs):
    cases = [
        (name, level, mirror)
        for name in WIDE_OPERATIONS
        for level, mirror in settings(name, levels=(0, 1, 20, TOP))
    ]
    images = np.resize(photographs, (len(cases), 32, 32, 3))
    name, level, mirror = (np.array(column)[:, None] for column in zip(*cases, strict=True))
    draws = np.vectorize(CODE.get)(name).astype("int32"), level.astype("float32"), mirror
    if place == "eagerly":
        result = eagerly(images, *draws, operations=WIDE_OPERATIONS)
    else:
        dataset = tf.data.Dataset.from_tensors((images, *draws))
        result = next(iter(dataset.map(in_graph_wide)))
    for number, case in enumerate(cases):
        expected = by_pil(images[number], case[0], exact_amount(*case, WIDE_OPERATIONS))
        np.testing.assert_array_equal(result[number], expected, err_msg=str(case))


@pytest.mark.parametrize("side", [5, 8, 28, 32, 96, 100, 224])
def test_wide_translations_go_by_whole_pixels_at_every_size(side):
    ramp = np.tile(np.arange(1, side + 1, dtype=np.uint8), (1, side, 1))[..., None]
    for level in LEVELS:
        moved = ours(ramp, "TranslateX", level, False, in_graph_wide)[0, 0, :, 0]
        assert np.count_nonzero(moved) == side - side * level // TOP


def test_every_picture_gets_its_own_operations_in_its_own_order(photographs):
    draws = draw_randaugment(64, [5, 6], num_ops=3, magnitude=13, top=TOP, std=0)
    operation, level, mirror = (tensor.numpy() for tensor in draws)
    assert len({tuple(row) for row in operation}) > 55
    expected = photographs.copy()
    names = list(OPERATIONS)
    for picture in range(64):
        for slot in range(3):
            name = names[operation[picture, slot]]
            amount = exact_amount(name, level[picture, slot], mirror[picture, slot])
            expected[picture] = by_pil(expected[picture], name, amount)
    np.testing.assert_array_equal(in_graph(photographs, *draws).numpy(), expected)
    np.testing.assert_array_equal(apply_draws(photographs, draws, top=TOP).numpy(), expected)


def test_trivialaugment_gives_every_picture_the_pixels_that_it_drew(photographs):
    operation, level, mirror = (each[:, 0] for each in draw_trivialaugment(64, [2, 3]))
    result = apply_to_images(TrivialAugment(), photographs, [2, 3]).numpy()
    for picture in range(64):
        name = list(OPERATIONS)[operation[picture]]
        amount = exact_amount(name, float(level[picture]), mirror[picture], WIDE_OPERATIONS)
        np.testing.assert_array_equal(result[picture], by_pil(photographs[picture], name, amount))


@pytest.mark.parametrize("run", [in_graph, in_graph_wide], ids=["usual", "wide"])
def test_xla_computes_the_same_within_a_level(run, photographs):
    compiled = tf.function(run.python_function, jit_compile=True, autograph=False)
    for name in OPERATIONS:
        for level, mirror in settings(name, levels=(7, 20, 22)):
            pair = [ours(photographs, name, level, mirror, each) for each in (compiled, run)]
            difference = np.abs(pair[0].astype(int) - pair[1]).max()
            rounded = ("AutoContrast", "Brightness", "Color", "Contrast", "Sharpness")
            assert difference <= (1 if name in rounded else 0), name


def test_shapes_may_be_unknown_when_a_pipeline_is_built(photographs):
    draws = draw_randaugment(64, [1, 1], num_ops=2, magnitude=9, top=TOP, std=0)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec((None, None, None, 3), tf.uint8),
            tf.TensorSpec((None, 2), tf.int32),
            tf.TensorSpec((None, 2), tf.float32),
            tf.TensorSpec((None, 2), tf.bool),
        ],
    )
    def of_unknown_shape(images, *draws):
        return apply_draws(images, Draws(*draws), top=TOP)

    np.testing.assert_array_equal(
        of_unknown_shape(photographs, *draws), in_graph(photographs, *draws)
    )
