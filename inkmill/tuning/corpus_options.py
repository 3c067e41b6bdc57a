"""The options of commands that take a corpus, and what they ask for.

`inkmill.commands.options.gather_options("corpus", corpus_order)` adds them to a command; CORPUS itself is `Corpora`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from contract.errors import UsageError
from inkmill.commands import options as o

if TYPE_CHECKING:
    from db.session.engine import Database
    from producer.corpus.order import CorpusSource, PrepareOptions

CORPUS_PANEL = "Reading the corpus"

Corpora = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CORPUS…",
        help="TXT, JSONL, CSV, TSV, Parquet or XLSX files; .gz and .zst too; - is stdin.",
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="Where the texts are; for example --text-column body. [default: text; or prompt and completion; or "
        "messages]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
Paragraphs = Annotated[
    bool,
    typer.Option(
        "--paragraphs",
        help="In plain text, blank lines end documents, as <|endoftext|> always does.",
        rich_help_panel=CORPUS_PANEL,
    ),
]
CorpusForm = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="jsonl, csv, tsv, parquet, xlsx or txt; for example --form csv. [default: what a file's name and contents "
        "tell]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
CorpusDelimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the cells of a table: , ; | or tab; for example --delimiter tab. [default: what the "
        "header tells]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="A data set of the Hugging Face Hub, or a folder; for example --dataset wikitext. Needs the package "
        "datasets. [default: none]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
DatasetConfig = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="NAME",
        help="One of its configurations; for example --config wikitext-103-raw-v1. [default: the only one]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
DatasetSplit = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Which of its parts; for example --split validation. [default: train]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
FromJob = Annotated[
    int | None,
    typer.Option(
        "--from-job",
        metavar="JOB",
        help="The texts of a job of this installation, edited ones as edited; for example --from-job 3. "
        "[default: none]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
JobOnly = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="WHICH",
        help="Of the job: clean, approved, flagged or all; separate several with commas; for example --only "
        "clean,approved. [default: approved]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
Validation = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="SHARE|FILE",
        help="How much is held back to measure by, chosen by the documents' hashes, or a file of texts for that; for "
        "example --validation 0.1. [default: 0.05]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
TrainOnPrompts = Annotated[
    bool,
    typer.Option(
        "--train-on-prompts",
        help="Learn prompts and messages of users as well as the answers.",
        rich_help_panel=CORPUS_PANEL,
    ),
]
EndOfText = Annotated[
    str | None,
    typer.Option(
        "--end-of-text",
        metavar="TOKEN",
        help="The token behind each document, of the base's vocabulary; for example --end-of-text '</s>'. [default: "
        "the one at which the base ends its texts]",
        rich_help_panel=CORPUS_PANEL,
    ),
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out lines that cannot be read.", rich_help_panel=CORPUS_PANEL)
]


class CorpusOrder:
    """What a command was told of its corpus."""

    def __init__(
        self, options: PrepareOptions, dataset: tuple[str, str | None, str] | None, job: tuple[int, str] | None
    ) -> None:
        self.options, self.dataset, self.job = options, dataset, job

    def sources(self, paths: list[str] | None, database: Database) -> list[CorpusSource]:
        """Where the documents come from.

        Raises:
            UsageError: from nowhere.
        """
        from producer.corpus.order import CorpusDataset, CorpusJob, CorpusPath

        found: list[CorpusSource] = [CorpusPath(path) for path in paths or ()]
        if self.dataset:
            found.append(CorpusDataset(*self.dataset))
        if self.job:
            found.append(CorpusJob(database, *self.job))
        if not found:
            raise UsageError("there is no corpus; name a file of texts, or give --dataset NAME or --from-job JOB")
        if [*(paths or ()), *self.options.validation_files].count("-") > 1:
            raise UsageError("-: is standard input, which can be read once; name it once")
        return found


def corpus_order(
    text_column: TextColumn = None,
    paragraphs: Paragraphs = False,
    form: CorpusForm = None,
    delimiter: CorpusDelimiter = None,
    dataset: DatasetName = None,
    config: DatasetConfig = None,
    split: DatasetSplit = None,
    from_job: FromJob = None,
    only: JobOnly = None,
    validation: Validation = None,
    train_on_prompts: TrainOnPrompts = False,
    end_of_text: EndOfText = None,
    skip_bad: SkipBadLines = False,
) -> CorpusOrder:
    """The order that the options make.

    Raises:
        UsageError: they cannot be used, or have nothing to say something about.
    """
    _check_packages()
    from producer.corpus.order import SHARE, PrepareOptions
    from producer.read.read_options import parse_delimiter

    if dataset is None and (config is not None or split is not None):
        raise UsageError("--config and --split: say which part of a data set is meant; name it with --dataset NAME")
    if from_job is None and only is not None:
        raise UsageError("--only: says which texts of a job are meant; name it with --from-job JOB")
    share = _share(validation)
    options = PrepareOptions(
        text_column=text_column,
        paragraphs=paragraphs,
        form=form,
        delimiter=parse_delimiter(delimiter),
        validation=SHARE if share is None else share,
        validation_files=(validation,) if validation is not None and share is None else (),
        train_on_prompts=train_on_prompts,
        end_of_text=end_of_text,
        skip_bad=skip_bad,
    )
    return CorpusOrder(
        options,
        None if dataset is None else (dataset, config, o.or_default(split, "train")),
        None if from_job is None else (from_job, o.or_default(only, "approved")),
    )


def _check_packages() -> None:
    """Raises UsageError where a base installation lacks what a corpus is prepared with."""
    missing = [name for name in ("numpy", "tokenizers") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"a corpus is prepared with {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed: pip install {' '.join(missing)}"
        )


def _share(validation: str | None) -> float | None:
    """What was said, if it is a number; else it is a file."""
    try:
        return None if validation is None else float(validation)
    except ValueError:
        return None
