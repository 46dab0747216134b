"""A recipe reads and writes itself as TOML, starts from others, and refuses what makes no sense."""

import json
import statistics
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from strategies import specs

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import OPTIMIZERS, Recipe

SCHEDULES = ("constant", "cosine", "cosine_restarts", "one_cycle")
STEPS = ("crop(pad=3)", "flip", "randaugment:n=1:m=5", "autoaugment", "cutout(8)", "mixup")
fractions = st.floats(0, 1)
below_one = st.floats(0, 1, exclude_max=True)
above_zero = st.floats(0, 1e6, exclude_min=True)


@st.composite
def recipes(draw):
    """Recipes with every field drawn, but for what must fit together."""
    epochs = draw(st.integers(1, 100_000))
    val_fraction = draw(below_one)
    schedule = draw(st.sampled_from(SCHEDULES))
    momenta = st.none() | st.tuples(below_one, below_one).map(sorted).map(tuple)
    return Recipe(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True)),
        spec=draw(specs()),
        max_params=draw(st.integers(1, 10**12)),
        epochs=epochs,
        batch_size=draw(st.integers(1, 65_536)),
        val_fraction=val_fraction,
        keep=draw(st.sampled_from(("best", "last"))) if val_fraction else "last",
        optimizer=draw(st.sampled_from(OPTIMIZERS)),
        learning_rate=draw(above_zero),
        momentum=draw(below_one),
        nesterov=draw(st.booleans()),
        weight_decay=draw(st.floats(0, 1e6)),
        decay=draw(st.sampled_from(("coupled", "decoupled"))),
        decay_norm_and_bias=draw(st.booleans()),
        ema=draw(st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True)),
        schedule=schedule,
        schedule_step="batch"
        if schedule == "one_cycle"
        else draw(st.sampled_from(("batch", "epoch"))),
        warmup_epochs=0.0
        if schedule == "one_cycle"
        else draw(st.floats(0, epochs, exclude_max=True)),
        final_fraction=draw(fractions),
        restart_epochs=draw(above_zero),
        restart_growth=draw(st.floats(1, 100)),
        peak_at=draw(st.floats(0, 1, exclude_min=True, exclude_max=True)),
        anneal=draw(st.sampled_from(("cos", "linear"))),
        cycle_momentum=draw(momenta) if schedule == "one_cycle" else None,
        label_smoothing=draw(below_one),
        augment=draw(st.lists(st.sampled_from(STEPS), unique=True)),
        precision=draw(st.sampled_from(("auto", "float32", "bfloat16"))),
    )


@pytest.fixture(scope="module")
def toml(tmp_path_factory):
    """A function that writes text (or bytes) to a TOML file and gives its path."""
    folder = tmp_path_factory.mktemp("recipes")

    def write(content, name="mine.toml"):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@given(recipe=recipes())
def test_every_recipe_round_trips_through_toml(toml, recipe):
    assert Recipe.from_toml(toml(recipe.to_toml())) == recipe


@given(spec=specs())
def test_a_spec_round_trips_through_toml_in_its_full_form_too(toml, spec):
    path = toml(tomli_w.dumps({"epochs": 1, "spec": spec.model_dump(exclude_none=True)}))
    assert Recipe.from_toml(path).spec == spec


def test_toml_says_the_spec_in_one_line():
    fields = tomllib.loads(Recipe(spec="table1-06", epochs=1).to_toml())
    assert fields["spec"] == "BB2x64-BB2x128-BB2x232-BB2x268"


def test_a_recipe_is_called_after_its_file_unless_it_says_a_name(toml):
    assert Recipe.from_toml(toml('spec = "BB1x8"\nepochs = 3', "ours.toml")).name == "ours"
    named = toml('name = "theirs"\nspec = "BB1x8"\nepochs = 3', "ours.toml")
    assert Recipe.from_toml(named).name == "theirs"


def test_names_lists_quick_first_and_every_row_of_table_1():
    names = Recipe.names()
    assert names[0] == "quick"
    assert names[1:] == sorted(names[1:])
    assert {f"table1-{row:02}" for row in range(1, 13)} < set(names)


@pytest.mark.parametrize("name", Recipe.names())
def test_every_named_recipe_is_valid_and_inside_its_own_limit(name):
    recipe = Recipe.named(name)
    assert recipe.name == name
    assert count_parameters(recipe.spec) <= recipe.max_params


RESULTS = Path(__file__).resolve().parents[1] / "results"


@pytest.mark.parametrize("name", [name for name in Recipe.names() if (RESULTS / name).is_dir()])
def test_the_head_of_a_recipe_says_what_its_results_say(name):
    results = [json.loads(path.read_text()) for path in (RESULTS / name).glob("seed*.json")]
    accuracy = statistics.mean(100 * result["test"]["accuracy"] for result in results)
    head = (resources.files("kerasresnet.recipes") / f"{name}.toml").read_text().split("\nspec")[0]
    assert f"{accuracy:.2f} " in head and f"results/{name}/" in head


# Row, optimizer, epochs, learning rate: the report's where it says one, else PyTorch's default.
TABLE1 = [
    (1, "sgd", 130, 0.01),
    (2, "adagrad", 200, 0.01),
    (3, "rmsprop", 200, 0.01),
    (4, "adam", 200, 0.001),
    (5, "adam", 200, 0.001),
    (6, "sgd", 200, 0.01),
    (7, "sgd", 200, 0.01),
    (8, "sgd", 200, 0.01),
    (9, "sgd", 200, 0.01),
    (10, "sgd", 200, 0.01),
    (11, "adam", 130, 0.001),
    (12, "sgd", 130, 0.01),
]


@pytest.mark.parametrize(("row", "optimizer", "epochs", "learning_rate"), TABLE1)
def test_the_rows_of_table_1_train_as_the_report_says(row, optimizer, epochs, learning_rate):
    name = f"table1-{row:02}"
    recipe = Recipe.named(name)
    assert recipe.spec == ResNetSpec.named(name)
    assert (recipe.optimizer, recipe.epochs) == (optimizer, epochs)
    assert recipe.learning_rate == learning_rate
    assert (recipe.batch_size, recipe.nesterov) == (128, False)
    assert recipe.momentum == {"sgd": 0.9, "rmsprop": 0.0}.get(optimizer, recipe.momentum)
    assert (recipe.weight_decay, recipe.decay, recipe.decay_norm_and_bias) == (
        5e-4,
        "coupled",
        True,
    )
    assert (recipe.schedule, recipe.schedule_step, recipe.final_fraction) == ("cosine", "epoch", 0)
    assert recipe.augment == ("crop", "flip", "autoaugment")
    assert recipe.label_smoothing == 0
    assert recipe.ema is None


def test_a_base_gives_what_is_not_said(toml):
    toml('spec = "BB1x8"\nepochs = 3\nbatch_size = 7', "base.toml")
    toml('base = "base.toml"\nepochs = 4', "middle.toml")
    recipe = Recipe.from_toml(toml('base = "middle.toml"\nlearning_rate = 0.5', "top.toml"))
    assert recipe == Recipe(name="top", spec="BB1x8", epochs=4, batch_size=7, learning_rate=0.5)


def test_a_base_may_be_a_named_recipe(toml):
    recipe = Recipe.from_toml(toml('base = "table1-06"\nepochs = 5', "short.toml"))
    assert recipe == Recipe.named("table1-06").replace(name="short", epochs=5)


def test_none_takes_away_what_a_base_has(toml):
    text = 'base = "quick"\nlookahead = "none"\nresolution = "none"\nema = 0.99'
    recipe = Recipe.from_toml(toml(text, "averaged.toml"))
    changes = {"lookahead": None, "resolution": None, "ema": 0.99}
    assert recipe == Recipe.named("quick").replace(name="averaged", **changes)
    # Only from fields that may be without a value.
    with pytest.raises(UsageError, match="unknown optimizer 'none'"):
        Recipe.from_toml(toml('base = "quick"\noptimizer = "none"', "without.toml"))
    named = toml('spec = "BB1x8"\nepochs = 3\nname = "none"', "n.toml")
    assert Recipe.from_toml(named).name == "none"


def test_load_takes_a_name_or_a_path(toml, monkeypatch):
    path = toml('spec = "BB1x8"\nepochs = 3', "loaded.toml")
    assert Recipe.load("quick") == Recipe.named("quick")
    assert Recipe.load(path) == Recipe.load(str(path)) == Recipe.from_toml(path)
    monkeypatch.chdir(path.parent)
    assert Recipe.load("loaded.toml") == Recipe.from_toml(path)


def test_replace_is_validated():
    recipe = Recipe(spec="BB1x8", epochs=3)
    assert recipe.replace(spec="BN1x8").spec == ResNetSpec.from_text("BN1x8")
    with pytest.raises(UsageError, match="epochs: input should be greater than or equal to 1"):
        recipe.replace(epochs=0)


BAD_FIELDS = [
    ({"spec": "BX1x8"}, "unknown block type 'BX'"),
    ({"spec": 5}, "spec: input should be a valid dictionary or instance of ResNetSpec, received 5"),
    ({"epochs": 0}, "epochs: input should be greater than or equal to 1, received 0"),
    ({"epochs": "many"}, "epochs: input should be a valid integer"),
    ({"batch_size": -1}, "batch_size: input should be greater than or equal to 1, received -1"),
    ({"max_params": 0}, "max_params: input should be greater than or equal to 1, received 0"),
    ({"val_fraction": 1}, "val_fraction: input should be less than 1, received 1"),
    ({"val_fraction": 0}, "keep 'best' needs a validation slice, and val_fraction is 0"),
    ({"optimizer": "adm"}, "unknown optimizer 'adm': did you mean 'adam'? known are sgd, convmuon"),
    ({"optimizer": 5}, "optimizer: input should be a valid string, received 5"),
    ({"learning_rate": 0}, "learning_rate: input should be greater than 0, received 0"),
    ({"learning_rate": float("inf")}, "learning_rate: input should be a finite number"),
    ({"learning_rate": float("nan")}, "learning_rate: input should be a finite number"),
    ({"weight_decay": -1e-4}, "weight_decay: input should be greater than or equal to 0"),
    ({"ema": 1}, "ema: input should be less than 1, received 1"),
    ({"schedule": "cos"}, "schedule: input should be 'constant', 'cosine', 'cosine_restarts' or"),
    ({"warmup_epochs": 10}, "warmup_epochs must be below the 10 epochs, received 10"),
    ({"cycle_momentum": (0.8, 0.9)}, "cycle_momentum belongs to schedule 'one_cycle', received"),
    ({"augment": ["crp"]}, "did you mean 'crop'?"),
    ({"augment": ["crop(pad=-1)"]}, "crop's pad"),
    ({"name": "a/b"}, "a letter or digit first, such as 'a-b', received 'a/b'"),
    ({"precision": "float16"}, "precision: input should be 'auto', 'float32' or 'bfloat16'"),
    ({"epoch": 3}, "no field of Recipe: did you mean 'epochs'? it has name, spec"),
]


@pytest.mark.parametrize(("fields", "told"), BAD_FIELDS)
def test_a_bad_field_is_told_in_one_line(fields, told):
    with pytest.raises(UsageError) as error:
        Recipe(**{"spec": "BB1x8", "epochs": 10, **fields})
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('spec = "BB1x8', "is not valid TOML: "),
        ('spec = "BB1x8"\nepochs = 3\nepochs = 4', "is not valid TOML: "),
        (b'spec = "BB1x8"\n# \xff', "cannot read recipe "),
        ("epochs = 3", "recipe bad.toml: Recipe spec: field required"),
        ("epoch = 3", "'epoch' is no field of Recipe: did you mean 'epochs'? it has name"),
        ('spec = "BB1x8"', "recipe bad.toml: Recipe epochs: field required"),
        ('spec = "BB1x8"\nepochs = 3\nlr = 1', "recipe bad.toml: 'lr' is no field of Recipe"),
        ('spec = "BB0x8"\nepochs = 3', "recipe bad.toml: StackSpec blocks: input should be"),
        ('base = "bad.toml"', "base 'bad.toml' leads back to itself"),
        ('base = "nowhere"', "recipe bad.toml: cannot read recipe "),
        ("base = 5", "recipe bad.toml: cannot read recipe "),
    ],
)
def test_a_broken_file_is_named_with_its_mistake(toml, content, told):
    with pytest.raises(UsageError) as error:
        Recipe.from_toml(toml(content, "bad.toml"))
    assert told in str(error.value)
    assert "bad.toml" in str(error.value)
    assert "\n" not in str(error.value)


BASE = 'spec = "BB1x8"\nepochs = 3\n'
STRANGE = {
    "a NUL in the base": 'base = "a\\u0000b"',
    "a base of 5,000 letters": f'base = "{5_000 * "a"}"',
    "an integer of 5,000 digits": f"{BASE}batch_size = {5_000 * '9'}",
    "an integer that cannot be shown": f"{BASE}learning_rate = 0x{9_000 * 'f'}",
    "an integer of 4,000 digits": f"{BASE}batch_size = {4_000 * '9'}",
    "2,000 lists": f"{BASE}augment = {2_000 * '['}{2_000 * ']'}",
    "300 lists": f"{BASE}name = {300 * '['}{300 * ']'}",
    "900 tables": f"{BASE}unheard = {900 * '{a='}1{900 * '}'}",
    "3,000 dots": f"{BASE}{'.'.join(3_000 * 'a')} = 1",
    "3,000 signs": f'{BASE}augment = ["crop(pad={3_000 * "-"}1)"]',
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_a_strange_recipe_is_one_line_too(content, toml):
    with pytest.raises(UsageError, match=r"recipe .*bad\.toml") as error:
        Recipe.from_toml(toml(content, "bad.toml"))
    assert "\n" not in str(error.value) and "\0" not in str(error.value)


def test_a_missing_file_is_told_with_the_names_that_exist(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match=r"cannot read recipe .*; give a TOML file, or one of"):
            Recipe.from_toml(path)


def test_an_unknown_name_is_told_with_the_nearest_one():
    with pytest.raises(UsageError, match="unknown recipe 'quik': did you mean 'quick'"):
        Recipe.load("quik")
