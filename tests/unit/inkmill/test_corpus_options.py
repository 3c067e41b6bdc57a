"""The options of commands that take a corpus: what they ask for, and what makes no sense."""

from __future__ import annotations

from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

import inkmill.tuning.corpus_options as corpus_options
from contract.errors import UsageError
from inkmill.commands.options import gather_options
from inkmill.tuning.corpus_options import Corpora, CorpusOrder, corpus_order
from producer.corpus.order import CorpusDataset, CorpusJob, CorpusPath

DATABASE = cast(Any, object())


def order_of(*arguments: str) -> tuple[list[str], CorpusOrder]:
    """What a command with these options is given."""
    given: list[tuple[list[str], CorpusOrder]] = []
    app = typer.Typer()

    def tune(corpora: Corpora = None, corpus: Any = None) -> None:
        given.append((corpora or [], corpus))

    app.command()(gather_options("corpus", corpus_order)(tune))
    result = CliRunner().invoke(app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return given[0]


def test_files_are_read_with_the_defaults() -> None:
    paths, order = order_of("a.txt", "b.csv")
    assert order.sources(paths, DATABASE) == [CorpusPath("a.txt"), CorpusPath("b.csv")]
    assert order.options.validation == 0.05 and not order.options.validation_files


def test_every_option_arrives() -> None:
    paths, order = order_of(
        "a.csv", "--text-column", "body", "--delimiter", "tab", "--validation", "0.1", "--skip-bad",
        "--train-on-prompts", "--end-of-text", "</s>", "--dataset", "wikitext", "--config", "raw", "--split", "test",
        "--from-job", "3", "--only", "clean",
    )  # fmt: skip
    options = order.options
    assert (options.text_column, options.delimiter, options.validation) == ("body", "\t", 0.1)
    assert options.skip_bad and options.train_on_prompts and options.end_of_text == "</s>"
    wanted = [CorpusPath("a.csv"), CorpusDataset("wikitext", "raw", "test"), CorpusJob(DATABASE, 3, "clean")]
    assert order.sources(paths, DATABASE) == wanted


def test_validation_is_a_share_or_a_file() -> None:
    assert order_of("--from-job", "3", "--validation", "held.txt")[1].options.validation_files == ("held.txt",)
    for share in ("0.6", "-1", "nan"):
        with pytest.raises(UsageError, match=r"is a share from 0 to 0\.5, or a file"):
            order_of("a.txt", "--validation", share)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="--config and --split: say which part of a data set"):
        order_of("a.txt", "--split", "test")
    with pytest.raises(UsageError, match="--only: says which texts of a job"):
        order_of("a.txt", "--only", "clean")
    with pytest.raises(UsageError, match="there is no corpus; name a file of texts"):
        order_of()[1].sources([], DATABASE)
    with pytest.raises(UsageError, match="name it once"):
        order_of("-", "--validation", "-")[1].sources(["-"], DATABASE)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_options, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="numpy and tokenizers, which are not installed: pip install numpy tokenizers"):
        order_of("a.txt")
