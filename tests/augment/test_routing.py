"""Each image passes through the branch that it chose, and no other is computed in a pipeline."""

import numpy as np
import pytest
import tensorflow as tf

from kerasresnet.augment.arrays import route

IMAGES = np.random.default_rng(0).integers(0, 200, (50, 4, 6, 3), dtype=np.uint8)
CHOICE = np.random.default_rng(1).integers(0, 3, 50).astype(np.int32)
ADDED = np.arange(50, dtype=np.uint8)
BRANCHES = 4  # the last one is chosen by none


def branches(seen: list):
    def branch(number):
        def add(images, added):
            seen.append((number, images.shape[0]))
            return images + added[:, None, None, None] + np.uint8(number)

        return add

    return [branch(number) for number in range(BRANCHES)]


EXPECTED = IMAGES + (ADDED + CHOICE.astype(np.uint8))[:, None, None, None]


def test_a_branch_gets_only_the_images_that_chose_it():
    seen = []
    np.testing.assert_array_equal(route(branches(seen), CHOICE, IMAGES, ADDED), EXPECTED)
    assert seen == [(number, int((number == CHOICE).sum())) for number in range(BRANCHES)]


def test_the_result_has_the_shape_that_the_images_had():
    dataset = tf.data.Dataset.from_tensors((CHOICE, IMAGES, ADDED))
    routed = dataset.map(lambda choice, *rest: route(branches([]), choice, *rest))
    assert routed.element_spec == tf.TensorSpec(IMAGES.shape, tf.uint8)
    np.testing.assert_array_equal(next(iter(routed)), EXPECTED)


def test_xla_computes_every_branch_on_the_whole_batch():
    seen = []
    compiled = tf.function(
        lambda *inputs: route(branches(seen), *inputs), jit_compile=True, autograph=False
    )
    np.testing.assert_array_equal(compiled(CHOICE, IMAGES, ADDED), EXPECTED)
    assert seen == [(number, 50) for number in range(BRANCHES)]


@pytest.mark.parametrize("outer", [False, True])
def test_a_function_inside_a_compiled_one_is_compiled_too(outer):
    seen = []
    inner = tf.function(lambda *inputs: route(branches(seen), *inputs), autograph=False)
    compiled = tf.function(lambda *inputs: inner(*inputs), jit_compile=outer, autograph=False)
    np.testing.assert_array_equal(compiled(CHOICE, IMAGES, ADDED), EXPECTED)
    assert {count for _, count in seen} == ({50} if outer else {None})
