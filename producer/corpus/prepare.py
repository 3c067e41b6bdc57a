"""Prepares a corpus: reads it once to decide what becomes of each document, and once more to write its tokens.

Nothing counts before the description is there, which is written last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from common.wording import counted
from contract.errors import BadCorpus, BadLine, InkmillError, UsageError
from contract.tunings.prepared_corpus import OUTPUTS, PARTS, PreparedCorpus, token_type
from producer.bad_lines import BadLines
from producer.corpus.assignment import assigned
from producer.corpus.corpus_folder import clear, write_description
from producer.corpus.documents.chat_template import ChatTemplate
from producer.corpus.documents.dataset_source import DatasetSource
from producer.corpus.documents.file_source import FileSource
from producer.corpus.documents.job_source import JobSource
from producer.corpus.documents.pieces import Outliner, TextDigest, documents
from producer.corpus.documents.rows import KNOWN_COLUMNS, RowDocuments
from producer.corpus.documents.source import DocumentSource
from producer.corpus.fates import Decision, Division, Fate, divide
from producer.corpus.order import CorpusDataset, CorpusJob, CorpusPath, CorpusSource, PrepareOptions, Report
from producer.corpus.survey import Survey
from producer.corpus.tokens.encoding import DocumentEncoder
from producer.corpus.tokens.part_files import PartFiles
from producer.corpus.tokens.tokenizer import CorpusTokenizer, find_tokenizer
from producer.read.read_options import ReadOptions

REPORT_CHARACTERS = 1 << 20
SHOWN_BAD_LINES = 5


def prepare_corpus(
    sources: Sequence[CorpusSource],
    model: str | Path,
    folder: Path,
    options: PrepareOptions = PrepareOptions(),
    report: Report = Report(),
) -> PreparedCorpus:
    """Writes a corpus' tokens into `folder`. What an earlier preparation left there is replaced.

    Args:
        sources: at most one of them a job.
        model: the one to train, as `contract.names.model_name` returns it, or its folder; its tokenizer is used.

    Raises:
        BadCorpus: there are bad lines, and `skip_bad` is off.
        UsageError: the corpus cannot be used, or was changed meanwhile.
        ModelUnavailable: the tokenizer cannot be fetched.
        InkmillError: the files cannot be written.
    """
    tokenizer = CorpusTokenizer(find_tokenizer(model), options.end_of_text)
    try:
        clear(folder)
        with _Preparation(sources, tokenizer, folder, options, report) as preparation:
            preparation.run()
    except OSError as error:
        raise InkmillError(
            f"{folder}: the corpus cannot be written ({error.strerror or error}); make room for it there, or choose "
            "another place with INKMILL_MODELS"
        ) from error
    return PreparedCorpus.open(folder)


class _Preparation:
    """One preparation under way, which holds the sources open."""

    def __init__(
        self,
        sources: Sequence[CorpusSource],
        tokenizer: CorpusTokenizer,
        folder: Path,
        options: PrepareOptions,
        report: Report,
    ) -> None:
        self._tokenizer, self._folder, self._options, self._report = tokenizer, folder, options, report
        template = ChatTemplate(tokenizer.folder, tokenizer.end_of_text_written)
        self._rows = RowDocuments(options.text_column, template, learns_prompts=options.train_on_prompts)
        self._asked = [*map(CorpusPath, options.validation_files), *sources]
        self._sources: list[DocumentSource] = []
        self._digests: list[str] = []
        self._bad_lines = self._done = self._told = 0
        self._exit = ExitStack()

    def __enter__(self) -> _Preparation:
        try:
            for asked in self._asked:
                source = self._opened(asked)
                self._exit.callback(source.close)
                self._sources.append(source)
                for note in source.notes:
                    self._report.note(f"{source.name}: {note}")
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def run(self) -> None:
        """Does it."""
        survey = Survey(self._folder)
        for index, source in enumerate(self._sources):
            self._look_at(source, index, survey)
        division = divide(survey, self._options.validation, len(self._options.validation_files))
        self._check_division(division)
        encoder = self._encode(division)
        for source in self._sources:
            source.check_contents()
        self._describe(division, encoder)

    def _opened(self, asked: CorpusSource) -> DocumentSource:
        if isinstance(asked, CorpusDataset):
            return DatasetSource(asked.name, asked.config, asked.split, self._rows)
        if isinstance(asked, CorpusJob):
            return JobSource(asked.database, asked.job, asked.only, self._folder, self._rows)
        options = self._options
        columns = KNOWN_COLUMNS if options.text_column is None else (options.text_column,)
        reading = ReadOptions(form=options.form, delimiter=options.delimiter, corpus_columns=columns)
        return FileSource(asked.path, self._rows, reading, paragraphs=options.paragraphs)

    def _look_at(self, source: DocumentSource, index: int, survey: Survey) -> None:
        """The first reading: what stands in it."""
        known, found, outliner = source.digest(), TextDigest(), Outliner()
        with BadLines(source.name) as bad:
            pieces = source.pieces(lambda line: bad(line, b""))
            for piece in pieces if known else found.watch(pieces):
                self._tell("reading", len(piece.text), None, source)
                outline = outliner.see(piece)
                if outline is not None:
                    survey.add(outline, index)
        self._digests.append(known or found.hexadecimal())
        self._check_bad(source.name, bad)

    def _check_bad(self, name: str, bad: BadLines) -> None:
        if not bad.total:
            return
        if not self._options.skip_bad:
            raise BadCorpus(name, bad.first, bad.total)
        self._bad_lines += bad.total
        shown = "".join(f"\n  {line}" for line in bad.first[:SHOWN_BAD_LINES])
        self._report.note(f"{name}: {counted(bad.total, 'bad line')} left out{shown}")

    def _check_division(self, division: Division) -> None:
        """Says what the user should know of it.

        Raises:
            UsageError: there is nothing to train with, or nothing in the files for validation.
        """
        counts, report = division.counts, self._report
        left_out = f"{counts[Fate.EMPTY]:,} empty, {counts[Fate.DUPLICATE]:,} the same as another"
        if not counts[Fate.TRAIN] + counts[Fate.CUT]:
            raise UsageError(f"the corpus has no text to train with ({left_out}); give one that has")
        if counts[Fate.VALIDATION] + counts[Fate.CUT] == 0:
            if self._options.validation_files:
                raise UsageError("--validation: the file has no text; give another, or a share such as 0.05")
            if self._options.validation:
                report.note("the corpus is too small to hold anything back for validation")
        if counts[Fate.CUT]:
            documents = counted(counts[Fate.CUT], "long document")
            report.note(f"{documents}: the end of each is held back for validation, and the rest is trained with")
        if counts[Fate.EMPTY] or counts[Fate.DUPLICATE]:
            report.note(f"documents left out: {left_out}")

    def _encode(self, division: Division) -> DocumentEncoder:
        """The second reading: to tokens."""
        dtype, decisions = token_type(self._tokenizer.vocabulary), division.decisions()
        self._done = self._told = 0
        with ExitStack() as files:
            parts = {part: files.enter_context(PartFiles(self._folder, part, dtype)) for part in PARTS}
            encoder = DocumentEncoder(self._tokenizer, parts)
            for index, source in enumerate(self._sources):
                self._encode_source(source, index, encoder, decisions, division.characters)
            encoder.flush()
        return encoder

    def _encode_source(
        self, source: DocumentSource, index: int, encoder: DocumentEncoder, decisions: Iterator[Decision], total: int
    ) -> None:
        digest = None if source.digest() else TextDigest()
        for document in documents(source.pieces(_ignore)):
            decision = next(decisions, None)
            if decision is None:
                raise _changed(source)
            keep = max(1, int(decision.characters * (1 - self._options.validation)))
            watched = document if digest is None else digest.watch(document)
            for part, piece in assigned(watched, decision.fate, keep):
                encoder.add(part, index, piece, plain=decision.plain)
                self._tell("tokenising", len(piece.text), total, source)
        if digest is not None and digest.hexadecimal() != self._digests[index]:
            raise _changed(source)

    def _tell(self, stage: str, characters: int, total: int | None, source: DocumentSource) -> None:
        self._done += characters
        if self._done // REPORT_CHARACTERS != self._told:
            self._told = self._done // REPORT_CHARACTERS
            self._report.progress(stage, self._done, total)
            source.check_stat()  # or a file that grows as fast as it is read would never end

    def _describe(self, division: Division, encoder: DocumentEncoder) -> None:
        job = next((one.job for one in self._asked if isinstance(one, CorpusJob)), None)
        files = [
            {"name": source.name, "sha256": digest, "documents": encoder.documents.get(index, 0),
             "tokens": encoder.tokens.get(index, 0)}
            for index, (source, digest) in enumerate(zip(self._sources, self._digests, strict=True))
        ]  # fmt: skip
        described = {
            "files": files,
            "vocabulary": self._tokenizer.vocabulary,
            "end_of_text": self._tokenizer.end_of_text,
            "tokenizer": self._tokenizer.digest(),
            "dtype": token_type(self._tokenizer.vocabulary).name,
            "duplicates": division.counts[Fate.DUPLICATE],
            "empty": division.counts[Fate.EMPTY],
            "cut": division.counts[Fate.CUT],
            "bad_lines": self._bad_lines,
            "documents": {part: files.documents for part, files in encoder.parts.items()},
            "tokens": {part: files.tokens for part, files in encoder.parts.items()},
            "job": job,
            "outputs": None if job is None else OUTPUTS,
        }
        write_description(self._folder, described)


def _ignore(line: BadLine) -> None:
    """It was told at the first reading."""


def _changed(source: DocumentSource) -> UsageError:
    return UsageError(f"{source.name}: was changed while it was being read, so nothing was prepared; prepare it again")
