"""A disk that is full at any write: one clear error, nothing aside, and the run goes on later."""

import pytest
from small_disks import leave

from kerasresnet.disk import NoRoom
from kerasresnet.errors import KerasResNetError
from kerasresnet.fit.options import FitOptions
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run


class Bytes:
    def __init__(self, content):
        self.content = content

    def save_weights(self, file):
        file.write(self.content)

    save = save_weights


def write_epoch(run, epoch):
    rows = [{"epoch": n, "loss": 1.0} for n in range(1, epoch + 1)]
    run.save_model(Bytes(bytes(30_000)))
    run.write_metrics(rows)
    run.write_state(Bytes(bytes(60_000)), epoch, rows, average=Bytes(bytes(50_000)))
    run.update(status="finished")


def test_whatever_does_not_fit_is_named_and_what_was_there_stays(small_disk, tiny_recipe):
    run = Run.create(small_disk / "run", tiny_recipe, {"name": "tiny", "seed": 0})
    write_epoch(run, 1)
    named = set()
    for pages in range(0, 60, 2):
        leave(4096 * pages, small_disk)
        try:
            write_epoch(run, 2)
        except NoRoom as error:
            assert str(error).startswith(f"the disk is full: there is no room for {run.path}/")
            named.add(str(error).rpartition("/")[2].partition(";")[0])
        else:
            break
        assert not list(run.path.glob("aside-*"))
        for state in run.states():
            if state.record.is_file():
                state.check(run.metrics, averaged=True)
        assert {state.epoch for state in run.states()} >= {1}
        assert run.facts["name"] == "tiny" and len(run.metrics) in (1, 2)
    else:
        pytest.fail("it never had room")
    assert {"model.keras", "average-0002.weights.h5", "state-0002.weights.h5"} <= named
    assert [state.epoch for state in run.states()] == [2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("free", [12_000, 40_000, 80_000, 120_000, 200_000])
def test_a_training_on_a_full_disk_goes_on_once_there_is_room(free, small_disk):
    from kerasresnet.fit.training import fit_command

    run = small_disk / "run"
    recipe = Recipe(name="tiny", spec="stem4s4-BB1x4", epochs=2, batch_size=256, keep="last")
    leave(free, small_disk)
    asked = {"data": "digits", "export_dir": small_disk / "served", "force": True}
    with pytest.raises(KerasResNetError, match=r"disk is full|cannot write|No space"):
        fit_command(FitOptions(recipe, run_dir=run, **asked))
    (small_disk / "filler").unlink()
    if run.exists():
        assert not list(run.glob("aside-*"))
        fit_command(FitOptions(recipe, resume=run, **asked))
    else:
        fit_command(FitOptions(recipe, run_dir=run, **asked))
    assert all(Run.open(run).stages.values()) and len(Run.open(run).metrics) == 2
