"""Train a network by a recipe, evaluate it once on the test set, export it.

python -m kerasresnet.fit                                   real CIFAR-10, recipe quick
python -m kerasresnet.fit --recipe table1-06                a row of the report's Table 1
python -m kerasresnet.fit --spec BB2x64-BN2x100 --epochs 20
python -m kerasresnet.fit --resume runs/20260131-101500-quick
"""

from __future__ import annotations

from kerasresnet.command import exit_on_error, waiting_for
from kerasresnet.fit.options import parse_fit_options
from kerasresnet.fit.training import fit_command
from kerasresnet.machine import quiet_tensorflow


def main() -> None:
    with exit_on_error("kerasresnet.fit"):
        options = parse_fit_options()
        with waiting_for("TensorFlow to start"):
            quiet_tensorflow(options.verbose, training=True)
        fit_command(options)


if __name__ == "__main__":
    main()
