"""What can be asked for by name."""

import pytest

from kerasresnet.augment.policy import STEPS, parse_step
from kerasresnet.data.catalog import DATASETS
from kerasresnet.list.__main__ import LISTS, print_list
from kerasresnet.network.spec import NAMED_SPECS
from kerasresnet.recipe import OPTIMIZERS, Recipe


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_has_all_of_its_columns_in_every_row(kind, capsys):
    columns, *rows = LISTS[kind]()
    assert rows
    assert {len(row) for row in rows} == {len(columns)}
    print_list(kind)
    printed = capsys.readouterr().out
    assert all(row[0].split("(")[0] in printed for row in rows)


def test_the_names_are_those_that_the_flags_take():
    first = {kind: [row[0] for row in list(LISTS[kind]())[1:]] for kind in LISTS}
    assert first["recipes"] == Recipe.names()
    assert first["specs"] == list(NAMED_SPECS)
    assert first["data"] == list(DATASETS)
    assert first["optimizers"] == list(OPTIMIZERS)
    assert {type(parse_step(text)) for text in first["augmentations"]} == set(STEPS.values())
