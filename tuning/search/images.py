"""The images of a search: one split for all trials, made once and then only opened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kerasresnet.data import DataRequest, ImageData, train_val_split
from kerasresnet.data.pipeline import Part
from kerasresnet.data.statistics import Statistics, channel_statistics
from kerasresnet.data.stored import Images, chunks_of, open_images, write_images
from kerasresnet.disk import cannot_write, checksum, publish, read_json, staged, write_json
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.network.spec import ResNetSpec
from tuning.search.project import Project, Settings

PARTS = ("x_train", "y_train", "x_val", "y_val")
FILES = (*(f"{part}.npy" for part in PARTS), "labels.json", "statistics.json")


class SearchImages(NamedTuple):
    """Images uint8 [N, H, W, C] and labels int32 [N] to train on and to score on; class names."""

    train: Part
    val: Part
    class_names: tuple[str, ...]
    statistics: Statistics | None = None  # what networks normalise by, unless CIFAR-10's


def search_images(project: Project, data_dir: Path | None = None) -> SearchImages:
    """The images of `project`, from its own folder or, at the first call, from the data set.

    Trials are scored on a slice of the training images; the test set is never loaded here. Raises
    `UsageError` where the data set has too few images, or the base recipe cannot take them.
    """
    folder = project.path / "images"
    if not folder.is_dir():
        base = project.space.base
        settings = project.settings
        data = DataRequest.from_facts(settings.data, settings.data_settings).load(data_dir)
        arrays = _split(data, settings, base.images_for_a_batch, base.spec)
        statistics = channel_statistics(arrays[0]) if data.own_statistics else None
        try:
            _store(arrays, data.class_names, statistics, folder)
        except OSError as error:
            raise cannot_write(folder, error) from None
    try:
        x_train, x_val = (open_images(folder / f"{x}.npy") for x in ("x_train", "x_val"))
        y_train, y_val = (np.load(folder / f"{y}.npy", mmap_mode="r") for y in ("y_train", "y_val"))
        class_names = tuple(read_json(folder / "labels.json"))
        found = folder / "statistics.json"
        statistics = Statistics(**read_json(found)) if found.is_file() else None
    except (KerasResNetError, OSError, ValueError, TypeError, EOFError) as error:
        raise _damaged(folder, first_line(error)) from None
    return SearchImages((x_train, y_train), (x_val, y_val), class_names, statistics)


def prepare_images(project: Project, data_dir: Path | None = None) -> None:
    """Make the images of `project`, or check that those there are what was made, byte for byte.

    Once for each start of a search, not for each trial. Raises what `search_images` does, and
    `KerasResNetError` where they are not, or where the data set no longer gives them.
    """
    folder = project.path / "images"
    there, wanted = folder.is_dir(), project.image_sums
    if not there or wanted is None:
        search_images(project, data_dir)
    sums = {name: checksum(folder / name) for name in FILES if (folder / name).is_file()}
    if wanted is None or not (there or project.started):
        project.keep_image_sums(sums)
        return
    others = [name for name in FILES if sums.get(name) != wanted.get(name)]
    if others and there:
        raise _damaged(folder, f"{others[0]} is not what search.json has the checksum of")
    if others:
        shutil.rmtree(folder)
        raise KerasResNetError(
            f"the data set no longer gives the images that the search in {project.path} began with "
            f"({others[0]} is another); put it back as it was, or begin again with --overwrite"
        )


def _damaged(folder: Path, told: str) -> KerasResNetError:
    return KerasResNetError(
        f"the images in {folder} are damaged ({told}); delete that folder, and the same command "
        "makes them again"
    )


def _split(data: ImageData, settings: Settings, least: int, spec: ResNetSpec) -> tuple[Images, ...]:
    """x and y to train on, at `least` so many, and to score on; every class in proportion."""
    if tuple(spec.input_shape) != data.image_shape or spec.classes != data.num_classes:
        shape = "x".join(map(str, data.image_shape))
        raise UsageError(
            f"{data.name} has images of {shape} in {data.num_classes} classes, and the base recipe "
            f"is for another shape; choose one whose spec says in{shape}-classes{data.num_classes}"
        )
    there = len(data.x_train) - settings.val_images
    wanted = there if settings.train_images is None else settings.train_images
    if settings.val_images < spec.classes or there < max(least, spec.classes):
        raise UsageError(
            f"--val-images is at least one of each class ({spec.classes:,}) and leaves at least "
            f"one batch ({least:,}) of the {len(data.x_train):,} training images of "
            f"{data.name}, received {settings.val_images:,}"
        )
    most = there - spec.classes  # a stratified split leaves one of each class out, or nothing
    if wanted != there and not max(least, spec.classes) <= wanted <= most:
        raise UsageError(
            f"--train-images is from one batch ({least:,}) to {most:,}, or all {there:,} that "
            f"{settings.val_images:,} validation images leave of {data.name}, received {wanted:,}"
        )
    train, val = train_val_split(data.x_train, data.y_train, settings.val_images, settings.seed)
    if wanted < there:
        train, _ = train_val_split(*train, there - wanted, settings.seed)
    return *train, *val


def _store(
    arrays: tuple[Images, ...],
    class_names: tuple[str, ...],
    statistics: Statistics | None,
    folder: Path,
) -> None:
    """Write the arrays aside, then rename: a kill leaves all of them or none."""
    with staged(folder.parent, "aside-images-") as aside:
        for name, array in zip(PARTS, arrays, strict=True):
            file = aside / f"{name}.npy"
            if name.startswith("x"):
                write_images(file, chunks_of(array), array.shape)
            else:
                np.save(file, array)
        write_json(aside / "labels.json", list(class_names))
        if statistics:
            write_json(aside / "statistics.json", statistics._asdict())
        publish(aside, folder)
