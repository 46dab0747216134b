"""All trials of a search see one split, made once, and no image of the test set."""

import itertools
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_classes

from kerasresnet.data import DataRequest, ImageData
from kerasresnet.data.stored import StoredImages
from kerasresnet.disk import NoRoom
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import Recipe
from tuning.search import images as images_module
from tuning.search.images import FILES, PARTS, prepare_images, search_images
from tuning.search.options import parse_search_options
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.view.leaderboard import fit_line

SETTINGS = Settings(data="digits", base="digits", val_images=144, train_images=512)
SPEC = ResNetSpec.from_text("BB1x4-classes4-in2x2x3")


def create(path, settings, space):
    with Project.alone(path) as project:
        return project.begin(settings, space)


@pytest.fixture
def pictures(tmp_path):
    return write_classes(tmp_path / "pictures", {"a": 30, "b": 20})


def search_of(pictures):
    """The path of a search of those pictures that has made its images."""
    flags = f"--data {pictures} --image-size 16 --val-images 8 --search-dir {pictures.parent / 's'}"
    path, settings, space = parse_search_options(flags.split()).resolve()
    create(path, settings, space)
    prepare_images(Project.open(path))
    return path


@pytest.fixture
def make_project(tmp_path):
    """A function that starts a search of the digits, with some settings and base of its own."""

    def make(name="search", *, base="digits", **changes):
        space = Space(Recipe.named(base), narrow({}))
        return create(tmp_path / name, SETTINGS.replace(**changes), space)

    return make


def as_set(images):
    return {image.tobytes() for image in images}


def arrays(found):
    return [*found.train, *found.val]


def test_parts_are_disjoint_in_proportion_and_none_is_of_the_test_set(make_project, digits):
    found = search_images(make_project())
    assert found.train[0].shape == (512, 32, 32, 3) and found.val[0].shape == (144, 32, 32, 3)
    assert [array.dtype for array in arrays(found)] == [np.uint8, np.int32] * 2
    assert found.class_names == digits.class_names
    pool, train, val = (as_set(part) for part in (digits.x_train, found.train[0], found.val[0]))
    assert (len(train), len(val)) == (512, 144)
    assert train <= pool and val <= pool and not train & val
    assert not (train | val) & as_set(digits.x_test)
    share = np.bincount(digits.y_train) / len(digits.y_train)
    for labels in (found.train[1], found.val[1]):
        np.testing.assert_allclose(np.bincount(labels), share * len(labels), atol=2)


def test_labels_stay_with_their_images(make_project, digits):
    found = search_images(make_project())
    label = {x.tobytes(): y for x, y in zip(digits.x_train, digits.y_train, strict=True)}
    for images, labels in (found.train, found.val):
        assert [label[image.tobytes()] for image in images] == list(labels)


def test_without_a_number_all_that_validation_leaves_is_trained_on(make_project, digits):
    found = search_images(make_project(train_images=None))
    assert as_set(found.train[0]) | as_set(found.val[0]) == as_set(digits.x_train)
    assert len(found.train[0]) + len(found.val[0]) == len(digits.x_train)


def test_the_split_follows_from_the_seed_and_fewer_images_keep_the_validation(make_project):
    one, same, other, fewer = (
        search_images(project)
        for project in (
            make_project("one"),
            make_project("same"),
            make_project("other", seed=1),
            make_project("fewer", train_images=300),
        )
    )
    for a, b in zip(arrays(one), arrays(same), strict=True):
        np.testing.assert_array_equal(a, b)
    assert as_set(one.val[0]) != as_set(other.val[0])
    np.testing.assert_array_equal(one.val[0], fewer.val[0])


def test_the_second_call_maps_the_same_arrays_and_loads_no_data(make_project, monkeypatch):
    project = make_project()
    first = search_images(project)

    def never(*_):
        raise AssertionError("the data set was loaded again")

    monkeypatch.setattr(images_module.DataRequest, "load", never)
    again = search_images(project)
    for a, b in zip(arrays(first), arrays(again), strict=True):
        assert isinstance(b, np.memmap) and not b.flags.writeable
        np.testing.assert_array_equal(a, b)
    assert again.class_names == first.class_names


def test_those_that_come_first_at_once_all_see_one_whole_set(make_project, monkeypatch):
    project, found = make_project(), []
    together, split = threading.Barrier(3, timeout=60), images_module._split

    def split_together(*arguments):
        together.wait()  # nobody has stored anything yet, and all will
        return split(*arguments)

    monkeypatch.setattr(images_module, "_split", split_together)
    threads = [
        threading.Thread(target=lambda: found.append(search_images(project))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for images in found:
        for a, b in zip(arrays(images), arrays(found[0]), strict=True):
            np.testing.assert_array_equal(a, b)
    assert {path.name for path in (project.path / "images").iterdir()} == {
        *(f"{part}.npy" for part in PARTS),
        "labels.json",
    }
    assert not list(project.path.glob("aside-*"))


def test_a_full_disk_leaves_no_half_of_the_images(make_project, monkeypatch):
    project, save = make_project(), np.save

    def full(path, array):
        if path.name == "y_val.npy":
            raise OSError(28, "No space left on device")
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(NoRoom, match=r"the disk is full: there is no room for .*/images"):
            search_images(project)
    assert {path.name for path in project.path.iterdir()} <= {"search.json", "search.lock"}
    assert len(search_images(project).val[1]) == 144


def test_a_search_that_changes_its_mind_before_it_began_makes_its_images_again(make_project):
    assert len(search_images(make_project()).val[1]) == 144
    assert len(search_images(make_project(val_images=100)).val[1]) == 100
    assert len(search_images(make_project(val_images=100, train_images=64)).train[1]) == 64


WAYS = {
    "cut": lambda content: content[: len(content) // 2],
    "garbled": lambda content: content[:-40] + b"\xff\x00garbled" + content[-31:],
    "emptied": lambda content: b"",
    "removed": None,
}


def test_images_that_are_not_what_was_made_are_refused_and_made_again(pictures):
    path = search_of(pictures)
    images = path / "images"
    made = {file.name: file.read_bytes() for file in images.iterdir()}
    assert made.keys() == set(FILES)
    prepare_images(Project.open(path))
    for name, spoil in itertools.product(FILES, WAYS.values()):
        (images / name).write_bytes(spoil(made[name])) if spoil else (images / name).unlink()
        told = rf"images in .*/images are damaged \({name} is not .*\); delete that folder, and the"
        for _ in range(2):
            with pytest.raises(KerasResNetError, match=told):
                prepare_images(Project.open(path))
        (images / name).write_bytes(made[name])
    shutil.rmtree(images)
    prepare_images(Project.open(path))
    assert {file.name: file.read_bytes() for file in images.iterdir()} == made


def test_a_search_goes_on_with_no_other_images_than_it_began_with(pictures):
    path = search_of(pictures)

    def become(name):
        for picture in (pictures / "a").glob("*"):
            shutil.copy(pictures / "b" / name, picture)
        shutil.rmtree(path / "images")

    become("003.png")
    prepare_images(Project.open(path))  # no trial has seen any
    (path / "trial_0000").mkdir()
    become("017.png")
    told = r"no longer gives the images that .* began with \(x_train.npy is another\); put it back"
    with pytest.raises(KerasResNetError, match=told):
        prepare_images(Project.open(path))
    assert not (path / "images").exists()
    (path / "images").mkdir()
    become("003.png")
    prepare_images(Project.open(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_images": 16}, r"--train-images is from one batch \(32\) to 1,283.*received 16"),
        ({"train_images": 5_000}, "or all 1,293 that 144 validation images .* received 5,000"),
        ({"train_images": 1_290}, "received 1,290"),
        ({"val_images": 9}, r"--val-images is at least one of each class \(10\).*received 9"),
        ({"val_images": 1_430, "train_images": None}, "1,437 training images.*received 1,430"),
        ({"val_images": 5_000}, "--val-images .* received 5,000"),
    ],
)
def test_too_few_or_too_many_images_are_refused(settings, message, make_project):
    project = make_project(**settings)
    with pytest.raises(UsageError, match=message):
        search_images(project)
    assert not (project.path / "images").exists()


def test_images_that_the_base_recipe_cannot_take_are_refused(tmp_path):
    for spec in ("BB1x8-in28x28x1", "BB1x8-classes7"):
        base = Recipe.named("digits").replace(spec=spec)
        space = Space(base, narrow({}, base))
        project = create(tmp_path / spec, SETTINGS, space)
        with pytest.raises(UsageError, match="choose one whose spec says in32x32x3-classes10"):
            search_images(project)


def test_your_own_pictures_are_what_trials_share(tmp_path):
    folder = write_classes(tmp_path / "pictures", {"a": 30, "b": 20})
    flags = f"--data {folder} --image-size 16 --val-images 8 --search-dir {tmp_path / 'search'}"
    path, settings, space = parse_search_options(flags.split()).resolve()
    assert (settings.data, settings.base) == (str(folder), "small")
    assert space.base.spec.to_text().endswith("-classes2-in16x16x3")
    project = create(path, settings, space)
    found = search_images(project)
    assert (len(found.train[1]), len(found.val[1]), found.class_names) == (32, 8, ("a", "b"))
    assert found.train[0].shape[1:] == (16, 16, 3)
    np.testing.assert_allclose(
        found.statistics.mean, (found.train[0] / 255).mean(axis=(0, 1, 2)), atol=1e-6
    )
    assert search_images(project).statistics == found.statistics
    line = f"python -m kerasresnet.fit --recipe best.toml --data {folder} --image-size 16"
    assert (
        fit_line(DataRequest.from_facts(settings.data, settings.data_settings), "best.toml") == line
    )
    assert parse_search_options(["--data", str(folder)]).resolve()[1].val_images == 4
    assert parse_search_options(["--data", str(folder)]).resolve()[0].name == "pictures-5000000"


def test_pictures_that_stay_on_disk_are_the_same_to_a_search(tmp_path, monkeypatch):
    folder = write_classes(tmp_path / "pictures", {"a": 30, "b": 20})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for name, free in (("memory", 2**40), ("disk", 0)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda n=free: SimpleNamespace(available=n))
        flags = f"--data {folder} --image-size 16 --val-images 8 --search-dir {tmp_path / name}"
        found.append(search_images(create(*parse_search_options(flags.split()).resolve())))
    in_memory, on_disk = found
    assert isinstance(on_disk.train[0], StoredImages) and isinstance(on_disk.val[0], StoredImages)
    assert (
        on_disk.statistics == in_memory.statistics and on_disk.class_names == in_memory.class_names
    )
    for a, b in zip(arrays(in_memory), arrays(on_disk), strict=True):
        np.testing.assert_array_equal(a, b[:])


@given(
    each=st.integers(4, 12),
    batch=st.integers(1, 40),
    val=st.integers(1, 60),
    train=st.none() | st.integers(1, 60),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_numbers_give_that_many_images_or_a_clear_refusal(each, batch, val, train, seed):
    labels = np.tile(np.arange(4, dtype=np.int32), each)
    images = np.zeros((4 * each, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(4 * each)  # all different
    data = ImageData("ours", images, labels, images[:4], labels[:4], tuple("abcd"), "made up")
    settings = Settings(val_images=val, train_images=train, seed=seed)
    try:
        x, y, x_val, y_val = images_module._split(data, settings, batch, SPEC)
    except UsageError as error:
        assert "--val-images" in str(error) or "--train-images" in str(error)
        assert val < 4 or len(images) - val < max(4, batch) or train is not None
        return
    assert len(x) == len(y) == (len(images) - val if train is None else train) >= batch
    assert len(x_val) == len(y_val) == val
    assert not as_set(x) & as_set(x_val) and len(as_set(x)) == len(x)
    assert np.ptp(np.bincount(y_val, minlength=4)) <= 1
