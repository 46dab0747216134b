"""The directory of a search keeps its settings, and strangers and second searches out."""

import contextlib
import json
import shutil
import subprocess
import sys

import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.written import mend

SETTINGS = Settings(data="digits", base="digits", val_images=144, train_images=512)
OTHER = {
    "tuner": "random",
    "data": "cifar10",
    "data_settings": {"size": [48, 48]},
    "base": "quick",
    "max_params": 7,
    "max_epochs": 7,
    "factor": 2,
    "iterations": 2,
    "max_trials": 7,
    "max_macs": 7,
    "max_epoch_seconds": 60.0,
    "train_images": None,
    "val_images": 7,
    "seed": 7,
}


def space(changes=None, **recipe):
    return Space(Recipe.named("digits").replace(**recipe), narrow(changes or {}))


def create(path, settings, found):
    """Start a search in `path`, or find it there."""
    with Project.alone(path) as project:
        return project.begin(settings, found)


def started(path, settings=SETTINGS, found=None):
    """A search that has begun."""
    project = create(path, settings, found or space())
    (path / "oracle.json").write_text("{}")
    return project


def contents(path):
    return {p.name: p.read_text() for p in path.iterdir() if not p.name.endswith(".lock")}


@contextlib.contextmanager
def other_process(path):
    """A second process that searches in `path`, until it is killed."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tuning.search.project import Project\n"
        "with Project.alone(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield
        finally:
            process.kill()


def test_the_same_settings_find_the_same_search(tmp_path):
    narrowed = space({"blocks": "1,2", "sgd.learning_rate": "0.1..0.2"}, epochs=4)
    started(tmp_path / "search", found=narrowed)
    before = contents(tmp_path / "search")
    again = create(tmp_path / "search", SETTINGS, narrowed)
    assert contents(tmp_path / "search") == before
    for project in (again, Project.open(tmp_path / "search")):
        assert project.started and project.settings == SETTINGS
        assert project.space == narrowed


def test_a_limit_of_macs_belongs_to_the_space_that_is_read_back(tmp_path):
    project = create(tmp_path, SETTINGS.replace(max_macs=10**7), space())
    assert project.space.max_macs == 10**7


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_other_setting_is_refused_and_named_with_both_values(name, tmp_path):
    project = started(tmp_path)
    before = contents(tmp_path)
    limit = {"max_params": OTHER[name]} if name == "max_params" else {}
    with pytest.raises(UsageError) as caught:
        create(tmp_path, SETTINGS.replace(**{name: OTHER[name]}), space(**limit))
    there = getattr(SETTINGS, name)
    assert (
        f"holds a search with other settings: {name} is {there!r} there and {OTHER[name]!r} here; "
        "type those, choose another --search-dir, or start anew with --overwrite"
    ) in str(caught.value)
    assert contents(tmp_path) == before and project.settings == SETTINGS


@pytest.mark.parametrize(
    ("changes", "recipe", "told"),
    [
        ({"blocks.2": 3}, {}, "blocks.2 is [1, 2, 3, 4] there and [3] here"),
        ({"stacks": "2,3"}, {}, "block.4 is ['BB', 'BN'] there and None here; blocks.4 is"),
        ({"growth.2": "1..2"}, {}, "growth.2 is [1.0, 1.5, 2.0, 2.5] there and '1..2' here"),
        ({}, {"batch_size": 64}, "batch_size is 32 there and 64 here"),
        ({}, {"ema": 0.9}, "the base's ema is None there and 0.9 here"),
        ({}, {"augment": ("flip",)}, "augment is ['crop(pad=2)'] there and ['flip'] here"),
        # The space searches these too: they must not hide what the base says.
        ({}, {"optimizer": "sgd"}, "the base's optimizer is 'convmuon' there and 'sgd' here"),
        ({}, {"label_smoothing": 0.3}, "the base's label_smoothing is 0.0 there and 0.3 here"),
        ({"conv_kernel": 3}, {"epochs": 7}, "conv_kernel is [3, 5] there and [3] here; epochs is"),
    ],
)
def test_another_space_or_base_recipe_is_refused_with_the_difference(
    changes, recipe, told, tmp_path
):
    started(tmp_path)
    with pytest.raises(UsageError) as caught:
        create(tmp_path, SETTINGS, space(changes, **recipe))
    assert f"other settings: {told}" in str(caught.value)


def test_a_search_that_never_began_may_change_its_mind(tmp_path):
    create(tmp_path, SETTINGS, space())
    again = create(tmp_path, SETTINGS.replace(seed=5), space({"blocks": 1}))
    assert again.settings.seed == 5 and again.space.dimensions["blocks.1"].values == (1,)
    assert Project.open(tmp_path).settings.seed == 5


def test_one_that_was_killed_before_its_oracle_was_saved_has_begun_all_the_same(tmp_path):
    create(tmp_path, SETTINGS, space())
    (tmp_path / "trial_0000").mkdir()
    with pytest.raises(UsageError, match="holds a search with other settings: seed is 0"):
        create(tmp_path, SETTINGS.replace(seed=5), space())


@pytest.mark.parametrize("left", ["search.lock", "start.lock", "use-1f.lock", "aside-search.json"])
def test_what_a_killed_start_leaves_is_no_hindrance(left, tmp_path):
    (tmp_path / left).write_text("{")
    assert create(tmp_path, SETTINGS, space()).settings == SETTINGS


STRANGERS = {
    "no search.json": {"thesis.tex": "years of work"},
    "another program's": {"search.json": '{"query": "cats"}', "thesis.tex": "years of work"},
    "a list": {"search.json": "[1]"},
    "no JSON": {"search.json": "query = cats"},
}


@pytest.mark.parametrize("files", STRANGERS.values(), ids=STRANGERS)
def test_a_strangers_directory_is_refused_and_stays_as_it_is(files, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match="is no search of ours; choose another --search-dir"):
        create(tmp_path, SETTINGS, space())
    with pytest.raises(UsageError, match=r"is no search: no search\.json of ours is in it; give"):
        Project.open(tmp_path)  # and so --overwrite has nothing to clear
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == files


def test_a_file_is_no_directory_of_a_search(tmp_path):
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    with pytest.raises(UsageError, match="is no search of ours"):
        create(path, SETTINGS, space())
    with pytest.raises(UsageError, match="is no search: "):
        Project.open(path)
    with pytest.raises(UsageError, match="cannot make the search directory"):
        create(path / "search", SETTINGS, space())
    with pytest.raises(UsageError, match="nowhere does not exist"):
        Project.open(tmp_path / "nowhere")
    assert path.read_text() == "years of work"


def test_one_process_searches_and_its_lock_ends_with_it(tmp_path):
    project = started(tmp_path / "search")
    before = contents(project.path)
    with other_process(project.path):
        with (
            pytest.raises(UsageError, match=r"another search is running in .*; wait for it, or"),
            Project.alone(project.path),
        ):
            pass
        assert contents(project.path) == before
    with Project.alone(project.path) as found:
        found.clear()
    assert contents(project.path) == {}
    assert create(project.path, SETTINGS.replace(seed=1), space()).settings.seed == 1


def test_a_search_half_cleared_is_still_a_search_to_clear(tmp_path, monkeypatch):
    project = started(tmp_path / "search")
    for name in ("zzz", "images", "trial_0000"):
        (project.path / name).mkdir()
    rmtree = shutil.rmtree

    def killed(path):
        if path.name == "trial_0000":
            raise KeyboardInterrupt
        rmtree(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        project.clear()
    assert Project.open(project.path).started
    project.clear()
    assert contents(project.path) == {}


def test_clearing_takes_links_and_not_what_they_lead_to(tmp_path):
    project = started(tmp_path / "search")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.tex").write_text("years of work")
    (project.path / "images").symlink_to(tmp_path / "elsewhere")
    project.clear()
    assert contents(project.path) == {}
    assert (tmp_path / "elsewhere" / "thesis.tex").read_text() == "years of work"


def spoil(path, way):
    """Do to a file what a bad disk does."""
    content = path.read_bytes()
    if way == "removed":
        path.unlink()
    else:
        middle = len(content) // 2
        garbled = content[:middle] + b"\xff\x00garbled" + content[middle + 9 :]
        path.write_bytes({"cut": content[:middle], "emptied": b"", "garbled": garbled}[way])


@pytest.mark.parametrize("way", ["cut", "garbled", "emptied", "removed"])
@pytest.mark.parametrize("sign", ["trial_0000/trial.json", "images/x_train.npy"])
def test_a_search_without_its_settings_is_told_by_the_file_that_is_lost(sign, way, tmp_path):
    started(tmp_path)
    (tmp_path / sign).parent.mkdir(exist_ok=True)
    (tmp_path / sign).write_text("what says whose it is")
    spoil(tmp_path / "search.json", way)
    lost = "missing" if way == "removed" else "damaged"
    with pytest.raises(UsageError, match=rf"search\.json is {lost}; put it back as it was, or"):
        create(tmp_path, SETTINGS, space())
    assert (tmp_path / "search.json").exists() == (way != "removed")


def change_settings(written):
    return lambda path: path.write_text(
        json.dumps(json.loads(path.read_text()) | {"settings": written})
    )


DAMAGES = {
    "empty settings": ("search.json", change_settings({}), "its settings lack base, data"),
    "no settings": ("search.json", change_settings(None), "search.json is damaged"),
    "a wrong one": (
        "search.json",
        change_settings(SETTINGS.model_dump() | {"seed": "x"}),
        "seed: input should be a valid integer",
    ),
    "empty trial": (
        "trial_0000/trial.json",
        lambda path: path.write_text(""),
        r"trial_0000/trial\.json is damaged .*; delete .*/trial_0000 and it counts as failed, or",
    ),
    "nested trial": (
        "trial_0000/trial.json",
        lambda path: path.write_text(100_000 * "["),
        r"trial_0000/trial\.json is damaged",
    ),
}


@pytest.mark.parametrize(("name", "damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_search_is_told_at_once_with_what_can_be_done(name, damage, told, tmp_path):
    project = started(tmp_path)
    (tmp_path / "trial_0000").mkdir()
    (tmp_path / "oracle.json").write_text(
        '{"start_order": [], "end_order": [], "ongoing_trials": {}}'
    )
    (tmp_path / "trial_0000" / "trial.json").write_text(
        '{"trial_id": "0000", "status": "FAILED", "score": null, "hyperparameters": {"values": {}}}'
    )
    mend(project)
    damage(tmp_path / name)
    with pytest.raises(KerasResNetError, match=told) as caught:
        mend(create(tmp_path, SETTINGS, space()))
    assert "\n" not in str(caught.value) and "with --overwrite" in str(caught.value)
    Project.open(tmp_path).clear()
