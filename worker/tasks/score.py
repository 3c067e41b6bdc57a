"""Scoring one claimed batch: runs its stored texts through classifier and blocklist, and saves the verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import structlog

from contract.blocklist import compiled_blocklist
from contract.policy import ScoreBy
from db.jobs.jobs import JobRow, get_job
from db.work.claims import Claim, adopt_classifier, finish_scoring, release_claim
from db.work.lease import LeaseLost, PolicyChanged
from db.work.outputs import (
    ScoredText,
    UnscoredText,
    count_scoring_attempt,
    give_up_scoring,
    save_scores,
    texts_to_score,
)
from worker.engine.memory_blame import Shortage, out_of_memory
from worker.runtime.lease import Lease
from worker.runtime.runtime import Runtime
from worker.safety.detoxify import Classifier
from worker.safety.pieces import Judgement, judge
from worker.tasks.settle import hold_claim, retry_when_lease_ends

GROUP_TEXTS, GROUP_CHARACTERS = 128, 16_384
"""The most that is scored together: many short texts, which fill a forward pass, or a few long ones."""
SAVE_TEXTS, SAVE_SECONDS = 256, 1.0
"""Scores are saved when there are this many, or after this long: each save waits for the disk once."""

FAULTS_BEFORE_UNSCORED = 3
log = structlog.get_logger()


def grouped(texts: Iterable[UnscoredText]) -> Iterator[list[UnscoredText]]:
    """Groups texts of similar length, shortest first, since all texts in a forward pass are padded to one length."""
    group: list[UnscoredText] = []
    characters = 0
    for text in sorted(texts, key=lambda text: len(text.text)):
        if group and (len(group) == GROUP_TEXTS or characters + len(text.text) > GROUP_CHARACTERS):
            yield group
            group, characters = [], 0
        group.append(text)
        characters += len(text.text)
    if group:
        yield group


class ScoringPostponed(Exception):
    """The texts cannot be scored now: there has long been too little memory for one text, or the worker is stopping."""


def classify(runtime: Runtime, classifier: Classifier, texts: list[str]) -> list[dict[str, float]]:
    """The scores of texts.

    When memory runs out, which is not a text's fault, fewer texts are scored at once; a single one waits for memory.

    Raises:
        ScoringPostponed: memory did not return in time, or this worker was told to stop.
    """
    shortage = Shortage()
    while True:
        try:
            return _classify(runtime, classifier, texts)
        except Exception as error:
            if not out_of_memory(error):
                raise
        if len(texts) > 1:
            half = len(texts) // 2
            return classify(runtime, classifier, texts[:half]) + classify(runtime, classifier, texts[half:])
        given_up = shortage.starved()
        log.warning("no memory to score a single text; waiting for it", seconds=shortage.pause)
        if given_up or runtime.stopping.wait(shortage.pause):
            raise ScoringPostponed


def _classify(runtime: Runtime, classifier: Classifier, texts: list[str]) -> list[dict[str, float]]:
    """Scores on the scorer's thread, under the watchdog."""

    def touch_watchdog() -> None:
        runtime.watchdog.touch("scorer")  # the engine's turn may be long, and must not count
        runtime.cores.give_way()
        runtime.watchdog.touch("scorer")

    with runtime.cores.held(), runtime.watchdog.step("scorer"):
        return runtime.scorer.submit(classifier.score, texts, touch_watchdog).result()


class Scoring:
    """One claimed batch on its way through the classifier."""

    def __init__(self, runtime: Runtime, lease: Lease[Claim], classifier: Classifier, score_by: ScoreBy) -> None:
        self._runtime, self._lease, self._claim = runtime, lease, lease.claim
        self._classifier = classifier
        self._score_by = score_by  # a rescore that changes it takes the claim away
        self._scored: list[tuple[UnscoredText, Judgement]] = []  # not saved yet
        self._failed: dict[int, str] = {}  # the type of error by output ID, for the log
        self._saved_at = time.monotonic()
        self._read_job()

    def run(self) -> bool:
        """Scores the texts that wait for it. Returns whether the batch is finished; otherwise it was given back."""
        texts = self._runtime.patiently(lambda: texts_to_score(self._runtime.database, self._claim))
        try:
            for group in [[text] for text in texts] if self._claim.alone else grouped(texts):
                if self._runtime.stopping.is_set():
                    raise ScoringPostponed
                if self._lease.lost.is_set():
                    raise LeaseLost(f"batch {self._claim.batch_id} was lost")
                self._score_group(group)
        except ScoringPostponed:
            self._save()
            release_claim(self._runtime.database, self._claim)
            return False
        finally:
            self._log_failures()
        self._save()
        self._runtime.patiently(lambda: finish_scoring(self._runtime.database, self._claim))
        return True

    def _log_failures(self) -> None:
        """Logs one line a batch, since the classifier may fail at every text."""
        if self._failed:
            first, error = next(iter(self._failed.items()))
            log.warning(
                "texts could not be scored",
                batch=self._claim.batch_id,
                texts=len(self._failed),
                first=first,
                error=error,
            )

    def _score_group(self, group: Sequence[UnscoredText]) -> None:
        if self._claim.alone:
            self._score_alone(group[0])
            return
        try:
            scores = self._scores(group)
        except ScoringPostponed:
            raise
        except Exception:  # one by one, it will show which text causes it
            log.warning("a group could not be scored; scoring its texts one by one", batch=self._claim.batch_id)
            self._save()  # the process may die of what comes next
            for text in group:
                self._score_alone(text)
        else:
            self._scored += zip(group, scores, strict=True)
            if len(self._scored) >= SAVE_TEXTS or time.monotonic() - self._saved_at > SAVE_SECONDS:
                self._save()

    def _score_alone(self, text: UnscoredText) -> None:
        """Scores one text. Each attempt is recorded before it is made, since it may kill this process."""
        faults = text.faults
        while faults < FAULTS_BEFORE_UNSCORED:
            faults += 1
            self._record_attempt(text, faults)
            try:
                scores = self._scores([text])
            except ScoringPostponed:
                self._record_attempt(text, faults - 1)
                raise
            except Exception as error:
                self._failed.setdefault(text.output_id, type(error).__name__)
            else:
                self._scored += zip([text], scores, strict=True)
                self._save()
                return
        self._runtime.patiently(lambda: give_up_scoring(self._runtime.database, self._claim, text.output_id))

    def _record_attempt(self, text: UnscoredText, number: int) -> None:
        self._runtime.patiently(
            lambda: count_scoring_attempt(self._runtime.database, self._claim, text.output_id, number)
        )

    def _scores(self, group: Sequence[UnscoredText]) -> list[Judgement]:
        return judge([text.text for text in group], self._score_by, partial(classify, self._runtime, self._classifier))

    def _save(self) -> None:
        scored, self._scored = self._scored, []
        while scored:
            verdicts = [
                ScoredText(
                    output_id=text.output_id,
                    scores=judged.scores,
                    deciding=judged.deciding,
                    blocked=tuple(self._blocklist.find(text.text)),
                )
                for text, judged in scored
            ]
            try:
                self._runtime.patiently(lambda verdicts=verdicts: self._store(verdicts))  # type: ignore[misc]
                break
            except PolicyChanged:
                self._read_job()
        self._saved_at = time.monotonic()

    def _store(self, verdicts: Sequence[ScoredText]) -> None:
        save_scores(
            self._runtime.database,
            self._claim,
            verdicts,
            self._job.blocklist,
            classifier=self._job.safety,
            classifier_revision=self._classifier.revision,
            score_by=self._score_by,
        )

    def _read_job(self) -> None:
        self._job = self._runtime.patiently(lambda: get_job(self._runtime.database, self._claim.job_id))
        self._blocklist = compiled_blocklist(self._job.blocklist)


def _adopt_revision(runtime: Runtime, job: JobRow, claim: Claim, classifier: Classifier) -> bool:
    if job.served_classifier_revision == classifier.revision:
        return True
    return runtime.patiently(lambda: adopt_classifier(runtime.database, claim, classifier.revision))


def score(runtime: Runtime, claim: Claim) -> bool:
    """Scores a claimed batch. Returns whether it was finished."""
    with hold_claim(runtime, claim, on_failure=lambda _: retry_when_lease_ends(runtime, claim)) as lease:
        job = runtime.patiently(lambda: get_job(runtime.database, claim.job_id))
        classifier = runtime.classifiers.get(job.safety)
        if classifier is not None and _adopt_revision(runtime, job, claim, classifier):
            return Scoring(runtime, lease, classifier, job.score_by).run()
        # Not loaded here, or not the revision that scores this job: another worker may have it.
        runtime.patiently(lambda: release_claim(runtime.database, claim))
    return False
