"""What flags and a TOML file say becomes settings, a base recipe and a space; or one clear line."""

import pytest

from kerasresnet.data import DATASETS
from kerasresnet.errors import UsageError
from tuning.search.options import SearchOptions, parse_search_options, read_space


@pytest.fixture
def toml(tmp_path):
    """A function that writes a space to a file, and gives its path as a flag takes it."""

    def write(text):
        (tmp_path / "space.toml").write_text(text, encoding="utf-8")
        return str(tmp_path / "space.toml")

    return write


def resolved(*flags):
    return parse_search_options(list(flags)).resolve()


def test_a_search_without_flags_is_of_cifar10_inside_five_million():
    path, settings, space = resolved()
    assert (path.as_posix(), settings.data, settings.base) == (
        "searches/cifar10-5000000",
        "cifar10",
        "quick",
    )
    assert settings.max_params == space.base.max_params == 5_000_000
    assert settings.val_images == 5_000 and space.max_macs is None
    assert (space.base.epochs, space.base.keep) == (settings.max_epochs, "last")


def test_every_flag_reaches_the_settings_and_limits_the_space():
    flags = "--data digits --max-params 7000 --max-macs 9000000 --max-epochs 4 --factor 2 --seed 3"
    more = "--iterations 2 --tuner random --max-trials 5 --train-images 200 --val-images 50"
    more += " --max-epoch-seconds 2.5"
    path, settings, space = resolved(*flags.split(), *more.split(), "--recipe", "quick")
    assert path.as_posix() == "searches/digits-7000"
    assert settings.model_dump() == {
        "tuner": "random",
        "data": "digits",
        "data_settings": None,
        "base": "quick",
        "max_params": 7_000,
        "max_epochs": 4,
        "factor": 2,
        "iterations": 2,
        "max_trials": 5,
        "max_macs": 9_000_000,
        "max_epoch_seconds": 2.5,
        "train_images": 200,
        "val_images": 50,
        "seed": 3,
    }
    assert (space.base.max_params, space.base.epochs, space.max_macs) == (7_000, 4, 9_000_000)


def test_a_search_dir_is_taken_as_typed(tmp_path):
    assert resolved("--search-dir", str(tmp_path))[0] == tmp_path


def test_a_tenth_of_the_training_images_of_every_data_set_validates_by_default():
    wanted = {"cifar10": 5_000, "digits": 144, "mnist": 6_000, "eurosat": 2_160}
    found = {name: resolved("--data", name)[1].val_images for name in DATASETS}
    assert found.items() >= wanted.items()
    assert resolved("--data", "cifar100")[2].base.spec.classes == 100


def test_toml_narrows_by_dimension_family_member_and_table(toml):
    path = toml(
        'stacks = 3\nblocks = [1, 2]\n"blocks.2" = 4\ngrowth.3 = "1.5..2"\n'
        '[sgd]\nlearning_rate = "0.05..0.2"\n'
    )
    found = resolved("--space", path)[2].dimensions
    assert found["stacks"].values == (3,)
    assert found["blocks.1"].values == found["blocks.3"].values == (1, 2)
    assert found["blocks.2"].values == (4,)
    assert found["growth.2"].values == (1.0, 1.5, 2.0, 2.5)
    assert found["growth.3"].continuous and found["growth.3"].values == (1.5, 2.0)
    assert found["sgd.learning_rate"].values == (0.05, 0.2)


def test_text_and_toml_mean_the_same(toml):
    path = toml('blocks = [1, 2]\nblock = ["BN"]\ngrowth = "1.5..2"\n[sgd]\nweight_decay = 0.001\n')
    flags = ("blocks=1,2", "block=BN", " growth = 1.5..2", "sgd.weight_decay=0.001")
    typed = [part for flag in flags for part in ("--set", flag)]
    assert resolved("--space", path)[2] == resolved(*typed)[2]


def test_a_flag_wins_over_the_file_and_over_members_of_its_family(toml):
    path = toml("conv_kernel = 5\nblocks.2 = 1\nblocks.3 = 2\n")
    found = resolved("--space", path, "--set", "conv_kernel=3", "--set", "blocks.3=4")[2].dimensions
    assert [found[f"blocks.{i}"].values for i in (2, 3)] == [(1,), (4,)]
    assert found["conv_kernel"].values == (3,)
    found = resolved("--space", path, "--set", "blocks=3")[2].dimensions
    assert {found[f"blocks.{i}"].values for i in (1, 2, 3, 4)} == {(3,)}


def test_among_flags_the_last_wins_and_a_member_wins_over_its_family():
    flags = ("--set", "blocks.2=1", "--set", "blocks=4", "--set", "blocks=3")
    found = resolved(*flags)[2].dimensions
    assert [found[f"blocks.{i}"].values for i in (1, 2, 3)] == [(3,), (1,), (3,)]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--max-epochs 0", "max_epochs: .* received 0"),
        ("--max-params 0", "max_params: .* received 0"),
        ("--max-macs 0", "max_macs: .* received 0"),
        ("--max-trials 0", "max_trials: .* received 0"),
        ("--max-epoch-seconds 0", "max_epoch_seconds: .* received 0"),
        ("--max-epoch-seconds -3", "max_epoch_seconds: .* received -3"),
        ("--max-epoch-seconds nan", "max_epoch_seconds: .* received nan"),
        ("--max-epoch-seconds inf", "max_epoch_seconds: .* received inf"),
        ("--train-images 0", "train_images: .* received 0"),
        ("--val-images 0", "val_images: .* received 0"),
        ("--factor 1", "factor: .* received 1"),
        ("--iterations 0", "iterations: .* received 0"),
        ("--seed -1", "seed: .* received -1"),
        ("--seed 2147483648", "seed: .* received 2147483648"),
        ("--workers 0", "--workers is 1 or more, received 0"),
        ("--max-params many", "many"),
        ("--recipe quack", "did you mean 'quick'"),
        ("--train-best quack", "did you mean 'quick'"),
        ("--set blocks", "--set takes NAME=VALUES such as blocks=1,2, received 'blocks'"),
        ("--set =3", "unknown dimension ''"),
        ("--set blcks=3", "did you mean 'blocks'"),
        ("--set conv_kernel=4", "conv_kernel=4: .*must be odd"),
    ],
)
def test_a_flag_that_makes_no_sense_is_one_line_that_names_it(flags, message):
    with pytest.raises(UsageError, match=message) as caught:
        resolved(*flags.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blocks = = 3", "is not valid TOML"),
        ("blocks = 1\nblocks.2 = 3", "is not valid TOML"),
        ("blocks = " + 5_000 * "9", "cannot read space"),
        ("blocks = true", "blocks.1 takes a whole number, received True"),
        ("blocks = [1, 2.5]", "blocks.1 takes a whole number, received 2.5"),
        ("stacks = inf", "stacks takes a whole number, received inf"),
        ("growth = nan", "growth.2 takes a number, received nan"),
        ("[sgd.learning_rate]\nlow = 1", "sgd.learning_rate takes a number, received"),
        ("[sdg]\nlearning_rate = 1", "did you mean 'sgd.learning_rate'"),
        ("blocks = []", "leaves nothing"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(text, message, toml):
    with pytest.raises(UsageError, match=message) as caught:
        resolved("--space", toml(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'block = "\xe9"')
    for path in (tmp_path / "missing.toml", tmp_path / "latin.toml", tmp_path):
        with pytest.raises(UsageError, match=f"cannot read space {path}"):
            read_space(path)


def test_train_best_takes_a_recipe_or_none():
    assert parse_search_options([]).train_best is None
    assert parse_search_options(["--train-best"]).train_best == "searched"
    assert parse_search_options(["--train-best", "--plain"]).train_best == "searched"
    assert parse_search_options(["--train-best", "table1-06"]).train_best == "table1-06"
    assert parse_search_options(["--train-best=table1-06"]).train_best == "table1-06"


def test_options_from_python_are_those_of_the_command():
    assert SearchOptions() == parse_search_options([])
