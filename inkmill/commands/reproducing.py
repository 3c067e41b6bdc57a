"""`reproduce` and `evaluate`: what a model does today with texts that are there."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import ExitCode, UsageError
from inkmill.commands import options as o

if TYPE_CHECKING:
    from db.results.reproduction import Draw
    from db.session.engine import Database

SAMPLE = 100


def register(app: typer.Typer) -> None:
    app.command()(reproduce)
    app.command()(evaluate)


def reproduce(
    outputs: Annotated[
        list[int] | None,
        typer.Argument(metavar="OUTPUT", min=1, max=2**62, help="Output numbers (`id` in an export)."),
    ] = None,
    job: Annotated[
        int | None,
        typer.Option("--job", metavar="JOB", min=1, max=2**62, help="Draw outputs of this job at random instead."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=1, max=2**31, help=f"How many to draw. [default: {SAMPLE}]"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", min=0, max=2**53 - 1, help="The seed of the draw. [default: random, and printed]"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto = the kind that generated each output, where available.")
    ] = "auto",
    dtype: Annotated[str, typer.Option("--dtype", help="auto = each output's own, where available.")] = "auto",
    json: o.Json = False,
) -> None:
    """Regenerate stored outputs in this process and compare them. Nothing is stored.

    Exits with 0 if all are the same, and with 1 if not.
    """
    from db.results.reproduction import output_records
    from inkmill.commands.submitting import check_device
    from inkmill.reproduce import ReproductionReport, regenerate, show
    from inkmill.startup import settings_and_database

    _check_choice(outputs, job, sample, seed)
    check_device(device, dtype)
    _, database = settings_and_database()
    seed = secrets.randbelow(2**32) if seed is None else seed
    drawn = None if job is None else _draw(database, job, sample or SAMPLE, seed)
    records = output_records(database, drawn.ids if drawn else outputs or ())
    report = ReproductionReport(
        comparisons=regenerate(records, device=device, dtype=dtype),
        job=job,
        drawn_from=drawn.total if drawn else None,
        seed=seed if drawn else None,
    )
    show(report, json=json)
    raise typer.Exit(ExitCode.DONE if report.same == len(records) else ExitCode.FAILED)


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model of your own, demo, a Hub id, a folder or a GGUF file.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The text, plain UTF-8; .gz and .zst too; - is stdin.")],
    revision: o.Revision = None,
    device: o.Device = None,
    json: o.Json = False,
) -> None:
    """The perplexity of MODEL on the text in FILE, computed in this process in fp32. Nothing is stored."""
    from contract.settings import settings
    from inkmill.commands.submitting import check_device
    from inkmill.evaluate import evaluate as evaluate_text
    from inkmill.evaluate import show

    device = o.or_default(device, settings().device)
    check_device(device, "fp32")
    show(evaluate_text(o.model_to_load(model, revision), file, device=device), json=json)


def _check_choice(outputs: list[int] | None, job: int | None, sample: int | None, seed: int | None) -> None:
    if outputs and job is not None:
        raise UsageError("reproduce: name outputs, or a job to draw them from (--job JOB), not both")
    if not outputs and job is None:
        raise UsageError("reproduce: nothing to regenerate; name outputs, or use --job JOB --sample 100")
    if job is None and (sample, seed) != (None, None):
        raise UsageError("reproduce: --sample and --seed are for outputs drawn from a job; add --job JOB")


def _draw(database: Database, job: int, sample: int, seed: int) -> Draw:
    from common.wording import counted
    from db.jobs.jobs import get_job
    from db.results.reproduction import draw_outputs
    from inkmill.show.terminal import messages

    drawn = draw_outputs(database, job, sample, seed)
    if not drawn.ids:
        raise UsageError(f"job {job} has no outputs, it is {get_job(database, job).status}: nothing to regenerate")
    if len(drawn.ids) == drawn.total:
        messages.print(f"job {job} has {counted(drawn.total, 'output')}: regenerating all of them", markup=False)
    else:
        messages.print(
            f"{len(drawn.ids):,} of the {counted(drawn.total, 'output')} of job {job}, drawn with seed {seed}",
            markup=False,
        )
    return drawn
