"""Sets of TFDS, written here by its own tools and read as those that it fetches."""

import contextlib
import io
import time

import numpy as np
import pytest

from kerasresnet.data import CATALOG, DataRequest
from kerasresnet.data import tfds as tfds_module
from kerasresnet.errors import KerasResNetError, UsageError

VERSIONS = {
    "cifar100": "3.0.2",
    "fashion_mnist": "3.0.1",
    "mnist": "3.0.1",
    "svhn": "3.1.0",
    "eurosat": "2.0.0",
}


def write(name, parts, data_dir, *, shape, config=None, version="1.0.0", names=None, extra=()):
    """A set as TFDS writes it; `parts` are counts of images. Images carry their number."""
    import tensorflow_datasets as tfds

    names = names or [f"class {i}" for i in range(4)]
    features = {
        **{key: tfds.features.ClassLabel(names=["one", "two"]) for key in extra},
        "image": tfds.features.Image(shape=shape),
        "label": tfds.features.ClassLabel(names=names),
    }

    def examples(count):
        size = [16 if n is None else n for n in shape]
        for i in range(count):
            image = np.full(size, i % 256, np.uint8)
            yield i, {"image": image, "label": i % len(names), **dict.fromkeys(extra, 0)}

    builder = tfds.dataset_builders.AdhocBuilder(
        name=name,
        config=config,
        version=version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={part: examples(count) for part, count in parts.items()},
        data_dir=data_dir,
        description="made here",
    )
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


@pytest.mark.parametrize("name", VERSIONS)
def test_every_row_of_the_catalogue_is_read_as_tfds_writes_it(name, tmp_path):
    row = CATALOG[name]
    tfds_name, _, config = row.tfds.partition("/")
    parts = {"train": 2 * row.classes} | ({} if name == "eurosat" else {"test": row.classes})
    names = [f"class {i}" for i in range(row.classes)]
    extra = ("coarse_label",) if name == "cifar100" else ()
    settings = {"shape": row.image_shape, "version": VERSIONS[name], "config": config or None}
    write(tfds_name, parts, tmp_path, names=names, extra=extra, **settings)
    data = DataRequest(name).load(tmp_path)
    assert data.name == name and data.num_classes == row.classes and data.own_statistics
    assert data.image_shape == (32, 32, row.image_shape[2])
    assert (len(data.y_train), len(data.y_test)) == (
        (row.classes, row.classes) if name == "eurosat" else (2 * row.classes, row.classes)
    )
    np.testing.assert_array_equal(data.x_train[:, 5, 5, 0] % row.classes, data.y_train)
    assert str(tmp_path) in data.source and row.licence
    assert DataRequest(name).peek().classes == data.num_classes


def test_any_set_of_one_label_is_read_by_name_and_configuration(tmp_path):
    write(
        "flowers", {"train": 40, "validation": 8}, tmp_path, shape=(None, None, 3), config="small"
    )
    request = DataRequest.parse("tfds:flowers/small", size=(24, 24))
    assert request.data == "tfds:flowers:small" and request.slug == "flowers-small"
    data = request.load(tmp_path)
    assert data.image_shape == (24, 24, 3)
    assert (len(data.y_train), len(data.y_val), len(data.y_test)) == (32, 8, 8)
    assert data.class_names == tuple(f"class {i}" for i in range(4))
    assert request.peek(tmp_path) == (4, 3, 32)
    np.testing.assert_array_equal(request.load(tmp_path).x_test, data.x_test)
    assert "24x24 from anyxany" in data.source and "split seed 0" in data.source


def test_an_unknown_set_is_told_with_the_nearest_ones(tmp_path):
    for ask in (DataRequest.load, DataRequest.peek):
        with pytest.raises(UsageError, match=r"no data set 'eurosatt'.* did you mean eurosat"):
            ask(DataRequest.parse("tfds:eurosatt"), tmp_path)


def test_a_set_of_other_things_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no image classification as we take it"):
        DataRequest.parse("tfds:imdb_reviews").load(tmp_path)
    with pytest.raises(UsageError, match="is no image classification as we take it"):
        DataRequest.parse("tfds:eurosat:all").load(tmp_path)  # 13 channels


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("eurosat:rgbb", "'rgbb': did you mean 'rgb'. known are rgb, all$"),
        ("mnist:small", "mnist has no configurations$"),
    ],
)
def test_an_unknown_configuration_is_told_with_those_that_there_are(asked, says, tmp_path):
    with pytest.raises(UsageError, match=f"cannot open '{asked.replace(':', '/')}': .*{says}"):
        DataRequest.parse(f"tfds:{asked}").load(tmp_path)


def test_without_a_network_a_set_that_is_not_here_is_refused_at_once(tmp_path, monkeypatch):
    asked = []

    def no_answer(url):
        asked.append(url)
        raise tfds_module.SourceError(f"no answer from {url}")

    monkeypatch.setattr(tfds_module, "probe", no_answer)
    start = time.monotonic()
    with pytest.raises(KerasResNetError, match=r"mnist is not prepared in .*no answer from http"):
        DataRequest("mnist").load(tmp_path)
    assert time.monotonic() - start < 20 and len(asked) == 1
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_a_damaged_set_is_told(tmp_path):
    write("flowers", {"train": 40, "test": 8}, tmp_path, shape=(8, 8, 3))
    for path in tmp_path.rglob("*train*.tfrecord*"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(KerasResNetError, match="is damaged"):
        DataRequest.parse("tfds:flowers").load(tmp_path)
