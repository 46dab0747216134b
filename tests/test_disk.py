"""Files outlive kills, full disks and second processes."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from kerasresnet import disk
from kerasresnet.disk import check_writable
from kerasresnet.errors import KerasResNetError, UsageError


def held_elsewhere(file):
    """A process that holds the lock `file` until it is killed."""
    code = (
        "import pathlib, sys, time\nfrom kerasresnet.disk import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'refused'):\n"
        "    print('held', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_keeps_others_out_and_ends_with_its_process(tmp_path):
    file = tmp_path / "run.lock"
    process = held_elsewhere(file)
    with process:
        with pytest.raises(UsageError, match="is taken"), disk.locked(file, "it is taken"):
            pass
        process.kill()
    with disk.locked(file, "it is taken"):
        pass


def test_a_lock_is_taken_again_by_its_own_thread_only_if_it_is_reentrant(tmp_path):
    file = tmp_path / "run.lock"
    with disk.locked(file, "taken", wait=60.0, reentrant=True):
        with disk.locked(file, "taken", reentrant=True):
            pass
        with pytest.raises(UsageError), disk.locked(file, "taken"):  # still held by the outer one
            pass
    with disk.locked(file, "taken"), pytest.raises(UsageError), disk.locked(file, "taken"):
        pass


def test_a_lock_that_cannot_be_made_names_its_file(tmp_path):
    with (
        pytest.raises(KerasResNetError, match=r"cannot write .*/nowhere/x\.lock: No such file"),
        disk.locked(tmp_path / "nowhere" / "x.lock", "taken"),
    ):
        pass


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_aside(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    disk.write_json(path, {"epoch": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(disk.NoRoom, match=r"disk is full: there is no room for .*run\.json"):
            disk.write_json(path, {"epoch": 2})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
        with pytest.raises(disk.NoRoom):
            disk.write_json(path, {"epoch": 2})
    assert disk.read_json(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def refuses(number):
    def refused(dir):
        raise OSError(number, os.strerror(number), dir)

    return refused


def test_where_nothing_can_be_written_is_told_and_nothing_made(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b", "export")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "a"):
        with pytest.raises(UsageError, match=r"cannot make the export directory .*file is no dir"):
            check_writable(folder, "export")
    for number in (errno.EROFS, errno.EACCES):
        monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuses(number))
        told = os.strerror(number)
        with pytest.raises(UsageError, match=f"export directory .*: {tmp_path}: {told}"):
            check_writable(tmp_path / "a" / "b", "export")
    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuses(errno.ENOSPC))
    check_writable(tmp_path / "a" / "b", "export")  # told when something is written
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_disk_before_it_replaces_the_one_before(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda opened: (done.append("sync"), fsync(opened)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    disk.write_text(tmp_path / "a", "new")
    assert done == ["sync", "rename", "sync"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", "9" * 5_000])
def test_what_is_no_json_is_told_in_one_line(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(KerasResNetError, match=r"cannot read .*run\.json: ") as caught:
        disk.read_json(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_staged_folder_is_published_whole_or_vanishes(tmp_path):
    for target in ("first", "first"):
        with disk.staged(tmp_path, ".tmp-") as folder:
            (folder / "a").write_text(json.dumps(os.getpid()))
            published = disk.publish(folder, tmp_path / target)
    assert not published
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]


def test_what_killed_processes_staged_is_removed_and_what_living_ones_do_stays(tmp_path):
    code = (
        "import pathlib, sys, time\nfrom kerasresnet.disk import staged\n"
        "with staged(pathlib.Path(sys.argv[1]), '.tmp-') as folder:\n"
        "    print(folder, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        left = process.stdout.readline().strip()
        with disk.staged(tmp_path, ".tmp-"):
            assert os.path.isdir(left)
        process.kill()
    assert os.path.isdir(left)
    with disk.staged(tmp_path, ".tmp-"):
        assert not os.path.exists(left)
