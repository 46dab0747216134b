"""Whatever is typed or lies on the disk is a value or one sentence, never a traceback.

The default run tries a few hundred inputs, `pytest -m slow tests/test_fuzz.py` more than 30,000.
"""

import io
import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasresnet.augment.policy import parse_step, step_text
from kerasresnet.command import read_count
from kerasresnet.data.pixels import ImageError, read_header, to_pixels
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.fit.options import parse_fit_options
from kerasresnet.network.spec import NAMED_SPECS, ResNetSpec
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.search.options import parse_search_options
from tuning.study.options import parse_study_options

SPECS = (*NAMED_SPECS.values(), "whiten2-BB1x64m-BB1x256m", "stem32k5s2-BN3x128s1k5p3-pool2")
STEPS = ("crop(pad=4)", "flip:alternating=true", "randaugment(n=2, m=9, std=0.5)", "cutmix:alpha=1")
SIGNS = "0123456789-+.,:=()[]{}\"'xXkKmMsSpP eE_\n\0é∞𝟘"
LONGEST = 2_000  # characters of a message; what is quoted of an input is cut


def inputs(count, slow):
    """How many inputs a test tries: a few by default, many behind `slow`."""
    return pytest.mark.parametrize("count", [count, pytest.param(slow, marks=pytest.mark.slow)])


def attempt(count, strategy, check):
    """`check` of `count` draws, the same ones every time."""
    unhurried = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    rules = settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=unhurried
    )
    rules(given(strategy)(check))()


def mutated(texts):
    """One of `texts` with a few characters taken out, put in, doubled or exchanged."""

    def change(text, changes):
        for kind, place, sign in changes:
            at = place % (len(text) + 1)
            text = {
                "insert": lambda t, a, s: t[:a] + s + t[a:],
                "delete": lambda t, a, s: t[:a] + t[a + 1 :],
                "double": lambda t, a, s: t[:a] + t[a : a + 8] + t[a:],
                "repeat": lambda t, a, s: t[:a] + s * 300 + t[a:],
            }[kind](text, at, sign)
        return text

    kinds = st.sampled_from(["insert", "delete", "double", "repeat"])
    one = st.tuples(kinds, st.integers(0, 10_000), st.sampled_from(SIGNS))
    return st.builds(change, st.sampled_from(texts), st.lists(one, max_size=4))


def sentence(error):
    """An error of ours is one line that a terminal can show."""
    text = str(error)
    assert text and len(text) <= LONGEST, len(text)
    assert "Traceback" not in text
    return text


@inputs(150, 8_000)
def test_any_text_is_a_spec_or_a_sentence(count):
    def check(text):
        try:
            spec = ResNetSpec.from_text(text)
        except UsageError as error:
            sentence(error)
        else:
            assert ResNetSpec.from_text(str(spec)) == spec

    attempt(count, mutated(SPECS) | st.text(max_size=40), check)


@inputs(150, 8_000)
def test_any_text_is_a_step_or_a_sentence(count):
    def check(text):
        try:
            step = parse_step(text)
        except UsageError as error:
            sentence(error)
        else:
            assert parse_step(step_text(step)) == step

    attempt(count, mutated(STEPS) | st.text(max_size=40), check)


@inputs(150, 4_000)
def test_any_text_is_a_count_or_a_sentence(count):
    def check(text):
        try:
            assert isinstance(read_count(text), int)
        except UsageError as error:
            sentence(error)

    attempt(count, mutated(("60k", "1.5M", "5_000_000")) | st.text(max_size=40), check)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | mutated((*SPECS, *STEPS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@inputs(60, 4_000)
def test_any_fields_are_a_recipe_or_a_sentence(count):
    base = Recipe.named("speedrun94").model_dump(mode="json")
    names = st.sampled_from([*base, "epoch", "base", ""])

    def check(changes):
        try:
            recipe = Recipe(**{**base, **changes})
        except UsageError as error:
            sentence(error)
        except TypeError:
            assert any(not name.isidentifier() for name in changes)
        else:
            assert Recipe(**recipe.model_dump(mode="json")) == recipe

    attempt(count, st.dictionaries(names, VALUES, max_size=3), check)


@inputs(60, 3_000)
def test_any_file_is_a_recipe_or_a_sentence(count, tmp_path):
    texts = [Recipe.named(name).to_toml() for name in ("quick", "table1-06")]
    path = tmp_path / "own.toml"

    def check(contents):
        path.write_bytes(contents)
        try:
            recipe = Recipe.from_toml(path)
        except UsageError as error:
            sentence(error)
        else:
            path.write_text(recipe.to_toml(), "utf-8")
            assert Recipe.from_toml(path) == recipe

    written = mutated(texts).map(lambda text: text.encode("utf-8", "surrogatepass"))
    attempt(count, written | st.binary(max_size=60), check)


FLAGS = {
    parse_fit_options: [
        "--spec",
        "--epochs",
        "--recipe",
        "--data",
        "--augment",
        "--lr",
        "--resume",
    ],
    parse_search_options: ["--max-params", "--set", "--trials", "--tuner", "--workers", "--data"],
    parse_study_options: ["--vary", "--seeds", "--widen", "--data", "--epochs", "--lr"],
}


@inputs(12, 500)
@pytest.mark.parametrize("parse", FLAGS)
def test_any_command_line_is_understood_or_a_sentence(parse, count):
    word = st.sampled_from([*SPECS, *STEPS, "quick", "digits", "5", "0.1", "-1", "1e99", ""])
    flag = st.sampled_from(FLAGS[parse]) | mutated(FLAGS[parse])
    line = st.lists(st.tuples(flag, word | mutated(SPECS)), max_size=3)

    def check(pairs):
        arguments = [text for pair in pairs for text in pair]
        if {"-h", "--help"} & {text.split("=")[0] for text in arguments}:
            return
        try:
            parse(arguments)
        except KerasResNetError as error:
            assert "\n" not in sentence(error)

    attempt(count, line, check)


@inputs(100, 3_000)
def test_any_bytes_are_pixels_or_a_reason(count):
    from PIL import Image

    files = []
    for form in ("PNG", "JPEG"):
        stream = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(noise).save(stream, form)
        files.append(stream.getvalue())

    def check(drawn):
        contents, seed = drawn
        damaged, rng = bytearray(contents), random.Random(seed)
        for _ in range(rng.randrange(4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        damaged = bytes(damaged[: rng.randrange(len(damaged)) or None])
        try:
            read_header(damaged)
            assert to_pixels(damaged, (8, 8, 3)).shape == (8, 8, 3)
        except ImageError as error:
            sentence(error)

    attempt(count, st.tuples(st.sampled_from(files), st.integers(0, 2**31)), check)


@inputs(60, 2_000)
def test_any_damage_to_the_files_of_a_run_is_told(count, tmp_path, finished_run):
    names = ("run.json", "metrics.json", "results.json", "recipe.toml")
    whole = {name: (finished_run.path / name).read_text("utf-8") for name in names}

    def check(drawn):
        name, text = drawn
        for each, contents in whole.items():
            (tmp_path / each).write_text(contents, "utf-8")
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        for read in ("facts", "metrics", "results", "recipe", "stages"):
            try:
                getattr(Run.open(tmp_path), read)
            except KerasResNetError as error:
                sentence(error)

    damage = [st.tuples(st.just(name), mutated((text,))) for name, text in whole.items()]
    swapped = st.tuples(st.sampled_from(names), VALUES.map(lambda value: json.dumps(value)))
    attempt(count, st.one_of(*damage) | swapped, check)
