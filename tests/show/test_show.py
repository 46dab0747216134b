"""A network layer by layer."""

import sys

import pytest
from hypothesis import given
from strategies import specs

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.show.__main__ import main, rows_of, spec_of


@given(specs(blocks=5))
def test_the_layers_add_up_to_the_network(spec):
    rows = list(rows_of(spec))
    assert sum(row[3] for row in rows) == count_parameters(spec)
    assert sum(row[4] for row in rows) == count_macs(spec)


def test_the_layers_are_those_that_keras_builds():
    from kerasresnet.network.build import build_model

    for text in ("BB1x8-BN2x4", "whiten2-BB2x8m-BN1x4", "stem4s2-BN1x4m-BB1x8k5p3"):
        spec = ResNetSpec.from_text(text)
        model = build_model(spec)
        built = {
            layer.name.replace("_conv", " conv").replace("_block", " block"): layer
            for layer in model.layers
            if "_conv" in layer.name
        }
        shown = [row for row in rows_of(spec) if row[0] not in ("stem", "head")]
        assert len(shown) == len(built) - 1  # the stem
        for name, what, size, *_ in shown:
            stack, block, _, layer = name.split()
            key = "_shortcut conv" if layer == "shortcut" else f" {layer}"
            conv = built[f"{stack} {block}{key}"]
            assert f"{conv.kernel_size[0]}×{conv.kernel_size[1]}" in what
            assert size.endswith(f"×{conv.filters}")


def test_a_network_is_a_spec_a_row_of_table_1_a_recipe_or_a_file(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('spec = "BB1x8"\nepochs = 1\n')
    assert str(spec_of("BB1x8")) == str(spec_of(str(own))) == "BB1x8"
    assert spec_of("table1-06") == ResNetSpec.named("table1-06")
    assert str(spec_of("speedrun94")).startswith("whiten2-")
    with pytest.raises(UsageError, match="unknown block type"):
        spec_of("BX1x8")


def show(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["show", *map(str, arguments)])
    main()


def test_the_whole_is_held_to_the_limit(monkeypatch, capsys):
    show(monkeypatch, "BB1x8", "--max-params", "1k")
    over = count_parameters(ResNetSpec.from_text("BB1x8")) - 1000
    assert f"BB1x8: {over:,} over the limit of 1,000 parameters" in capsys.readouterr().out
    show(monkeypatch, "BB1x8")
    assert "of the limit of 5,000,000 parameters" in capsys.readouterr().out


def test_it_draws_a_picture(monkeypatch, capsys, tmp_path):
    show(monkeypatch, "BB1x8", "--picture", tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text("utf-8").lstrip().startswith("<?xml")


@pytest.mark.parametrize("name", ["net.gif", "nowhere/net.png"])
def test_a_picture_that_cannot_be_is_refused_first(monkeypatch, capsys, tmp_path, name):
    with pytest.raises(SystemExit) as stop:
        show(monkeypatch, "BB1x8", "--picture", tmp_path / name)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert "--picture is a .png or .svg file" in printed.err
    assert printed.out == ""
