"""What a list of people may be, as options: kind, sheets, columns, paths; and the reading of it.

``add(parser)``; ``listing(arguments)`` -> the ``Listing`` of ``arguments.source``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.voiceprint.sources import folder, names_json, table
from speakerlab.voiceprint.sources.listing import Listing
from speakerlab.voiceprint.sources.table import DELIMITERS, PRESETS, Layout

FOLDER, KALDI, EXCEL, CSV, JSON, NPZ = "folder", "kaldi", "excel", "csv", "json", "npz"
SUFFIXES = {
    ".xlsx": EXCEL, ".xlsm": EXCEL, ".xls": EXCEL, ".csv": CSV, ".tsv": CSV, ".txt": CSV, ".json": JSON,
    ".npz": NPZ,
}  # fmt: skip
_TABLES, _LISTS = {EXCEL, CSV}, {EXCEL, CSV, JSON}
# option -> kinds of source that it is for
_FOR = {
    "preset": {EXCEL}, "sheets": {EXCEL}, "skip_last_sheets": {EXCEL}, "header_rows": _TABLES,
    "name_column": _TABLES, "file_column": _TABLES, "path_template": _TABLES, "fill_down": _TABLES,
    "delimiter": {CSV}, "encoding": {CSV}, "root": _LISTS, "allow_outside": _LISTS | {FOLDER},
    "npz_model": {NPZ},
}  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """The source, and how it is to be read."""
    parser.add_argument(
        "source",
        type=Path,
        help="folder of SPEAKER/*.wav, Kaldi data dir, .xlsx, .xls, .csv, .tsv, .json, .npz",
    )
    parser.add_argument(
        "--kind",
        choices=(FOLDER, KALDI, EXCEL, CSV, JSON, NPZ),
        help="what SOURCE is; commands in a wav.scp run only with 'kaldi' (default: told by its name)",
    )
    group = parser.add_argument_group("tables")
    group.add_argument(
        "--preset",
        choices=PRESETS,
        help="meeting: a sheet a day, the last two sheets skipped, column 0 names the recording, column 5 "
        "the speaker, files ROOT/SHEET/wav/NAME.wav",
    )
    group.add_argument("--sheets", nargs="+", metavar="NAME", help="sheets to read (default: all)")
    group.add_argument("--skip-last-sheets", type=int, metavar="N", help="leave out N sheets at the end")
    group.add_argument(
        "--header-rows", type=int, metavar="N", help="rows above the first recording (default: 1)"
    )
    group.add_argument(
        "--name-column", metavar="COLUMN", help="number from 0, title, or letter (default: name)"
    )
    group.add_argument("--file-column", metavar="COLUMN", help="likewise, of the recording (default: path)")
    group.add_argument(
        "--path-template",
        metavar="TEXT",
        help="path of a recording, of {sheet} {file} {name} (default: {file})",
    )
    group.add_argument("--fill-down", action="store_true", help="an empty name is that of the row above")
    group.add_argument("--delimiter", help="between cells of a CSV file, or 'tab' (default: found out)")
    group.add_argument("--encoding", help="of a CSV file (default: utf-8)")
    group.add_argument("--root", help="folder where relative paths begin (default: that of the table)")
    group.add_argument(
        "--allow-outside", action="store_true", help="take recordings outside of this folder too"
    )


def kind_of(arguments: argparse.Namespace) -> str:
    """What the source is, by ``--kind`` or its name.

    Raises:
        DataError: it is not there, or nobody can tell; an option that is not for such a source.
    """
    path = arguments.source
    if not path.exists():
        raise DataError(path, "no such file or folder")
    is_data_dir = path.is_dir() and (path / "wav.scp").exists()
    told = (KALDI if is_data_dir else FOLDER) if path.is_dir() else SUFFIXES.get(path.suffix.lower())
    kind = arguments.kind or told
    if kind is None:
        raise DataError(path, "its name does not tell what it is", "give --kind")
    for name, kinds in _FOR.items():
        if getattr(arguments, name) not in (None, False) and kind not in kinds:
            raise SpeakerLabError(f"--{name.replace('_', '-')} is not for a source of kind {kind}")
    return str(kind)


def listing(arguments: argparse.Namespace, kind: str) -> Listing:
    """What the source lists; no recording is read.

    Raises:
        SpeakerLabError: a source that cannot be read, options that cannot be.
    """
    path, outside = arguments.source, arguments.allow_outside
    root = str(path.parent) if arguments.root is None else arguments.root
    if kind == FOLDER:
        return folder.folder(path, allow_outside=outside)
    if kind == KALDI:
        return folder.data_dir(path, run_commands=arguments.kind == KALDI)
    if kind == JSON:
        return names_json.read(path, root, allow_outside=outside)
    if kind == EXCEL:
        return table.read_workbook(path, _layout(arguments), root, allow_outside=outside)
    names = {name: sign for sign, name in DELIMITERS.items()}
    delimiter = names.get(arguments.delimiter, arguments.delimiter)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise SpeakerLabError(f"--delimiter is one character, or one of {', '.join(names)}")
    encoding = arguments.encoding or "utf-8"
    return table.read_csv(
        path, _layout(arguments), root, delimiter=delimiter, encoding=encoding, allow_outside=outside
    )


def _layout(arguments: argparse.Namespace) -> Layout:
    """The preset, or the default, with what was given in its place."""
    given: dict[str, Any] = {
        "name_column": arguments.name_column,
        "file_column": arguments.file_column,
        "header_rows": arguments.header_rows,
        "template": arguments.path_template,
        "sheets": None if arguments.sheets is None else tuple(arguments.sheets),
        "skip_last": arguments.skip_last_sheets,
        "fill_down": arguments.fill_down or None,
    }
    base = PRESETS[arguments.preset] if arguments.preset else Layout()
    return replace(base, **{name: value for name, value in given.items() if value is not None})
