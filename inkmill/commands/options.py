"""The options that several commands share, and the sampling settings as flags, made from their one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import UsageError
from contract.policy import ScoreBy, read_score_by
from contract.spec import DEVICE_CHOICES, DTYPE_CHOICES

if TYPE_CHECKING:
    from contract.sampling import Setting

Command = Callable[..., Any]
SAMPLING_PANEL = "Sampling settings (a row's own values take precedence)"
RETRY_PANEL = "Sampling settings of dead prompts (instead of a row's own)"
JOB_PANEL = "Model and safety"
FILE_PANEL = "Reading the prompt file"
MORE_THAN_ONCE = "may be given more than once"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="demo, your own model's name, a Hub id, a model's or an adapter's folder, or a GGUF file; for example "
        "--model gpt2 or --model ./my-model. [default: gpt2]",
        rich_help_panel=JOB_PANEL,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="REV",
        help="A branch, a tag or a commit of a model of the Hub; --model NAME@REV says the same; for example "
        "--revision v1.0. [default: the main branch]",
        rich_help_panel=JOB_PANEL,
    ),
]
Safety = Annotated[
    str | None,
    typer.Option(
        "--safety",
        help="original, unbiased, multilingual, original-small, unbiased-small, demo, a checkpoint's path, or none; "
        "for example --safety unbiased. [default: original]",
        rich_help_panel=JOB_PANEL,
    ),
]
ScoringBy = Annotated[
    str | None,
    typer.Option(
        "--score-by",
        metavar="WHAT",
        help="window, or sentence: each sentence is scored by itself, and a text has the highest score of each label; "
        "for example --score-by sentence. [default: window]",
        rich_help_panel=JOB_PANEL,
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="LABEL=X",
        help="Flag scores of at least X, from 0 to 1; may be given more than once; for example --threshold insult=0.5. "
        "[default: 0.7 for every label]",
        rich_help_panel=JOB_PANEL,
    ),
]
BlocklistFile = Annotated[
    Path | None,
    typer.Option(
        "--blocklist",
        metavar="FILE",
        help="Words that flag a text, one per line; toad* for what begins so; for example --blocklist words.txt. "
        "[default: none]",
        rich_help_panel=JOB_PANEL,
    ),
]
OnFlag = Annotated[
    str,
    typer.Option(
        "--on-flag",
        help="keep, or redact: exports leave out the text of flagged rows; for example --on-flag redact.",
        rich_help_panel=JOB_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", help=f"{DEVICE_CHOICES}; for example --device cpu. [default: auto]", rich_help_panel=JOB_PANEL
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help=f"{DTYPE_CHOICES}; for example --dtype fp32. [default: auto]", rich_help_panel=JOB_PANEL
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="The job's seed, from 0 to 2**53 - 1; for example --seed 42. [default: drawn at random and printed]",
        min=0,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="The name under which the job is listed; for example --name night-1. [default: the file's]"
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Submit the good lines; write the bad ones to a file next to the input.")
]
Again = Annotated[bool, typer.Option("--again", help="Make a new job even if the same was submitted before.")]
AllowEmpty = Annotated[bool, typer.Option("--allow-empty", help="Accept an empty input, write an empty export.")]
Form = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="jsonl, csv, tsv, parquet, xlsx, txt or openai; for example --form csv. [default: what "
        "its name and contents tell]",
        rich_help_panel=FILE_PANEL,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the cells of a table: , ; | or tab; for example --delimiter tab. "
        "[default: what the header "
        "tells]",
        rich_help_panel=FILE_PANEL,
    ),
]
PromptColumn = Annotated[
    str,
    typer.Option(
        "--prompt-column",
        metavar="NAME",
        help="Where the prompts are; for example --prompt-column text.",
        rich_help_panel=FILE_PANEL,
    ),
]
IdColumn = Annotated[
    str,
    typer.Option(
        "--id-column",
        metavar="NAME",
        help="Where the custom_ids are; for example --id-column doi.",
        rich_help_panel=FILE_PANEL,
    ),
]
MetadataColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata-column",
        metavar="NAME",
        help="Keep a column as data though it is named like a setting; may be given more than once; for example "
        "--metadata-column length. [default: none]",
        rich_help_panel=FILE_PANEL,
    ),
]
EmptyPrompts = Annotated[
    bool,
    typer.Option("--empty-prompts", help="Write texts from nothing for empty cells.", rich_help_panel=FILE_PANEL),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="TEXT",
        help="The system message of rows that have none; plain prompts become the user's message. Needs a model with a "
        "chat template; for example --system 'Answer in one sentence.' [default: none]",
        rich_help_panel=FILE_PANEL,
    ),
]
Out = Annotated[
    str | None,
    typer.Option("-o", "--out", metavar="FILE", help="Where to write; - is standard output; for example -o texts.csv."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the -o file even if it is not an earlier export of this job.")
]
ExportFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="jsonl, csv, parquet or openai; for example --format csv. [default: by file extension; jsonl without one]",
    ),
]
Only = Annotated[
    str,
    typer.Option(
        "--only",
        metavar="WHICH",
        help="clean, approved, flagged or all; separate several with commas; for example --only clean,approved.",
    ),
]

Without = Annotated[
    str,
    typer.Option(
        "--without",
        metavar="FLAWS",
        help="Leave out texts that are empty, cut (they ended at a length) or repeating (they end in the same piece "
        "again and again); separate several with commas; for example --without empty,cut. [default: none]",
    ),
]
Flat = Annotated[bool, typer.Option("--flat", help="CSV and Parquet: make each key of the metadata a column.")]
ForSpreadsheets = Annotated[
    bool,
    typer.Option(
        "--for-spreadsheets",
        help="CSV: put ' before what a spreadsheet would run as a formula, and a byte order mark first.",
    ),
]

_FLAG_TYPES: dict[str, Any] = {"do_sample": bool, "stop": list[str], "bad_words": list[str]}
"""The type of those sampling flags that are not read as text first, so that one table tells what is wrong with any."""
_FLAG_METAVARS = {
    "stop": "TEXT",
    "bad_words": "TEXT",
    "bad_words_match": "HOW",
    "on_too_long": "HOW",
    "logit_bias": "JSON",
}
"""What stands for the value of those that take no number."""


def checked_score_by(value: str) -> ScoreBy:
    """Raises UsageError where it is neither."""
    try:
        return read_score_by(value)
    except ValueError as error:
        raise UsageError(f"--score-by: {error}") from None


def or_default(said: str | None, default: str) -> str:
    """What was said on the command line; an empty word was said too, and is refused where it is read."""
    return default if said is None else said


def model_to_load(named: str, revision: str | None) -> str:
    """A model that this command loads, checked; with a word where a folder of that name lies here."""
    from contract.names import checked_model, folder_of_that_name
    from inkmill.show.terminal import messages

    model = checked_model(named, revision)
    if beside := folder_of_that_name(model):
        messages.print(f"note: {beside}", markup=False)
    return model


def _flags(name: str, panel: str) -> list[inspect.Parameter]:
    """A setting's flag, and a hidden one for each alias."""
    from contract.sampling import SETTINGS

    setting = SETTINGS[name]
    shown = "--do-sample/--no-do-sample" if name == "do_sample" else _flag_name(name)
    metavar = None if name == "do_sample" else _FLAG_METAVARS.get(name, "N")
    option = typer.Option(shown, metavar=metavar, help=_explained(setting), rich_help_panel=panel, show_default=False)
    hidden = [(alias, typer.Option(_flag_name(alias), hidden=True)) for alias in setting.aliases]
    return [
        inspect.Parameter(
            name_or_alias,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_FLAG_TYPES.get(name, str) | None, how],
        )
        for name_or_alias, how in [(name, option), *hidden]
    ]


def _explained(setting: Setting) -> str:
    """A setting with its range, its default, an example and its other names."""
    from contract.spec import SamplingSettings

    default = getattr(SamplingSettings(), setting.name)
    example = f"; for example {_flag_name(setting.name)} {setting.example}" if setting.example else ""
    more = f"; {MORE_THAN_ONCE}" if setting.name in ("stop", "bad_words") else ""
    also = f". Also {', '.join(map(_flag_name, setting.aliases))}" if setting.aliases else ""
    span = f" ({setting.range})" if setting.example else ""
    return f"{setting.help}{span}{more}{example}{also}. [default: {_shown(default)}]"


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "--do-sample"
    return f"{default:g}" if isinstance(default, float) else str(default or 0) if default != () else "none"


def _flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def gather_options(name: str, build: Command) -> Callable[[Command], Command]:
    """Adds all options of `build` to a command, which receives what `build` returns as its argument `name`."""
    options = list(inspect.signature(build, eval_str=True).parameters.values())

    def decorate(command: Command) -> Command:
        remaining = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != name]

        def wrapper(**values: Any) -> Any:
            built = build(**{option.name: values.pop(option.name) for option in options})
            return command(**{name: built}, **values)

        return _signed(wrapper, command, [*remaining, *options])

    return decorate


def _signed(wrapper: Command, command: Command, parameters: list[inspect.Parameter]) -> Command:
    """`wrapper` with the command's name, docstring and those parameters, from which Typer makes its options."""
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in keyword}
    return wrapper


def _typed_number(value: Any) -> Any:
    """A flag's value as a number, if it is one."""
    for kind in (int, float):
        with suppress(ValueError, TypeError):
            return kind(value) if isinstance(value, str) else value
    return value


def sampling_flags(panel: str = SAMPLING_PANEL) -> Command:
    """Every sampling setting as a flag, checked. Not a row's `seed`: `--seed` is the job's."""
    from contract.sampling import SETTINGS

    def build(**values: Any) -> dict[str, Any]:
        return read_flags(values)

    flags = [flag for name in SETTINGS if name != "seed" for flag in _flags(name, panel)]
    return _signed(build, build, flags)


def read_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Sampling flags as settings by canonical name; flags that were not set are left out.

    Raises:
        UsageError: naming each flag that cannot be used.
    """
    import orjson

    from common.exact_numbers import inexact_number
    from contract.errors import SettingsError
    from contract.sampling import TYPED_TEXTS, read_settings, typed_text

    set_flags = {name: _typed_number(value) for name, value in values.items() if value not in (None, [])}
    for name in set_flags.keys() & set(TYPED_TEXTS):
        set_flags[name] = [typed_text(text) for text in set_flags[name]]
    if "logit_bias" in set_flags:
        try:
            number = inexact_number(set_flags["logit_bias"])
            set_flags["logit_bias"] = orjson.loads(set_flags["logit_bias"])
        except orjson.JSONDecodeError:
            raise UsageError("--logit-bias: must be a JSON object, for example '{\"198\": -100}'") from None
        if number is not None:
            raise UsageError(f"--logit-bias: {number.path} {number}")
    try:
        return read_settings(set_flags)
    except SettingsError as error:
        flags = "; ".join(f"{_flag_name(problem.field)}: {problem.message}" for problem in error.problems)
        raise UsageError(flags) from None
