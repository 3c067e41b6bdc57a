"""`models` with its commands, and `lineage`: models of one's own, and the way of a text back to its corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import ExitCode, UsageError
from inkmill.commands import options as o

if TYPE_CHECKING:
    from inkmill.command_line import CommandLine

ModelName = Annotated[
    str, typer.Argument(metavar="NAME", help="Your own model: its newest version, or NAME@N for version N.")
]


def register(app: CommandLine) -> None:
    group = app.group("models", models)
    group.command()(show)
    group.command()(rm)
    group.command("import")(import_)
    app.command()(lineage)


def models(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON list on standard output.")] = False,
) -> None:
    """List your own models, tuned or imported, with every version."""
    if context.invoked_subcommand is not None:
        if json:
            raise UsageError(f"models: --json stands behind {context.invoked_subcommand}, whose output it is about")
        return
    from inkmill.own_models.catalogue import catalogue
    from inkmill.show.display import print_json, print_table
    from inkmill.show.model_list import model_json, models_table
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    config, database = settings_and_database()
    known = catalogue(database)
    if json:
        print_json([model_json(model) for model in known])
    elif known:
        print_table(models_table(known))
    else:
        messages.print(f"no models of your own in {config.models_folder}", markup=False)


def show(name: ModelName, json: o.Json = False) -> None:
    """Show where NAME lies, what it was made from and what was measured of it."""
    from inkmill.own_models.catalogue import find_in_catalogue
    from inkmill.show.display import print_json
    from inkmill.show.model_list import model_json, model_lines
    from inkmill.show.terminal import output
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    model = find_in_catalogue(database, name)
    if json:
        print_json(model_json(model) | {"settings": dict(model.settings)})
        return
    for line in model_lines(model):
        output.print(line, markup=False)


def rm(name: ModelName, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove NAME: its newest version, or the one that is named. Refused while a job or a tuning needs it.

    Says first how many stored outputs can then no longer be made again, and asks. Without a terminal, --yes is needed.
    """
    from inkmill.own_models.catalogue import find_in_catalogue
    from inkmill.own_models.removal import check_unneeded, confirm_removal, remove
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    model = find_in_catalogue(database, name)
    check_unneeded(database, model)
    if not confirm_removal(database, model, yes=yes):
        messages.print("nothing was removed")
        raise typer.Exit(ExitCode.FAILED)
    remove(database, model)
    messages.print(f"removed {model}", markup=False)


def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The checkpoint's folder; of nanoGPT also its file, ckpt.pt.")
    ],
    name: Annotated[
        str,
        typer.Option("--name", help="What the model will be called; a name that you have gets its next version."),
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="The tokenizer that the model was trained with: a folder, a file such as aitextgen.tokenizer.json, a "
            "model of your own, or a Hub id; for example --tokenizer gpt2. [default: the one in FOLDER; gpt2 for "
            "nanoGPT]",
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Make a model of your own of a checkpoint that another program wrote.

    Reads OpenAI's and gpt-2-simple's folders, aitextgen's and transformers', and nanoGPT's ckpt.pt. FOLDER stays as it
    is.
    """
    from inkmill.own_models.catalogue import find_in_catalogue
    from inkmill.own_models.importing import import_model
    from inkmill.show.display import ProgressLine, print_json
    from inkmill.show.model_list import model_json
    from inkmill.show.terminal import messages, output
    from inkmill.startup import settings_and_database

    config, database = settings_and_database()
    with ProgressLine() as progress:
        stored = import_model(database, config.models_folder, folder, name, tokenizer, progress.say)
    model = find_in_catalogue(database, str(stored))
    if json:
        print_json(model_json(model))
        return
    output.print(str(model), markup=False)
    messages.print(f"in {model.folder}; try it: inkmill try --model {model.name}", markup=False)


def lineage(
    output: Annotated[
        int, typer.Argument(metavar="OUTPUT", min=1, max=2**62, help="An output's number (`id` in an export).")
    ],
    json: o.Json = False,
) -> None:
    """Show the way of OUTPUT back: its model, that one's base, and the texts that it was taught."""
    from inkmill.own_models.descent import trace
    from inkmill.show.descent import SHOWN_OUTPUTS, descent_json, descent_lines
    from inkmill.show.display import print_json
    from inkmill.show.terminal import output as console
    from inkmill.startup import settings_and_database

    _, database = settings_and_database()
    traced = trace(database, output, limit=None if json else SHOWN_OUTPUTS)
    if json:
        print_json(descent_json(traced))
        return
    for line in descent_lines(traced):
        console.print(line, markup=False)
