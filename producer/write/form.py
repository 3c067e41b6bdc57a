"""In which form an export is written: the format, its compression, and how a table is laid out.

Knows names of formats and of files, not how a format is written.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from common.near_misses import did_you_mean
from contract.errors import UsageError

FORMATS = ("jsonl", "csv", "parquet", "openai")
TABLES = ("csv", "parquet")
EXPORT_EXTENSIONS = {
    "": "jsonl", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
COMPRESSION_EXTENSIONS = {".gz": "gz", ".zst": "zst"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportForm:
    """The form of one export."""

    format: str  # one of `FORMATS`
    compression: str  # gz, zst, or "" for none
    flat: bool = False  # each key of the metadata is a column
    for_spreadsheets: bool = False  # no cell can be taken for a formula


def parse_form(
    format: str | None, target: Path | None, *, flat: bool = False, for_spreadsheets: bool = False
) -> ExportForm:
    """The form of an export to `target`: the format asked for, else the one of the file's extension, else JSONL.

    Args:
        target: None = standard output.

    Raises:
        UsageError: there is no such format, it cannot be written there, or it cannot be laid out so.
    """
    if format is not None and format not in FORMATS:
        hint = did_you_mean(format, FORMATS, "use one of " + ", ".join(FORMATS))
        raise UsageError(f"--format {format}: is not an export format; {hint}")
    name = target.name.lower() if target else ""
    compression = COMPRESSION_EXTENSIONS.get(Path(name).suffix, "")
    extension = Path(Path(name).stem if compression else name).suffix
    if format is None and extension not in EXPORT_EXTENSIONS:
        raise UsageError(_unknown_extension(target, extension))
    form = ExportForm(
        format=format or EXPORT_EXTENSIONS[extension],
        compression=compression,
        flat=flat,
        for_spreadsheets=for_spreadsheets,
    )
    _check(form, target)
    return form


def _unknown_extension(target: Path | None, extension: str) -> str:
    written = ", ".join(filter(None, EXPORT_EXTENSIONS))
    return (
        f"-o {target}: Inkmill does not write {extension} files; end the name in one of {written} (.gz or .zst after "
        f"it compresses), or say with --format what to write: {', '.join(FORMATS)}"
    )


def _check(form: ExportForm, target: Path | None) -> None:
    if form.format == "parquet" and form.compression:
        raise UsageError(f"-o {target}: Parquet is already compressed; leave out .{form.compression}")
    if form.format == "parquet" and target is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("-o -: Parquet is binary; name a file, or redirect standard output")
    if form.flat and form.format not in TABLES:
        raise UsageError(f"--flat: makes columns of a CSV or Parquet file, and this is {form.format}; name such a file")
    if form.for_spreadsheets and form.format != "csv":
        raise UsageError(
            f"--for-spreadsheets: is for CSV, and this is {form.format}; leave it out, or name a .csv file"
        )
