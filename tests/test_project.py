"""The directory of a search keeps its settings, its images, and strangers out."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from kerasresnet.errors import UsageError
from kerasresnet.recipe import Recipe
from tuning.images import search_images
from tuning.project import Project, Settings
from tuning.space import Space, narrow

SETTINGS = Settings(data="digits", base="digits", val_images=144, train_images=512)


def space(changes=None, **recipe):
    return Space(Recipe.named("digits").replace(**recipe), narrow(changes or {}))


def started(path, settings=SETTINGS, found=None):
    """A search that has begun."""
    project = Project.create(path, settings, found or space())
    (path / "oracle.json").write_text("{}")
    return project


def test_the_same_settings_find_the_same_search(tmp_path):
    narrowed = space({"blocks": "1,2", "sgd.learning_rate": "0.1..0.2"}, epochs=4)
    started(tmp_path / "search", found=narrowed)
    again = Project.create(tmp_path / "search", SETTINGS, narrowed)
    assert again.settings == SETTINGS
    assert again.space.dimensions == narrowed.dimensions
    assert again.space.base == narrowed.base
    assert Project.open(tmp_path / "search").space.base == narrowed.base


@pytest.mark.parametrize(
    ("settings", "changes", "recipe", "told"),
    [
        ({"max_epochs": 7}, {}, {}, "max_epochs is 9 there and 7 here"),
        ({"seed": 1}, {}, {}, "seed is 0 there and 1 here"),
        ({"train_images": None}, {}, {}, "train_images is 512 there and None here"),
        ({}, {"blocks.2": 3}, {}, r"blocks.2 is \[1, 2, 3, 4\] there and \[3\] here"),
        ({}, {}, {"batch_size": 64}, "batch_size is 32 there and 64 here"),
        ({}, {}, {"max_params": 77}, "max_params is 5000000 there and 77 here"),
    ],
)
def test_other_settings_are_refused_with_the_difference(settings, changes, recipe, told, tmp_path):
    started(tmp_path)
    with pytest.raises(UsageError, match=f"other settings: {told}; type those.*--overwrite"):
        Project.create(tmp_path, SETTINGS.replace(**settings), space(changes, **recipe))


def test_a_search_that_never_began_may_change_its_mind(tmp_path):
    Project.create(tmp_path / "search", SETTINGS, space())
    again = Project.create(tmp_path / "search", SETTINGS.replace(seed=5), space())
    assert again.settings.seed == 5


def test_a_strangers_directory_or_file_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match="is no search of ours"):
            Project.create(path, SETTINGS, space())
        with pytest.raises(UsageError, match=r"is no search|does not exist"):
            Project.open(path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_search_in_use_is_not_cleared_and_one_that_was_killed_is(tmp_path):
    project = started(tmp_path / "search")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tuning.project import Project\n"
        "with Project.open(sys.argv[1]).in_use():\n    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(project.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="nothing was deleted"):
            project.clear()
        assert project.started
        with project.in_use():  # a second worker may use it as well
            pass
        other.kill()
    project.clear()
    assert list(project.path.iterdir()) == []


def test_only_one_process_runs_a_search(tmp_path):
    project = started(tmp_path / "search")
    with project.alone("oracle"), pytest.raises(UsageError, match="another oracle is running"):  # noqa: SIM117
        with project.alone("oracle"):
            pass
    with project.alone("oracle"):
        pass


def test_trials_share_images_and_none_is_of_the_test_set(tmp_path, digits):
    project = started(tmp_path / "search")
    found = search_images(project)
    assert found.train[0].shape == (512, 32, 32, 3) and found.val[0].shape == (144, 32, 32, 3)
    assert found.labels == digits.labels
    pool = {image.tobytes() for image in digits.x_train}
    train, val = ({image.tobytes() for image in part[0]} for part in (found.train, found.val))
    assert train <= pool and val <= pool and not train & val
    assert np.bincount(found.val[1]).min() >= 13  # every class in proportion
    again = search_images(project)
    np.testing.assert_array_equal(found.train[0], again.train[0])
    assert isinstance(again.train[0], np.memmap)


def test_workers_that_come_at_once_see_whole_images(tmp_path):
    project = started(tmp_path / "search")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(search_images(project))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for images in found:
        np.testing.assert_array_equal(images.val[1], found[0].val[1])
    assert not list(project.path.glob("aside-*"))


@pytest.mark.parametrize(("name", "value"), [("train_images", 16), ("train_images", 5_000)])
def test_too_few_or_too_many_images_are_refused(name, value, tmp_path):
    project = started(tmp_path / "search", SETTINGS.replace(**{name: value}))
    with pytest.raises(UsageError, match=f"--train-images is from one batch .*received {value:,}"):
        search_images(project)
