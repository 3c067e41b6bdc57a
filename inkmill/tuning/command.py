"""`inkmill tune` from end to end: prepare the corpus or resume, start what is missing, follow, tell what came of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from common.long_waits import told_when_long
from common.wording import counted
from contract.errors import ExitCode, InkmillError, QueueUnreachable, UsageError
from contract.settings import Settings
from contract.spec import TuningStatus
from contract.tunings.folder import CORPUS, new_tuning_folder, tuning_folder
from contract.tunings.order import TuningOrder, check_sizes
from contract.tunings.prepared_corpus import PreparedCorpus
from contract.waiting.stack_state import WantedWorker
from db.session.engine import Database
from db.tuning.models import find_model
from db.tuning.progress import curve
from db.tuning.tunings import StoredTuning, find_tuning, retry_tuning, tuning_in_folder, unfinished_in_folders
from db.tuning.waiting import worker_command
from inkmill.local.stack import Stack
from inkmill.show.display import ProgressLine, command_line, print_json
from inkmill.show.terminal import messages, output
from inkmill.tuning.fingerprint import another_name, folder_name
from inkmill.tuning.status import print_samples, tuning_json
from inkmill.tuning.steering import exit_status, follow
from producer.corpus.order import CorpusSource, PrepareOptions, Report
from producer.corpus.prepare import prepare_corpus
from producer.long_prompts import local_positions
from producer.tuning import queue_tuning_hints, submit_tuning


class TuneCommand:
    """One `inkmill tune`."""

    def __init__(self, config: Settings, database: Database, order: TuningOrder, *, seed_was_given: bool) -> None:
        self._config, self._database, self._order, self._seeded = config, database, order, seed_was_given
        self._stack = Stack(config)

    def run(
        self, sources: Sequence[CorpusSource], reading: PrepareOptions, *, again: bool, detach: bool, json: bool
    ) -> int:
        """Returns the exit status."""
        with told_when_long(lambda: "corpus and base to be read, to see whether this was asked for before"):
            name = folder_name(self._order, sources, reading, seed_was_given=self._seeded)
        tuning = self._find_or_submit(name, sources, reading, again=again)
        if tuning.status == TuningStatus.COMPLETED:
            return self._tell(tuning, json=json)
        self._start_work(tuning)
        if detach:
            return self._left_alone(tuning, json=json)
        try:
            ended = follow(self._database, tuning.id, self._check_stack)
        except KeyboardInterrupt:
            messages.print(f"\ndetached: {_goes_on(tuning)}", markup=False)
            return ExitCode.INTERRUPTED
        return self._tell(ended, json=json)

    def _find_or_submit(
        self, name: str, sources: Sequence[CorpusSource], reading: PrepareOptions, *, again: bool
    ) -> StoredTuning:
        """The tuning that this command asks for: the one that it asked for before, or a new one."""
        find = unfinished_in_folders if again else tuning_in_folder
        with _only_here(new_tuning_folder(self._config.models_folder, name)):
            earlier = find(self._database, name)
            if earlier is not None:
                return self._resume(earlier)
            name = another_name(name) if again else name
            corpus = self._prepare(tuning_folder(self._config.models_folder, name) / CORPUS, sources, reading)
            owner = self._config.installation if self._config.embedded else None
            tuning = submit_tuning(self._database, self._order, corpus, name, owner)
        messages.print(
            f"tuning {tuning.reference}: {tuning.name} from {tuning.base}, seed {self._order.seed}, "
            f"{_contents(corpus)}", markup=False,
        )  # fmt: skip
        return tuning

    def _resume(self, tuning: StoredTuning) -> StoredTuning:
        messages.print(
            f"tuning {tuning.reference} was asked for with this corpus and these settings; it is {tuning.status}",
            markup=False,
        )
        if tuning.status in (TuningStatus.FAILED, TuningStatus.CANCELLED, TuningStatus.PAUSED):
            retry_tuning(self._database, tuning.id, owner=self._config.installation if self._config.embedded else None)
            messages.print(f"tuning {tuning.reference}: queued again; it goes on from its last checkpoint")
        return find_tuning(self._database, tuning.id)

    def _prepare(self, folder: Path, sources: Sequence[CorpusSource], reading: PrepareOptions) -> PreparedCorpus:
        """The corpus as tokens. What a command left there that was killed before it stored the tuning may be of
        another day, and is replaced.

        Raises:
            UsageError: it is too short, or the base cannot read such blocks, as far as that is known here.
        """
        new_tuning_folder(self._config.models_folder, folder.parent.name)
        with ProgressLine() as line:
            corpus = prepare_corpus(sources, self._order.base, folder, reading, _Preparation(line))
        try:
            check_sizes(self._order, len(corpus.train.tokens), local_positions(self._order.base))
        except UsageError:
            rmtree(folder, ignore_errors=True)
            raise
        return corpus

    def _start_work(self, tuning: StoredTuning) -> None:
        if self._config.embedded:
            self._stack.ensure_running(WantedWorker.for_tuning(tuning.device, self._order.threads))
        error = queue_tuning_hints(self._database, tuning)
        if error and not self._config.embedded:  # an embedded one's worker finds the tuning within seconds
            raise QueueUnreachable(
                f"{error}; tuning {tuning.reference} is stored and starts automatically once Redis is back; "
                f"'inkmill watch {tuning.reference}' follows it"
            )

    def _check_stack(self, tuning: StoredTuning) -> None:
        if not self._config.embedded:
            return
        state = self._stack.read()
        if state.stopped:
            raise InkmillError(
                f"the stack was stopped; tuning {tuning.reference} keeps its checkpoints; run the same command to go "
                f"on, or '{worker_command(tuning)}' where its corpus came from standard input"
            )
        if not state.runs or not state.trains(tuning.device):
            self._start_work(tuning)  # it was killed, or the worker that was to train could not load its model

    def _left_alone(self, tuning: StoredTuning, *, json: bool) -> int:
        messages.print(_goes_on(tuning), markup=False)
        if json:
            print_json(tuning_json(tuning, None))
        else:
            output.print(tuning.reference, markup=False)
        return ExitCode.DONE

    def _tell(self, tuning: StoredTuning, *, json: bool) -> int:
        """What came of it. Returns the exit status."""
        if json:
            print_json(tuning_json(tuning, None))
        if tuning.status != TuningStatus.COMPLETED or tuning.model is None:
            messages.print(f"inkmill: tuning {tuning.reference} {tuning.status}: {tuning.error or ''}", markup=False)
            messages.print(
                f"Its checkpoints are kept: 'inkmill retry {tuning.reference}' goes on from the last one, and 'inkmill "
                f"watch {tuning.reference}' follows it.", markup=False,
            )  # fmt: skip
            return exit_status(tuning)
        name, _, version = tuning.model.partition("@")
        model = find_model(self._database, name, int(version), removed=True)
        if model.removed_at is not None:
            messages.print(
                f"inkmill: tuning {tuning.reference} made {model}, which was removed; the same command with --again "
                "trains another version", markup=False,
            )  # fmt: skip
            return ExitCode.FAILED
        messages.print(f"\n[bold]{model}[/bold] from {tuning.base}", highlight=False)
        if model.perplexity_before and model.perplexity_after:
            messages.print(
                f"  perplexity  {model.perplexity_before:,.2f} before, {model.perplexity_after:,.2f} after, on the "
                "validation part", markup=False,
            )  # fmt: skip
        messages.print(f"  folder      {model.folder}", markup=False)
        print_samples(curve(self._database, tuning.id, ["samples"]))
        messages.print("\n  next", markup=False)
        for purpose, words in (
            ("write with it", ("run", "prompts.jsonl", "--model", str(model))),
            ("try it", ("try", "Once", "--model", str(model))),
        ):
            messages.print(f"    {purpose}:\n      {command_line(*words)}", markup=False)
        return ExitCode.DONE


class _Preparation(Report):
    """Shows how a preparation goes."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def progress(self, stage: str, done: int, total: int | None) -> None:
        of = f" of {total / 1e6:,.0f}" if total else ""
        self._line.say(f"{stage} the corpus: {done / 1e6:,.0f}{of} million characters", at_once=False)

    def note(self, text: str) -> None:
        messages.print(f"note: {text}", markup=False)


def _contents(corpus: PreparedCorpus) -> str:
    documents = len(corpus.train.documents) + len(corpus.validation.documents)
    duplicates = f", {counted(corpus.duplicates, 'duplicate')} left out" if corpus.duplicates else ""
    return (
        f"{counted(documents, 'document')}{duplicates}, {len(corpus.train.tokens):,} tokens to learn from, "
        f"{len(corpus.validation.tokens):,} to measure by"
    )


def _goes_on(tuning: StoredTuning) -> str:
    name = tuning.reference
    return (
        f"tuning {name} continues in the background. Follow it with 'inkmill watch {name}', stop it with "
        f"'inkmill cancel {name}'."
    )


@contextmanager
def _only_here(folder: Path) -> Iterator[None]:
    """Keeps another command that asks for the same from preparing the same corpus at the same time."""
    lock = os.open(folder / "preparing.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with told_when_long(lambda: f"another command that prepares the same corpus in {folder}"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
