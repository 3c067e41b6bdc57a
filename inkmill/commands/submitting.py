"""`run` and `submit`: submitting a prompt file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contract.errors import UsageError
from contract.policy import NO_SAFETY, ScoreBy
from contract.spec import DEVICE_CHOICES, DTYPE_CHOICES, DTYPES
from inkmill.commands import options as o

if TYPE_CHECKING:
    from contract.settings import Settings
    from db.session.engine import Database
    from producer.submit import SubmittedJob

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="JSONL, OpenAI batch JSONL, CSV, TSV, Parquet or TXT; .gz and .zst too; - is stdin."
    ),
]


def register(app: typer.Typer) -> None:
    with_settings = o.gather_options("sampling", o.sampling_flags())(_order)
    ordering = o.gather_options("order", o.gather_options("reading", _reading)(with_settings))
    app.command()(ordering(run))
    app.command()(ordering(submit))


def run(
    file: File,
    order: Any,
    out: o.Out = None,
    format: o.ExportFormat = None,
    only: o.Only = "all",
    without: o.Without = "",
    flat: o.Flat = False,
    for_spreadsheets: o.ForSpreadsheets = False,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Submit FILE, generate, score and export. Starts what is missing.

    Run the same file and settings again to resume. Ctrl-C detaches; the work continues.
    """
    from inkmill.run import RunCommand
    from inkmill.startup import settings_and_database

    if json and out == "-":
        raise UsageError("--json and -o -: both need standard output; write the export to a file")
    config, database = settings_and_database()
    target = Path(out) if out else None
    command = RunCommand(config, database, order)
    raise typer.Exit(
        command.run(
            file, target, format=format, only=only, without=without, flat=flat, for_spreadsheets=for_spreadsheets,
            json=json, force=force,
        )
    )  # fmt: skip


def submit(
    file: File,
    order: Any,
    json: o.Json = False,
) -> None:
    """Submit FILE and print the job's id; workers do the rest."""
    from inkmill.show.display import print_json
    from inkmill.show.summary import print_submitted
    from inkmill.show.terminal import messages, output
    from inkmill.startup import settings_and_database
    from producer.read.prompt_file import open_prompt_file
    from producer.submit import submit as submit_file

    config, database = settings_and_database()
    with open_prompt_file(file, order.reading) as prompts:
        for note in prompts.notes:
            messages.print(f"note: {note}", markup=False)
        submitted = submit_file(database, prompts, order)
    print_submitted(prompts, submitted)
    _warn(config, database, submitted)
    if json:
        print_json(
            {
                "id": submitted.job_id,
                "prompts": submitted.prompts,
                "outputs": submitted.outputs,
                "seed": submitted.seed,
                "bad_lines": submitted.bad_lines,
                "too_long": submitted.too_long,
            }
        )
    else:
        output.print(str(submitted.job_id), markup=False)


def _warn(config: Settings, database: Database, submitted: SubmittedJob) -> None:
    from contract.waiting.surroundings import Surroundings
    from db.jobs.status import snapshot
    from db.jobs.waiting import waiting_for
    from inkmill.show.terminal import messages

    if submitted.queue_error and not config.embedded:
        messages.print(
            f"warning: {submitted.queue_error}; the job is stored and starts automatically once Redis is back",
            markup=False,
        )
    waiting = waiting_for(database, snapshot(database, submitted.job_id), Surroundings())
    if waiting:
        messages.print(f"warning: job {submitted.job_id} is waiting for {waiting}", markup=False)


def _reading(
    form: o.Form = None,
    delimiter: o.Delimiter = None,
    prompt_column: o.PromptColumn = "prompt",
    id_column: o.IdColumn = "custom_id",
    metadata_column: o.MetadataColumn = None,
    empty_prompts: o.EmptyPrompts = False,
    system: o.System = None,
) -> Any:
    """How the user wants the prompt file to be read, checked."""
    from producer.read.read_options import ReadOptions, parse_delimiter

    return ReadOptions(
        form=form,
        delimiter=parse_delimiter(delimiter),
        prompt_column=prompt_column,
        id_column=id_column,
        metadata_columns=tuple(metadata_column or ()),
        empty_prompts=empty_prompts,
        system=system,
    )


def _order(
    sampling: dict[str, Any],
    reading: Any,
    model: o.Model = None,
    revision: o.Revision = None,
    safety: o.Safety = None,
    score_by: o.ScoringBy = None,
    threshold: o.Threshold = None,
    blocklist: o.BlocklistFile = None,
    on_flag: o.OnFlag = "keep",
    device: o.Device = None,
    dtype: o.Dtype = None,
    seed: o.Seed = None,
    name: o.Name = None,
    skip_bad: o.SkipBad = False,
    again: o.Again = False,
    allow_empty: o.AllowEmpty = False,
) -> Any:
    """What the user asks for, checked."""
    from contract.blocklist import read_blocklist
    from contract.names import job_name, model_name, safety_name
    from contract.policy import read_thresholds
    from contract.settings import settings
    from contract.spec import SEED_LIMIT
    from producer.submit import SubmitOptions

    if on_flag not in ("keep", "redact"):
        raise UsageError(f"--on-flag {on_flag}: must be keep or redact")
    if seed is not None and seed >= SEED_LIMIT:
        raise UsageError(f"--seed {seed}: must be below 2**53 = {SEED_LIMIT}")
    config = settings()
    device, dtype = o.or_default(device, config.device), o.or_default(dtype, config.dtype)
    check_device(device, dtype)
    safety = safety_name(o.or_default(safety, config.safety))
    scoring = o.checked_score_by(o.or_default(score_by, config.score_by))
    if safety == NO_SAFETY and (blocklist or threshold or on_flag == "redact" or score_by):
        raise UsageError(
            "--safety none: nothing will be scored or flagged, so --score-by, --blocklist, --threshold and "
            "--on-flag redact have no effect; leave them out, or choose a classifier"
        )
    return SubmitOptions(
        model=None if model is None else model_name(model),
        default_model=model_name(config.model),
        revision=revision,
        safety=safety,
        score_by=ScoreBy.WINDOW if safety == NO_SAFETY else scoring,
        flags=sampling,
        reading=reading,
        thresholds=read_thresholds(threshold or ()),
        blocklist=read_blocklist(blocklist) if blocklist else (),
        on_flag=on_flag,
        seed=seed,
        device=device,
        dtype=dtype,
        again=again,
        skip_bad=skip_bad,
        allow_empty=allow_empty,
        name=None if name is None else job_name(name),
    )


def check_device(device: str, dtype: str) -> None:
    """Raises UsageError where a device or a dtype does not exist."""
    kind, _, number = device.partition(":")
    if device not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
        raise UsageError(f"--device {device}: must be {DEVICE_CHOICES}")
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"--dtype {dtype}: must be {DTYPE_CHOICES}")
