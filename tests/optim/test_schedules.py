"""Schedules against plain float64 formulas, PyTorch's where it has the schedule."""

import json
import math

import keras
import numpy as np
import pytest

from kerasresnet.errors import UsageError
from kerasresnet.optim.schedules import SCHEDULES, build_momentum_schedule, build_schedule

STEPS = 120


def cosine(start, end, fraction):
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def line(start, end, fraction):
    return start + (end - start) * fraction


def torch_cosine_annealing(base, eta_min, t_max, step):
    return cosine(base, eta_min, step / t_max)


def torch_warm_restarts(base, eta_min, t_0, t_mult, step):
    while step >= t_0:
        step, t_0 = step - t_0, t_0 * t_mult
    return cosine(base, eta_min, step / t_0)


def torch_one_cycle(start, top, end, total, pct_start, blend, step):
    peak, last = pct_start * total - 1, total - 1
    if step <= peak:
        return blend(start, top, step / peak)
    return blend(top, end, (step - peak) / (last - peak))


def values(schedule, steps=STEPS):
    return np.array([float(schedule(step)) for step in range(steps)])


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def assert_follows(schedule, reference, steps=STEPS):
    expected = np.array([reference(step) for step in range(steps)])
    np.testing.assert_allclose(
        values(schedule, steps), expected, rtol=0, atol=3e-7 * expected.max()
    )


def test_constant_stays():
    assert_follows(build_schedule("constant", peak=0.3, total_steps=STEPS), lambda step: 0.3)


@pytest.mark.parametrize("final_fraction", [0.0, 0.05])
def test_cosine_is_pytorchs_stepped_per_batch(final_fraction):
    schedule = build_schedule("cosine", peak=0.1, total_steps=STEPS, final_fraction=final_fraction)
    assert_follows(
        schedule, lambda step: torch_cosine_annealing(0.1, 0.1 * final_fraction, STEPS, step)
    )


def test_cosine_by_epoch_is_pytorchs_stepped_per_epoch():
    schedule = build_schedule("cosine", peak=0.01, total_steps=STEPS, steps_per_epoch=8)
    assert_follows(schedule, lambda step: torch_cosine_annealing(0.01, 0, STEPS / 8, step // 8))


@pytest.mark.parametrize(("first", "mult"), [(7, 1), (7, 2), (10, 3)])
def test_restarts_are_pytorchs(first, mult):
    schedule = build_schedule(
        "cosine_restarts",
        peak=0.1,
        total_steps=STEPS,
        final_fraction=0.01,
        first_cycle_steps=first,
        cycle_mult=mult,
    )
    assert_follows(schedule, lambda step: torch_warm_restarts(0.1, 0.001, first, mult, step))


def test_restarts_by_epoch_are_pytorchs_stepped_per_epoch():
    schedule = build_schedule(
        "cosine_restarts", peak=1, total_steps=STEPS, first_cycle_steps=20, steps_per_epoch=5
    )
    assert_follows(schedule, lambda step: torch_warm_restarts(1, 0, 4, 2, step // 5))


@pytest.mark.parametrize(("first", "mult"), [(97, 1), (97, 4), (7, 2), (10, 2), (391, 1.5)])
def test_each_restart_is_at_the_peak_in_a_compiled_step(first, mult):
    # Keras' CosineDecayRestarts gives 0 at some of these.
    restarts = [0]
    for cycle in range(10):
        restarts.append(restarts[-1] + round(first * mult**cycle))
    schedule = compiled(
        build_schedule(
            "cosine_restarts",
            peak=0.5,
            total_steps=restarts[-1] + 1,
            first_cycle_steps=first,
            cycle_mult=mult,
        )
    )
    at_restarts = [float(schedule(np.int32(step))) for step in restarts]
    before = [float(schedule(np.int32(step - 1))) for step in restarts[1:]]
    np.testing.assert_allclose(at_restarts, 0.5, rtol=1e-6)
    assert max(before) < 0.05


@pytest.mark.parametrize(("anneal", "blend"), [("cos", cosine), ("linear", line)])
@pytest.mark.parametrize("peak_fraction", [0.3, 0.45])
def test_one_cycle_is_pytorchs(anneal, blend, peak_fraction):
    schedule = build_schedule(
        "one_cycle",
        peak=0.2,
        total_steps=STEPS,
        final_fraction=0.001,
        peak_fraction=peak_fraction,
        anneal=anneal,
    )
    assert_follows(
        schedule,
        lambda step: torch_one_cycle(0.008, 0.2, 0.0002, STEPS, peak_fraction, blend, step),
    )


@pytest.mark.parametrize(("anneal", "blend"), [("cos", cosine), ("linear", line)])
def test_one_cycles_momentum_is_pytorchs(anneal, blend):
    schedule = build_momentum_schedule(total_steps=STEPS, anneal=anneal)
    assert_follows(
        schedule, lambda step: torch_one_cycle(0.95, 0.85, 0.95, STEPS, 0.3, blend, step)
    )


def test_momentum_moves_against_the_learning_rate():
    rates = values(build_schedule("one_cycle", peak=1, total_steps=STEPS, warmup_steps=20))
    momenta = values(build_momentum_schedule(total_steps=STEPS, warmup_steps=20))
    after_warmup = slice(20, None)
    moves = np.diff(rates[after_warmup]) * np.diff(momenta[after_warmup])
    assert rates.argmax() == momenta.argmin()
    assert (moves < 0).all()
    np.testing.assert_allclose(momenta[:20], 0.95, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_linearly_and_then_the_schedule_begins(name):
    settings = {"first_cycle_steps": 25} if name == "cosine_restarts" else {}
    plain = build_schedule(name, peak=0.1, total_steps=STEPS - 20, **settings)
    warm = build_schedule(name, peak=0.1, total_steps=STEPS, warmup_steps=20, **settings)
    first = float(plain(0))
    expected = np.concatenate([first * np.arange(1, 21) / 21, values(plain, STEPS - 20)])
    np.testing.assert_allclose(values(warm), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_end_is_kept_beyond_the_last_batch(name):
    settings = {"first_cycle_steps": STEPS} if name == "cosine_restarts" else {}
    schedule = build_schedule(name, peak=0.1, total_steps=STEPS, final_fraction=0.5, **settings)
    end = 0.1 if name == "constant" else 0.05
    assert float(schedule(STEPS)) == pytest.approx(end)
    assert float(schedule(2 * STEPS)) == pytest.approx(end)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 5])
def test_one_cycle_of_a_few_batches_is_finite_and_within_its_bounds(total_steps):
    rates = values(build_schedule("one_cycle", peak=1.0, total_steps=total_steps), total_steps)
    assert ((rates >= 0) & (rates <= 1)).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_config_survives_json(name):
    settings = {"first_cycle_steps": 9} if name == "cosine_restarts" else {}
    if name.startswith("cosine"):
        settings["steps_per_epoch"] = 3
    schedule = build_schedule(name, peak=0.1, total_steps=60, warmup_steps=6, **settings)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    np.testing.assert_array_equal(values(again, 60), values(schedule, 60))


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(UsageError, match="did you mean 'one_cycle'"):
        build_schedule("onecycle", peak=0.1, total_steps=10)


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("cosine", {"peak": 0.0}, "peak"),
        ("cosine", {"peak": math.nan}, "peak"),
        ("cosine", {"total_steps": 0}, "total_steps"),
        ("cosine", {"warmup_steps": 10}, "warmup_steps"),
        ("cosine", {"final_fraction": 1.5}, "final_fraction"),
        ("cosine", {"steps_per_epoch": 0}, "steps_per_epoch"),
        ("cosine_restarts", {}, "first_cycle_steps"),
        ("cosine_restarts", {"first_cycle_steps": 3, "cycle_mult": 0.5}, "cycle_mult"),
        ("one_cycle", {"peak_fraction": 1.0}, "peak_fraction"),
        ("one_cycle", {"initial_fraction": -0.1}, "initial_fraction"),
        ("one_cycle", {"anneal": "cosine"}, "did you mean 'cos'"),
        ("one_cycle", {"steps_per_epoch": 5}, "steps_per_epoch"),
    ],
)
def test_a_value_out_of_range_is_named(name, settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        build_schedule(name, **{"peak": 0.1, "total_steps": 10, **settings})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"max_momentum": 1.0}, "max_momentum"), ({"base_momentum": 0.99}, "base_momentum")],
)
def test_a_momentum_out_of_range_is_named(settings, complaint):
    with pytest.raises(UsageError, match=complaint):
        build_momentum_schedule(total_steps=10, **settings)
