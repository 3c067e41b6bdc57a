"""Which column of a table is the prompt, the custom_id, a setting, or metadata.

Knows names and cells, not the files they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from common.near_misses import one_letter_off
from common.wording import counted
from contract.errors import Problem, UsageError
from contract.sampling import CANONICAL, MAX_LENGTH, parse_cell
from producer.chat import EXAMPLE
from producer.read.contents import DELIMITERS
from producer.read.field_names import field_of, merge_metadata
from producer.read.formats.jsonl import check_duplicate_names, check_numbers, read_object
from producer.read.read_options import ReadOptions
from producer.read.row_parser import FIELD_NAMES, MAX_NAME, BadRow, printable, type_name

MAX_COLUMNS = 1000
MAX_COLUMN_NAME = 512  # characters; a name is stored with every row that has a value in its column
MAX_NAMES_IN_NOTE = 20  # column names in one note
TAB = "\t"
MESSAGES = "messages"
EMPTY = (None, "")
"""Cells that count as absent."""
NO_PROMPT = Problem("prompt", "is empty; remove the row, or take empty cells for empty prompts with --empty-prompts")
MISSING_VALUES = frozenset(
    """
    nan NaN NAN -nan -NaN NaT 1.#IND -1.#IND 1.#QNAN -1.#QNAN None none null Null NULL <NA> NA N/A n/a
    #N/A #NA #NAME? #NULL! #NUM! #REF! #VALUE! #DIV/0! #SPILL! #CALC! #GETTING_DATA
    """.split()  # noqa: SIM905  (a list of that many literals is harder to read)
)
"""What pandas, R, databases and spreadsheets write into cells that have no value, or none that could be computed."""


class Columns:
    """The columns of one table, and what each one holds.

    There must be a column with the prompts, unless the table has only one column. Columns that are not fields of a row
    become metadata; a name one letter off from that of a field is taken for a mistake.

    Raises:
        UsageError: a name is one letter off from a field's, is used twice or is too long, a column that is asked for or
            that holds the prompts is missing, or there are too many columns.
    """

    def __init__(self, names: Sequence[str], source: str, options: ReadOptions, *, as_exported: bool = False) -> None:
        """
        Args:
            as_exported: every cell of a prompt or a custom_id stands for itself, since an export wrote it.
        """
        self._as_exported = as_exported
        if len(names) > MAX_COLUMNS:
            raise UsageError(
                f"{source}: has {len(names):,} columns, but at most {MAX_COLUMNS:,} are read; leave out the rest"
            )
        self.notes: list[str] = []
        self._options = options
        self._names = [name or f"column {number}" for number, name in enumerate(names, 1)]
        if len(names) == 1 and names[0] not in FIELD_NAMES and options.prompt_column == "prompt":
            self._take_single(names[0], source)
        problems = [
            *_overlong_names(self._names),
            *_duplicate_names(self._names),
            *_near_misses(self._names, options),
            *_missing_columns(self._names, options),
        ]
        if problems:
            raise UsageError(f"{source}: " + "\n  ".join(problems))
        self._fields = [_field_held(name, options) for name in self._names]
        self._messages_at = self._fields.index(MESSAGES) if MESSAGES in self._fields else None
        self._note_roles()

    def _take_single(self, name: str, source: str) -> None:
        delimiter = next((each for each in DELIMITERS if each in name), None)
        if delimiter is not None:
            raise UsageError(
                f"{source}: the header is one column, {printable(name)!r}; name what separates the columns, "
                f"for example with --delimiter {'tab' if delimiter == TAB else repr(delimiter)}"
            )
        self.notes.append(
            f"the only column, {printable(name)!r}, is read as the prompt, and the first line as its name"
        )
        self._names = ["prompt"]

    def _note_roles(self) -> None:
        roles = list(zip(self._names, self._fields, strict=True))
        settings = [name for name, field in roles if field in CANONICAL]
        kept = [name for name, field in roles if field is None]
        if settings:
            self.notes.append(
                f"columns read as settings: {_name_list(settings)}; --metadata-column NAME keeps one as data"
            )
        if kept:
            self.notes.append(f"columns kept as metadata: {_name_list(kept)}")

    def fields(self, cells: Sequence[object]) -> dict[str, Any]:
        """The fields of one record. An empty cell or None counts as absent, and so does one of the prompts' column.

        Args:
            cells: text, or parsed values.

        Raises:
            BadRow: there are more or fewer cells than columns, a cell holds what programs write for a missing value, or
                the metadata cannot be read.
        """
        self.check_count(cells, self._names)
        fields: dict[str, Any] = {}
        metadata: dict[str, object] = {}
        has_messages = self._messages_at is not None and cells[self._messages_at] not in EMPTY
        for name, field, cell in zip(self._names, self._fields, cells, strict=True):
            if field == "prompt" and has_messages and (self._as_exported or cell in EMPTY):
                continue  # an export says there what the messages became
            if field == "prompt":
                fields[field] = self._prompt(cell)
            elif cell in EMPTY:
                continue
            elif field is None:
                metadata[name] = cell
            else:
                fields[field] = cell if self._as_exported and field == "custom_id" else _value(field, cell)
        if metadata:
            fields["metadata"] = merge_metadata(fields.get("metadata"), metadata)
        return fields

    def begin(self) -> None:
        """The table is read from its first row."""

    @staticmethod
    def check_count(cells: Sequence[object], names: Sequence[str]) -> None:
        """Checks that a record has a cell for each column.

        Raises:
            BadRow: it has more or fewer.
        """
        if len(cells) != len(names):
            raise BadRow(
                Problem(
                    "",
                    f"has {counted(len(cells), 'cell')}, but the header has {counted(len(names), 'column')}; "
                    "quote cells that contain commas or line breaks",
                )
            )

    def _prompt(self, cell: object) -> object:
        if self._as_exported:
            return cell or ""
        if cell is None or cell == "":
            if not self._options.empty_prompts:
                raise BadRow(NO_PROMPT)
            return ""
        _check_present("prompt", cell)
        return cell


class DataColumns:
    """The columns of a corpus: whatever they are called, each cell is given as it stands.

    Raises:
        UsageError: two have the same name.
    """

    def __init__(self, names: Sequence[str], source: str) -> None:
        self.names = [name or f"column {number}" for number, name in enumerate(names, 1)]
        self.notes: list[str] = []
        if problems := list(_duplicate_names(self.names)):
            raise UsageError(f"{source}: " + "\n  ".join(problems))

    def fields(self, cells: Sequence[object]) -> dict[str, Any]:
        """The cells of one record by the names of their columns.

        Raises:
            BadRow: there are more or fewer cells than columns.
        """
        Columns.check_count(cells, self.names)
        return dict(zip(self.names, cells, strict=True))

    def begin(self) -> None:
        """The table is read from its first row."""


def _value(field: str, cell: object) -> object:
    """What a cell that is not empty means for `field`."""
    if field == "metadata":
        return _metadata_object(cell)
    if field == MESSAGES:
        return message_list(cell)
    if field not in CANONICAL:
        _check_present(field, cell)
        return cell
    if not isinstance(cell, str):
        return cell
    value = parse_cell(CANONICAL[field], cell)
    if not isinstance(value, str):
        check_numbers(cell, field)
    return value


def _check_present(field: str, cell: object) -> None:
    """Refuses what programs write for a missing value: nobody wants a text that goes on from it."""
    if isinstance(cell, str) and cell.strip() in MISSING_VALUES:
        raise BadRow(
            Problem(
                field,
                f"is {cell.strip()!r}, which programs write for a missing value; remove the row, or write it in JSON "
                "lines if it is meant",
            )
        )


def _metadata_object(cell: object) -> dict[str, object]:
    value = cell
    if isinstance(cell, str):
        try:
            value = orjson.loads(cell)
        except orjson.JSONDecodeError:
            raise BadRow(Problem("metadata", 'must be a JSON object, for example {"topic": "sea"}')) from None
    if not isinstance(value, dict):
        raise BadRow(Problem("metadata", f"must be a JSON object, not {type_name(value)}"))
    return read_object(cell.encode(), "metadata") or {} if isinstance(cell, str) else value


def message_list(cell: object) -> object:
    """The messages in a cell, which may be text in JSON.

    Raises:
        BadRow: it is no JSON.
    """
    if not isinstance(cell, str):
        return cell
    try:
        messages = orjson.loads(cell)
    except orjson.JSONDecodeError:
        raise BadRow(Problem(MESSAGES, f"must be a list in JSON, for example {EXAMPLE}")) from None
    check_duplicate_names(cell.encode())
    return messages


def _field_held(name: str, options: ReadOptions) -> str | None:
    """The field that a column holds; None if it is metadata."""
    field = field_of(name, options)
    return field if field in FIELD_NAMES else None


def _near_misses(names: Sequence[str], options: ReadOptions) -> Iterable[str]:
    """What to ask about names that are probably mistyped."""
    # A column "message" is data more often than a slip.
    fields = [field for field in FIELD_NAMES if field not in (*options.renames.values(), MESSAGES)]
    for name in names:
        if field_of(name, options) != name or name in FIELD_NAMES or len(name) > MAX_NAME:
            continue
        shown = printable(name)
        if name == "max_length":
            yield f"column 'max_length' {MAX_LENGTH}, or keep it as data with --metadata-column max_length"
        elif (near := one_letter_off(name, fields)) is not None:
            or_name_it = f"say --prompt-column {shown!r}, " if near == "prompt" else ""
            yield (
                f"column {shown!r} looks like {near!r}; rename it to that, {or_name_it}"
                f"or keep it as data with --metadata-column {shown!r}"
            )


def _missing_columns(names: Sequence[str], options: ReadOptions) -> Iterable[str]:
    shown = f"Columns: {_name_list(names)}"
    asked = [("--prompt-column", options.prompt_column), ("--id-column", options.id_column)]
    asked += [("--metadata-column", name) for name in options.metadata_columns]
    for option, name in asked:
        if name not in names and name not in ("prompt", "custom_id"):
            yield f"no column is named {printable(name)!r}, which {option} names. {shown}"
    if options.prompt_column == "prompt" and "prompt" not in names and not _has_messages(names, options):
        yield (
            "no column is named 'prompt'; rename the one with the prompts, or name it with --prompt-column NAME. "
            f"{shown}"
        )


def _has_messages(names: Sequence[str], options: ReadOptions) -> bool:
    return MESSAGES in (_field_held(name, options) for name in names)


def _overlong_names(names: Sequence[str]) -> Iterable[str]:
    return [
        f"column {printable(name)!r} has a name of {len(name):,} characters; shorten it to at most {MAX_COLUMN_NAME}"
        for name in names
        if len(name) > MAX_COLUMN_NAME
    ]


def _duplicate_names(names: Sequence[str]) -> Iterable[str]:
    counts = {name: names.count(name) for name in dict.fromkeys(names)} if len(set(names)) < len(names) else {}
    return [
        f"column {printable(name)!r} appears {count} times; rename all but one"
        for name, count in counts.items()
        if count > 1
    ]


def _name_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_IN_NOTE:,} more" if len(names) > MAX_NAMES_IN_NOTE else ""
    return ", ".join(map(printable, names[:MAX_NAMES_IN_NOTE])) + more
