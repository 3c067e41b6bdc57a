"""`tune`: teaching a model one's own texts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from contract.errors import UsageError
from contract.spec import DEVICE_CHOICES
from inkmill.commands import options as o
from inkmill.tuning.corpus_options import Corpora, corpus_order
from inkmill.tuning.training_options import flag_of, training_options


def register(app: typer.Typer) -> None:
    ordering = o.gather_options("training", training_options())
    app.command()(o.gather_options("corpus", corpus_order)(ordering(tune)))
    app.command()(tunings)


def tune(
    name: Annotated[
        str, typer.Option("--name", help="What the new model is called; for example --name tales.", show_default=False)
    ],
    corpus: Any,
    training: dict[str, Any],
    files: Corpora = None,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            help="The model to start from: demo, a Hub id, one of your own, or a folder; for example --base gpt2. "
            "[default: gpt2, whatever INKMILL_MODEL says]",
            show_default=False,
        ),
    ] = "gpt2",
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision",
            metavar="REV",
            help="A branch, a tag or a commit of a base of the Hub; --base NAME@REV says the same; for example "
            "--revision v1.0. [default: the main branch]",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help=f"{DEVICE_CHOICES}; for example --device cpu. [default: auto]")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train another version once the one asked for before is completed.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Print the tuning's name, and do not wait for it.")] = False,
    json: o.Json = False,
) -> None:
    """Train a model on CORPUS: --base learns its texts and becomes a model called --name. Starts what is missing.

    Run the same command again to resume. Ctrl-C detaches; the work continues. 'run --model NAME' writes with the model.
    """
    from contract.model_kinds.own_model import check_own_name
    from contract.settings import settings
    from inkmill.commands.submitting import check_device
    from inkmill.own_models.leftovers import sweep
    from inkmill.startup import settings_and_database
    from inkmill.tuning.command import TuneCommand

    check_own_name(name)
    config = settings()
    device = o.or_default(device, config.device)
    check_device(device, "auto")
    model = o.model_to_load(base, revision)
    order = _order(name, model, device, training, train_on_prompts=corpus.options.train_on_prompts)
    config, database = settings_and_database()
    sweep(database, config.models_folder)
    command = TuneCommand(config, database, order, seed_was_given="seed" in training)
    sources = corpus.sources(files, database)
    raise typer.Exit(command.run(sources, corpus.options, again=again, detach=detach, json=json))


def tunings(
    json: o.Json = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=2**31, help="List at most this many, the newest.")
    ] = 100,
) -> None:
    """List the tunings, newest first, by the numbers that 'status', 'watch', 'cancel' and 'retry' take."""
    from contract.waiting.surroundings import Surroundings
    from db.tuning.tunings import list_tunings
    from db.tuning.waiting import tuning_waits_for
    from inkmill.show.display import print_json, print_table
    from inkmill.show.terminal import messages
    from inkmill.startup import settings_and_database
    from inkmill.tuning.listing import tunings_table
    from inkmill.tuning.status import tuning_json

    _, database = settings_and_database()
    listed = list_tunings(database, limit)
    if json:
        around = Surroundings()
        print_json([tuning_json(one, tuning_waits_for(database, one, around)) for one in listed])
    elif listed:
        print_table(tunings_table(listed))
    else:
        messages.print("no tunings yet; teach a model texts: inkmill tune FILE --name NAME")


def _order(name: str, base: str, device: str, training: dict[str, Any], *, train_on_prompts: bool) -> Any:
    """The order, checked.

    Raises:
        UsageError: naming each option that cannot be used.
    """
    import secrets

    from contract.errors import SettingsError
    from contract.spec import SEED_LIMIT
    from contract.tunings.order import TuningOrder

    drawn = {"seed": secrets.randbelow(SEED_LIMIT)}
    try:
        return TuningOrder(name=name, base=base, device=device, train_on_prompts=train_on_prompts, **(drawn | training))
    except SettingsError as error:
        raise UsageError("; ".join(f"{flag_of(one.field)} {one.message}" for one in error.problems)) from None
