"""Serving one score request: the scores of an edited text, or which words of a text carry its scores."""

from __future__ import annotations

from functools import partial

import structlog

from db.work.request_claims import RequestClaim, fail_request, return_request, save_edit_scores, save_words
from db.work.score_requests import WORDS
from worker.runtime.runtime import Runtime
from worker.safety.detoxify import Classifier
from worker.safety.occlusion import MARKED_CHARACTERS, drops, parts, without
from worker.safety.pieces import cut, highest, judge, pieces_of, score_pieces
from worker.tasks.score import ScoringPostponed, classify
from worker.tasks.settle import hold_claim

log = structlog.get_logger()


def serve_request(runtime: Runtime, claim: RequestClaim) -> None:
    """Serves a claimed request; if that fails, records the failure."""
    with hold_claim(runtime, claim, on_failure=lambda error: _count_failure(runtime, claim, error)):
        try:
            classifier = runtime.classifiers.get(claim.classifier)
            wrong_revision = classifier is not None and claim.served_revision not in (None, classifier.revision)
            if classifier is None or wrong_revision or runtime.stopping.is_set():
                raise ScoringPostponed  # another worker may have loaded it, in the revision that scores the job
            _serve(runtime, claim, classifier)
        except ScoringPostponed:
            runtime.patiently(lambda: return_request(runtime.database, claim))


def _count_failure(runtime: Runtime, claim: RequestClaim, error: Exception) -> None:
    error_type = type(error).__name__  # not its message, which may quote the text
    log.warning("a score request failed", request=claim.request_id, attempt=claim.attempts, error=error_type)
    reason = f"the classifier failed: {error_type}: {error}"
    runtime.patiently(lambda: fail_request(runtime.database, claim, reason))


def _serve(runtime: Runtime, claim: RequestClaim, classifier: Classifier) -> None:
    score = partial(classify, runtime, classifier)
    if claim.kind != WORDS:
        (judged,) = judge([claim.text], claim.score_by, score)
        runtime.patiently(
            lambda: save_edit_scores(
                runtime.database, claim, judged.scores, classifier.revision, deciding=judged.deciding
            )
        )
        return
    text = claim.text[:MARKED_CHARACTERS]
    spans, pieces = parts(text), pieces_of(text, claim.score_by)
    # The pieces stay what they are: without the end of a sentence it would be read together with the next.
    texts = [cut(text, pieces), *([without(text, span, piece) for piece in pieces] for span in spans)]
    full_scores, *scores_without = map(highest, score_pieces(texts, score))
    score_drops = drops(full_scores, scores_without)
    runtime.patiently(lambda: save_words(runtime.database, claim, spans, score_drops))
