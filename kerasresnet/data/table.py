"""A CSV or Parquet file of paths and labels as a listing."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from kerasresnet.data.folder import PART_NAMES
from kerasresnet.data.listing import Listing, make_listing
from kerasresnet.data.pixels import shown
from kerasresnet.errors import UsageError, first_line

SUFFIXES = (".csv", ".parquet")
COLUMNS = ("path", "label")


def list_table(file: Path) -> Listing:
    """The pictures that `file` names: columns path, label and, if wanted, split (train, val, test).

    Paths are absolute or start from the file's own folder. Raises `UsageError` for a file that
    cannot be read, missing columns or values, an unknown part, a path given twice, or one where no
    file is.
    """
    columns = _read_csv(file) if file.suffix.lower() == ".csv" else _read_parquet(file)
    if missing := [name for name in COLUMNS if name not in columns]:
        raise UsageError(
            f"{shown(str(file))} has the columns {', '.join(columns) or 'none'}; it needs "
            f"{' and '.join(missing)} (a picture's path, its class), and split if it is divided"
        )
    parts = columns.get("split") or ["train"] * len(columns["path"])
    rows = []
    for line, (path, label, part) in enumerate(
        zip(columns["path"], columns["label"], parts, strict=True), start=1
    ):
        if not path or not label or part.strip().lower() not in PART_NAMES:
            raise UsageError(
                f"{shown(str(file))}, row {line}: path {path!r}, label {label!r}, split {part!r}; "
                "path and label must not be empty, and split is train, val or test"
            )
        rows.append((PART_NAMES[part.strip().lower()], file.parent / path, label))
    _check_paths([path for _, path, _ in rows], file)
    return make_listing(file, rows)


def _check_paths(paths: Sequence[Path], file: Path) -> None:
    (often, times), *_ = Counter(paths).most_common(1) or [(None, 0)]
    if times > 1:
        raise UsageError(f"{shown(str(file))} names {shown(str(often))} twice; take one row out")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        listed = ", ".join(shown(str(path)) for path in missing[:3])
        raise UsageError(
            f"{shown(str(file))} names {len(missing):,} pictures that are not there: {listed}"
            f"{more}; paths are absolute or start from {shown(str(file.parent))}"
        )


def _read_csv(file: Path) -> Mapping[str, list[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened, strict=True)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            found = list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from None
    return {name: [row[name] or "" for row in found] for name in names}


def _read_parquet(file: Path) -> Mapping[str, list[str]]:
    from pyarrow import parquet

    try:
        table = parquet.read_table(file)
    except Exception as error:  # whatever a damaged file makes pyarrow raise
        raise _unreadable(file, error) from None
    wanted = [name for name in table.column_names if name.lower() in (*COLUMNS, "split")]
    return {
        name.lower(): ["" if v is None else str(v) for v in table[name].to_pylist()]
        for name in wanted
    }


def _unreadable(file: Path, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or first_line(error)
    return UsageError(f"cannot read {shown(str(file))}: {reason}")
