"""Optimizers against plain float64 rules, PyTorch's for SGD and Adam, under a moving learning rate.

The model's loss is its output x · w + b, so that batch t's gradient is x_t, whatever the weights:
the same 60 gradients go through an eager step, a compiled one and the NumPy rule. Run once against
PyTorch 2.13 itself (SGD, Nesterov, Adam, AdamW under OneCycleLR), the rules agree within 3e-7.
"""

from typing import get_args

import keras
import numpy as np
import pytest
from optimizer_rules import adagrad, adam, nadam, rmsprop, sgd

from kerasresnet.errors import UsageError
from kerasresnet.optim.optimizers import build_optimizer, optimizer_names
from kerasresnet.optim.schedules import build_momentum_schedule, build_schedule

STEPS, WIDTH = 60, 6
RNG = np.random.default_rng(0)
# Multiples of 1/16: exact in bfloat16 too.
GRADIENTS = RNG.integers(-16, 17, (STEPS, WIDTH)) / 16
START = RNG.normal(size=WIDTH)
LAMBDA = 0.05


def one_cycle(peak):
    return build_schedule("one_cycle", peak=peak, total_steps=STEPS)


def momentum_cycle():
    return build_momentum_schedule(total_steps=STEPS)


def values(schedule):
    return np.array([float(schedule(step)) for step in range(STEPS)])


# name of the case: (optimizer, its settings, NumPy rule, peak learning rate)
CASES = {
    "sgd": ("sgd", {}, sgd, 0.1),
    "nesterov": ("sgd", {"nesterov": True}, lambda: sgd(nesterov=True), 0.1),
    "adagrad": ("adagrad", {}, adagrad, 0.1),
    "rmsprop": ("rmsprop", {}, rmsprop, 0.01),
    "adam": ("adam", {}, adam, 0.02),
    "adamw": ("adamw", {}, adam, 0.02),
    "nadam": ("nadam", {}, nadam, 0.02),
}


def reference(rule, rates, momenta, *, coupled=0.0, decoupled=0.0, start=START, gradients=None):
    """The weights after each step, [STEPS, WIDTH], in float64."""
    step, weights, path = rule(), np.array(start, "float64"), []
    gradients = GRADIENTS if gradients is None else gradients
    for t, (g, lr, momentum) in enumerate(zip(gradients, rates, momenta, strict=True), start=1):
        g = g + coupled * weights
        weights = weights - lr * decoupled * weights
        weights = weights - step(t, g, lr, momentum)
        path.append(weights)
    return np.array(path)


def follow(optimizer, start=START, gradients=GRADIENTS, name="kernel"):
    """The weights after each eager step, [STEPS, WIDTH]."""
    variable, path = keras.Variable(start, dtype="float32", name=name), []
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        path.append(keras.ops.convert_to_numpy(variable).copy())
    return np.array(path)


@keras.saving.register_keras_serializable(package="test_optim")
def mean_output(_, output):
    return keras.ops.mean(output)


def compiled_model(optimizer, *, jit_compile=False, dtype="float32"):
    """The model x · w + b, at START and 0.5, compiled with its mean output as the loss."""
    dense = keras.layers.Dense(1, dtype=dtype)
    model = keras.Sequential([keras.Input((WIDTH,)), dense])
    dense.set_weights([START[:, None], np.array([0.5])])
    model.compile(optimizer, loss=mean_output, jit_compile=jit_compile)
    return model


def fit(model, steps=slice(0, STEPS)):
    """One epoch over those batches; the kernel [WIDTH] and the bias []."""
    x = GRADIENTS[steps].astype("float32")
    model.fit(x, np.zeros(len(x)), batch_size=1, shuffle=False, verbose=0)
    kernel, bias = model.get_weights()
    return kernel[:, 0], bias[0]


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.parametrize("case", CASES)
def test_each_step_is_the_rules_under_one_cycle(case, decay):
    name, settings, rule, peak = CASES[case]
    optimizer = build_optimizer(
        name,
        one_cycle(peak),
        weight_decay=LAMBDA,
        decay=decay,
        momentum_schedule=momentum_cycle(),
        **settings,
    )
    expected = reference(rule, values(one_cycle(peak)), values(momentum_cycle()), **{decay: LAMBDA})
    np.testing.assert_allclose(follow(optimizer), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_each_step_is_the_rules_with_a_fixed_momentum(case):
    name, settings, rule, peak = CASES[case]
    optimizer = build_optimizer(name, peak, momentum=0.8, **settings)
    expected = reference(rule, [peak] * STEPS, [0.8] * STEPS)
    np.testing.assert_allclose(follow(optimizer), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("case", "jit_compile"),
    [(case, False) for case in CASES] + [(case, True) for case in ("sgd", "rmsprop", "nadam")],
)
def test_a_compiled_step_is_the_rules_under_one_cycle(case, jit_compile):
    name, settings, rule, peak = CASES[case]
    # The kernel decays and the bias does not, each form for half the cases.
    decay = "decoupled" if jit_compile == (case in ("nesterov", "rmsprop", "adam")) else "coupled"
    optimizer = build_optimizer(
        name,
        one_cycle(peak),
        weight_decay=LAMBDA,
        decay=decay,
        momentum_schedule=momentum_cycle(),
        **settings,
    )
    kernel, bias = fit(compiled_model(optimizer, jit_compile=jit_compile))
    cycles = values(one_cycle(peak)), values(momentum_cycle())
    expected = reference(rule, *cycles, **{decay: LAMBDA})
    np.testing.assert_allclose(kernel, expected[-1], rtol=2e-5, atol=1e-5)
    expected = reference(rule, *cycles, start=0.5, gradients=np.ones(STEPS))
    np.testing.assert_allclose(bias, expected[-1], rtol=2e-5, atol=1e-5)


def test_table_1s_sgd_decays_every_parameter_on_a_cosine_by_epoch():
    schedule = build_schedule("cosine", peak=0.01, total_steps=STEPS, steps_per_epoch=6)
    optimizer = build_optimizer(
        "sgd", schedule, weight_decay=LAMBDA, decay="coupled", decay_norm_and_bias=True
    )
    kernel, bias = fit(compiled_model(optimizer))
    rates = 0.01 * (1 + np.cos(np.pi * (np.arange(STEPS) // 6) / 10)) / 2
    momenta = [0.9] * STEPS
    expected = reference(sgd, rates, momenta, coupled=LAMBDA)
    np.testing.assert_allclose(kernel, expected[-1], rtol=1e-5)
    expected = reference(sgd, rates, momenta, coupled=LAMBDA, start=0.5, gradients=np.ones(STEPS))
    np.testing.assert_allclose(bias, expected[-1], rtol=1e-5)


def test_the_same_lambda_decays_ten_times_less_when_decoupled():
    lost = {}
    for decay in ("coupled", "decoupled"):
        optimizer = build_optimizer("sgd", 0.01, weight_decay=0.001, decay=decay)
        weights = follow(optimizer, start=[1.0], gradients=np.zeros((200, 1)))
        lost[decay] = 1 - weights[-1, 0]
    assert 9 < lost["coupled"] / lost["decoupled"] < 10.5


@pytest.mark.parametrize("decay", ["coupled", "decoupled"])
@pytest.mark.parametrize("name", sorted({*optimizer_names()} - {"convmuon"}))  # it holds norms
def test_decay_spares_norms_and_biases_whatever_their_layer_is_called(name, decay):
    layers = [
        keras.layers.Conv2D(2, 1, name="gamma_bias"),
        keras.layers.BatchNormalization(name="kernel"),
        keras.layers.Dense(2, name="beta"),
    ]
    variables = keras.Sequential([keras.Input((2, 2, 2)), *layers]).trainable_variables

    def after_two_steps(**settings):
        optimizer = build_optimizer(name, 0.1, decay=decay, **settings)
        for variable in variables:
            variable.assign(np.ones(variable.shape))
        # λw turns the gradient over: some rules keep no more of it than its direction.
        for _ in range(2):
            gradients = [keras.ops.full(variable.shape, -0.25) for variable in variables]
            optimizer.apply(gradients, variables)
        return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]

    def decayed(**settings):
        pairs = zip(variables, after_two_steps(weight_decay=0.5, **settings), plain, strict=True)
        return {"/".join(v.path.split("/")[-2:]) for v, a, b in pairs if not np.array_equal(a, b)}

    plain = after_two_steps()
    kernels = {"gamma_bias/kernel", "beta/kernel"}
    others = {"gamma_bias/bias", "kernel/gamma", "kernel/beta", "beta/bias"}
    assert decayed() == kernels
    assert decayed(decay_norm_and_bias=True) == kernels | others


def test_adamw_is_decoupled_and_adam_coupled_unless_said():
    assert build_optimizer("adamw", 0.1).decay == "decoupled"
    assert build_optimizer("adam", 0.1).decay == "coupled"


@pytest.mark.parametrize("name", optimizer_names())
def test_a_moving_momentum_is_keras_own_set_anew_before_each_step(name):
    ours = build_optimizer(name, 0.01, momentum_schedule=momentum_cycle())
    plain = type(ours).__mro__[2](  # after RecipeRules
        0.01, weight_decay=0.0, **{"adam_weight_decay": 0.0} if name == "muon" else {}
    )
    attributes = [a for a in ("momentum", "beta_1", "adam_beta_1") if hasattr(plain, a)]
    if not attributes or name == "schedulefreeadamw":
        np.testing.assert_array_equal(follow(ours), follow(build_optimizer(name, 0.01)))
        return
    variable = keras.Variable(START, dtype="float32", name="kernel")
    for attribute in attributes:
        setattr(plain, attribute, 0.9)
    plain.build([variable])
    for gradient, momentum in zip(GRADIENTS, values(momentum_cycle()), strict=True):
        for attribute in attributes:
            setattr(plain, attribute, float(momentum))
        plain.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
    np.testing.assert_allclose(follow(ours)[-1], variable, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", optimizer_names())
def test_a_restored_optimizer_continues_as_if_never_stopped(name):
    def build(from_config=None):
        if from_config:
            return keras.saving.deserialize_keras_object(from_config)
        return build_optimizer(
            name,
            one_cycle(0.01),
            weight_decay=0.01,
            decay="decoupled",
            decay_norm_and_bias=True,
            momentum_schedule=momentum_cycle(),
            norm_rate=2.0,
        )

    start, gradients = START.reshape(2, 3), GRADIENTS[:20].reshape(20, 2, 3)
    unbroken = follow(build(), start, gradients)
    first = build()
    halfway = follow(first, start, gradients[:10])[-1]
    second = build(from_config=keras.saving.serialize_keras_object(first))
    variable = keras.Variable(halfway, dtype="float32", name="kernel")
    second.build([variable])
    for target, source in zip(second.variables, first.variables, strict=True):
        target.assign(source)
    for gradient in gradients[10:]:
        second.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
    assert second.get_config() == first.get_config() | {"name": second.name}
    np.testing.assert_allclose(variable, unbroken[-1], rtol=1e-6)


def test_a_saved_model_brings_its_optimizer_back(tmp_path):
    def optimizer():
        return build_optimizer(
            "sgd", one_cycle(0.1), weight_decay=LAMBDA, momentum_schedule=momentum_cycle()
        )

    model = compiled_model(optimizer())
    fit(model, slice(0, 30))
    model.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    resumed, _ = fit(loaded, slice(30, STEPS))
    unbroken, _ = fit(compiled_model(optimizer()))
    np.testing.assert_allclose(resumed, unbroken, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_updates_float32_weights_by_the_same_rule(dtype):
    optimizer = build_optimizer("sgd", one_cycle(0.1), momentum_schedule=momentum_cycle())
    kernel, _ = fit(compiled_model(optimizer, dtype=dtype))
    assert {v.dtype for v in optimizer.variables[1:]} == {"float32"}
    expected = reference(sgd, values(one_cycle(0.1)), values(momentum_cycle()))
    np.testing.assert_allclose(kernel, expected[-1], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "convmuon"])
def test_norm_rate_moves_norms_and_biases_faster_and_kernels_as_before(name):
    def moved(variable_name, norm_rate):
        variable = keras.Variable(np.ones((1, 1, 2, 2), "float32"), name=variable_name)
        if variable_name != "kernel":
            variable = keras.Variable(np.ones(4, "float32"), name=variable_name)
        optimizer = build_optimizer(name, 0.01, norm_rate=norm_rate)
        optimizer.build([variable])
        gradient = np.arange(1, 5, dtype="float32").reshape(variable.shape)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        return np.array(variable) - 1

    plain = 8 if name == "convmuon" else 1
    np.testing.assert_array_equal(moved("kernel", 4.0), moved("kernel", None))
    for other in ("gamma", "beta", "bias"):
        np.testing.assert_allclose(moved(other, 4.0 * plain), 4 * moved(other, None), rtol=1e-3)


def test_every_optimizer_of_keras_has_a_name():
    assert {"sgd", "adagrad", "rmsprop", "adam", "adamw", "nadam", "lion", "muon"} <= set(
        optimizer_names()
    )
    assert not {"optimizer", "lossscaleoptimizer", "multioptimizer"} & set(optimizer_names())


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"did you mean 'adamw'.*sgd"):
        build_optimizer("adam-w", 0.1)


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("sgd", {"learning_rate": 0.0}, "learning_rate"),
        ("sgd", {"momentum": 1.0}, "momentum"),
        ("sgd", {"weight_decay": -1e-4}, "weight_decay"),
        ("sgd", {"decay": "couple"}, "did you mean 'coupled'"),
        ("sgd", {"norm_rate": 0.0}, "norm_rate"),
        ("sgd", {"momentum": 0.0, "nesterov": True}, "nesterov"),
        ("adam", {"nesterov": True}, "nesterov"),
    ],
)
def test_a_value_out_of_range_is_named(name, settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        build_optimizer(name, **{"learning_rate": 0.1, **settings})


def test_recipes_know_the_same_optimizers_and_schedules():
    from kerasresnet.optim.schedules import ANNEALS, SCHEDULES
    from kerasresnet.recipe import OPTIMIZERS, Recipe

    assert set(OPTIMIZERS) == set(optimizer_names())
    fields = Recipe.model_fields
    assert set(get_args(fields["schedule"].annotation)) == set(SCHEDULES)
    assert set(get_args(fields["anneal"].annotation)) == set(ANNEALS)
