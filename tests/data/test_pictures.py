"""A folder or a table of pictures becomes a data set, or one clear line says why not."""

import csv
import os
import sys

import numpy as np
import pytest
from pictures import photo, saved
from PIL import Image

from kerasresnet.data import DataRequest, load_again
from kerasresnet.data.folder import list_folder
from kerasresnet.data.split import set_test_aside
from kerasresnet.data.statistics import balanced_weights, channel_statistics
from kerasresnet.errors import UsageError
from kerasresnet.run.record import RunFacts


def plain(number, size=(20, 10), mode="RGB"):
    """A picture of one colour, another for each number; (width, height)."""
    return Image.new("RGB", size, (number * 7 % 256, 255 - number, number)).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Three classes of ten pictures each, of several sizes and depths."""
    for label, name in enumerate(("bus", "cat", "日本語 é")):
        for i in range(10):
            path = tmp_path / "pictures" / name / ("deep" if i % 3 else "") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            plain(10 * label + i, (20 + i, 10 + label)).save(path)
    return tmp_path / "pictures"


def load(path, **settings):
    return DataRequest.parse(str(path), **settings).load()


def refused(path, **settings):
    with pytest.raises(UsageError) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def said(facts):
    """Facts as a run writes them down and reads them back."""
    written = RunFacts(status="running", **facts).model_dump(mode="json", exclude_none=True)
    return {"data": written["data"], "settings": written.get("data_settings")}


# What comes out


def test_a_folder_of_class_folders_is_split_in_proportion_by_the_seed(folder):
    data = load(folder)
    assert data.class_names == ("bus", "cat", "日本語 é")
    assert data.x_train.shape == (24, 32, 32, 3) and data.x_test.shape == (6, 32, 32, 3)
    assert np.bincount(data.y_test).tolist() == [2, 2, 2]
    assert data.x_val is None and data.own_statistics
    assert "scaled to 32x32 from 10x20 … 12x29" in data.source and "seed 0" in data.source
    for again, same in ((load(folder), True), (load(folder, split_seed=1), False)):
        assert np.array_equal(again.x_test, data.x_test) == same


def test_pixels_and_labels_belong_together_and_are_those_of_the_files(folder):
    data = load(folder)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        np.testing.assert_array_equal(x[:, 0, 0, 2] // 10, y)
        assert (x == x[:, :1, :1]).all()


def test_parts_that_are_there_are_taken_as_they_are(folder, tmp_path):
    for part, names in {"train": ("0", "1", "2"), "valid": ("3",), "test": ("4", "5")}.items():
        for name in ("bus", "cat"):
            for stem in names:
                target = tmp_path / "divided" / part / name / f"{stem}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                (found,) = (folder / name).rglob(f"{stem}.png")
                target.write_bytes(found.read_bytes())
    data = load(tmp_path / "divided")
    assert (len(data.y_train), len(data.y_val), len(data.y_test)) == (6, 2, 4)
    assert sorted(data.x_test[:, 0, 0, 2]) == [4, 5, 14, 15]


def test_a_class_may_be_called_train(folder):
    (folder / "cat").rename(folder / "train")
    (folder / "train" / "deep").rename(folder / "gone")
    for path in (folder / "gone").iterdir():
        path.rename(folder / "train" / path.name)
    (folder / "gone").rmdir()
    assert load(folder).class_names == ("bus", "train", "日本語 é")


def test_grey_pictures_give_one_channel_unless_a_network_wants_three(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            photo(40, 30, "L").rotate(90 * i).save(tmp_path / name / f"{i}.png")
    data = load(tmp_path)
    assert data.image_shape == (32, 32, 1)
    request = DataRequest.parse(str(tmp_path))
    assert request.peek().channels == 1
    colour = request.for_input((24, 24, 3)).load()
    assert colour.image_shape == (24, 24, 3)
    assert (colour.x_train[..., 0] == colour.x_train[..., 2]).all()
    photo(40, 30).save(tmp_path / "b" / "colour.png")
    assert load(tmp_path).image_shape == (32, 32, 3) and request.peek().channels == 3


def test_every_kind_of_picture_is_read_upright(tmp_path):
    upright, exif = photo(64, 64), Image.Exif()
    exif[0x0112] = 6
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    kinds = {
        "plain.jpg": saved(upright, "JPEG", quality=95),
        "turned.jpg": saved(sideways, "JPEG", quality=95, exif=exif),
        "see-through.png": saved(upright.convert("RGBA"), "PNG"),
        "palette.gif": saved(upright.convert("P"), "GIF"),
        "print.jpeg": saved(upright.convert("CMYK"), "JPEG", quality=95),
        "web.WEBP": saved(upright, "WEBP", quality=95),
    }
    for name in "ab":
        (tmp_path / name).mkdir()
        for file, contents in kinds.items():
            (tmp_path / name / file).write_bytes(contents)
    data = load(tmp_path)
    wanted = np.asarray(upright.resize((32, 32), Image.Resampling.BILINEAR), int)
    for image in (*data.x_train, *data.x_test):
        assert np.abs(image - wanted).mean() < 12


def test_a_table_says_the_same_as_a_folder(folder, tmp_path):
    from pyarrow import Table, parquet

    rows = [(str(p), p.relative_to(folder).parts[0]) for p in sorted(folder.rglob("*.png"))]
    with (tmp_path / "list.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("Path", "Label"), *rows])
    columns = dict(zip(("path", "label"), map(list, zip(*rows, strict=True)), strict=True))
    parquet.write_table(Table.from_pydict(columns), tmp_path / "list.parquet")
    wanted = load(folder)
    for name in ("list.csv", "list.parquet"):
        data = load(tmp_path / name)
        assert data.class_names == wanted.class_names
        np.testing.assert_array_equal(data.x_test, wanted.x_test)


def test_a_table_may_be_divided_and_its_labels_stay_text(folder, tmp_path):
    lines = ["path,label,split"]
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        for i in range(count):
            number = {"train": 0, "val": 6, "test": 8}[part] + i
            for label, name in (("007", "bus"), ("7", "cat")):
                (found,) = (folder / name).rglob(f"{number}.png")
                lines.append(f"{found.relative_to(tmp_path)},{label},{part}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = load(tmp_path / "list.csv")
    assert data.class_names == ("007", "7")
    assert (len(data.y_train), len(data.y_val), len(data.y_test)) == (12, 4, 4)


def test_statistics_are_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 7, 3), np.uint8)
    images[..., 2] = 9
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(std[:2], (images / 255).std(axis=(0, 1, 2))[:2], atol=1e-6)
    assert std[2] == pytest.approx(1 / 255, abs=1e-6)


def test_balanced_weights_let_every_class_count_the_same():
    labels = np.repeat([0, 1, 3], [1, 4, 15])
    weights = balanced_weights(labels, 4)
    assert weights == {0: 20 / 3, 1: 20 / 12, 2: 0.0, 3: 20 / 45}
    assert sum(weights[label] for label in labels) == pytest.approx(len(labels))


def test_every_class_is_tested_and_trained_on():
    labels = np.repeat([0, 1, 2], [2, 3, 50])
    train, test = set_test_aside(labels, 0)
    assert sorted([*train, *test]) == list(range(55))
    assert np.bincount(labels[test]).tolist() == [1, 1, 10]


# Loading again


def test_facts_and_flags_give_the_same_images_again(folder):
    request = DataRequest.parse(str(folder), split_seed=3, size=(48, 48), on_bad_image="skip")
    data = request.load()
    facts = request.to_facts(data)
    assert DataRequest.from_facts(**said(facts)) == request
    np.testing.assert_array_equal(load_again(**said(facts)).x_test, data.x_test)
    flags = f"--data {folder} --image-size 48 --on-bad-image skip --split-seed 3"
    assert request.flags() == flags.split()
    plain(99).save(folder / "cat" / "new.png")
    with pytest.raises(UsageError, match="no longer holds the pictures"):
        load_again(**said(facts))


def test_a_catalogues_data_as_it_comes_is_its_name_alone():
    assert DataRequest("digits").to_facts() == {"data": "digits", "data_settings": None}
    assert DataRequest.parse("cifar10").flags() == []
    assert DataRequest.from_facts("digits") == DataRequest("digits")
    assert DataRequest.parse("digits", size=(16, 16)).load().image_shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("text", "slug"),
    [("svhn", "svhn"), ("tfds:eurosat:rgb", "eurosat-rgb"), ("./", "images"), ("日本/", "images")],
)
def test_models_and_folders_are_named_after_the_data(text, slug, tmp_path, monkeypatch):
    (tmp_path / "日本").mkdir()
    monkeypatch.chdir(tmp_path / "日本")
    (tmp_path / "日本" / "日本").mkdir()
    assert DataRequest.parse(text).slug == slug


# Bad input


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UsageError, match=r"'cifar11': did you mean 'cifar100?'.*are a path"):
        DataRequest.parse("cifar11")


def test_a_path_that_no_run_could_write_down_is_refused(folder):
    other = folder.rename(folder.with_name("caf\udce9"))
    assert "is no UTF-8" in refused(other)


def test_what_holds_no_classes_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no class folders" in refused(tmp_path / "empty")
    (tmp_path / "flat").mkdir()
    plain(1).save(tmp_path / "flat" / "1.png")
    assert "holds no class folders" in refused(tmp_path / "flat")
    (folder / "empty").mkdir()
    assert "empty holds no pictures (files that end in .bmp" in refused(folder)
    (folder / "notes.txt").touch()
    assert "is no data set; give a folder" in refused(folder / "notes.txt")
    (folder / "all.tar.gz").touch()
    assert "is no data set; unpack it, and give a folder" in refused(folder / "all.tar.gz")


def test_what_is_left_out_beside_and_in_the_class_folders_is_counted(folder, tmp_path):
    assert list_folder(folder).left_out == ""
    for name in ("loose.png", "cat/1.heic", "cat/deep/2.HEIC", "bus/notes", "cat/.DS_Store"):
        (folder / name).touch()
    told = "pictures beside the class folders (1), files of other kinds (3: .heic, no ending)"
    assert list_folder(folder).left_out == told
    assert load(folder).source.endswith(f", left out: {told}")
    folder.rename(tmp_path / "train")
    (tmp_path / "all" / "test").mkdir(parents=True)
    (tmp_path / "train").rename(tmp_path / "all" / "train")
    (tmp_path / "all" / "test" / "loose.jpg").touch()
    assert list_folder(tmp_path / "all").left_out == told.replace("(1)", "(2)")


def test_one_class_is_refused(folder):
    assert "has one class, 'deep'" in refused(folder / "cat")


def test_a_class_with_one_picture_is_refused(folder):
    (folder / "dog").mkdir()
    plain(1).save(folder / "dog" / "1.png")
    assert "needs two pictures at least" in refused(folder)
    assert "dog (1)" in refused(folder)


@pytest.mark.parametrize("other", ["CAT", " cat", "日本語 e\u0301"])
def test_two_classes_of_one_name_are_refused(other, folder):
    (folder / other).mkdir()
    for i in range(2):
        plain(i).save(folder / other / f"{i}.png")
    assert "have one name but for case, spaces or composed letters" in refused(folder)


@pytest.mark.parametrize("end", ["\n", "\u2028", "\x85", "\udcff"])
def test_a_name_that_is_no_line_of_text_is_refused(end, folder):
    (folder / "cat").rename(folder / f"cat{end}dog")
    assert "a name is one line of text" in refused(folder)


def test_a_class_that_only_the_test_part_has_is_refused(folder, tmp_path):
    folder.rename(tmp_path / "train")
    (tmp_path / "test" / "dog").mkdir(parents=True)
    plain(1).save(tmp_path / "test" / "dog" / "1.png")
    (tmp_path / "divided").mkdir()
    for part in ("train", "test"):
        (tmp_path / part).rename(tmp_path / "divided" / part)
    assert "dog has no training picture" in refused(tmp_path / "divided")
    (tmp_path / "divided" / "extra").mkdir()
    assert "extra/ beside it, which is no part" in refused(tmp_path / "divided")


def test_files_that_cannot_be_read_refuse_all_or_are_left_out_and_named(folder, capsys):
    whole = saved(photo(), "PNG")
    bad = {"cut.png": whole[: len(whole) // 2], "empty.png": b"", "text.png": b"no picture"}
    for name, contents in bad.items():
        (folder / "cat" / name).write_bytes(contents)
    told = refused(folder)
    assert f"3 of 33 pictures of {folder} cannot be read" in told
    assert "text.png (is no image of a known kind" in told and "--on-bad-image skip" in told
    data = load(folder, on_bad_image="skip")
    assert len(data.skipped) == 3 and ", left out: 3 unreadable" in data.source
    assert len(data.y_train) + len(data.y_test) == 30
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("left out: 3 of 33") and all(name in line for name in bad)


def test_a_class_left_with_one_readable_picture_is_refused(folder):
    for path in list((folder / "cat").rglob("*.png"))[1:]:
        path.write_bytes(b"")
    assert "cat (1)" in refused(folder, on_bad_image="skip")


def test_a_picture_that_would_fill_the_memory_is_refused(folder):
    Image.new("1", (11_000, 11_000)).save(folder / "cat" / "bomb.png")
    assert "bomb.png (is of 11000 x 11000 pixels, more than" in refused(folder)


def test_a_folder_that_may_not_be_read_is_told(folder, monkeypatch):
    real = os.scandir

    def closed(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UsageError, match=r"cannot read .*bus/deep: Permission denied"):
        list_folder(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nno.png,a\nnope.png,b\n", "names 2 pictures that are not there: "),
        ("file,class\na.png,a\n", "has the columns file, class; it needs path and label"),
        ("", "has the columns none"),
        ("path,label\n", "holds no pictures"),
        ("path,label\nbus/0.png,\n", "row 1: path 'bus/0.png', label ''"),
        ("path,label,split\nbus/0.png,a,dev\n", "split is train, val or test"),
        ("path,label\nbus/0.png,a\nbus/0.png,b\n", "twice"),
        ("path,label\nbus/0.png,a\ncat/0.png,a\n", "has one class, 'a'"),
        ('path,label\n"bus', "cannot read"),
        ("path,label\n\udcff,a", "cannot read"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(text, message, folder):
    (folder / "list.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert message in refused(folder / "list.csv")


def test_a_damaged_parquet_file_is_refused(folder):
    (folder / "list.parquet").write_bytes(b"PAR1 and nothing else")
    assert "cannot read" in refused(folder / "list.parquet")


# And back


def test_a_data_set_written_as_pictures_comes_back_pixel_for_pixel(
    digits, tmp_path, monkeypatch, capsys
):
    from kerasresnet.data import __main__ as command

    out = tmp_path / "digits"
    flags = f"data {out} --data digits --per-class 10"
    monkeypatch.setattr(sys, "argv", flags.split())
    command.main()
    assert "120 PNG files of digits in 10 classes" in capsys.readouterr().out
    data = load(out)
    assert data.class_names == digits.class_names and (len(data.y_train), len(data.y_test)) == (
        100,
        20,
    )
    there = {image.tobytes() for image in digits.x_test}
    assert all(image.tobytes() in there for image in data.x_test)
    for bad in (flags, f"data {tmp_path}/a/b --data digits", f"data {tmp_path}/c --per-class 1"):
        monkeypatch.setattr(sys, "argv", bad.split())
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [out]
