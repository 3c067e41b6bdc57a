"""Serving one score request: an edited text's scores, or which words of a text carry its scores."""

from __future__ import annotations

import structlog

from db.work.request_claims import RequestClaim, fail_request, return_request, save_edit_scores, save_words
from db.work.score_requests import WORDS
from worker.runtime.runtime import Runtime
from worker.safety.detoxify import Classifier
from worker.safety.occlusion import MARKED_CHARACTERS, drops, parts, without
from worker.tasks.score import PutOff, classify
from worker.tasks.settle import held

log = structlog.get_logger()


def serve_request(runtime: Runtime, claim: RequestClaim) -> None:
    """Serves a claimed request, and counts a failure where that fails."""
    with held(runtime, claim, failed=lambda error: _count_failure(runtime, claim, error)):
        try:
            classifier = runtime.classifiers.get(claim.classifier)
            other = classifier is not None and claim.served_revision not in (None, classifier.revision)
            if classifier is None or other or runtime.stopping.is_set():
                raise PutOff  # not loaded here, or not of the revision that scores its job: another process may have it
            _serve(runtime, claim, classifier)
        except PutOff:
            runtime.patiently(lambda: return_request(runtime.database, claim))


def _count_failure(runtime: Runtime, claim: RequestClaim, error: Exception) -> None:
    what = type(error).__name__  # what it says may quote the text
    log.warning("a score request failed", request=claim.request_id, attempt=claim.attempts, error=what)
    reason = f"the classifier failed: {what}: {error}"
    runtime.patiently(lambda: fail_request(runtime.database, claim, reason))


def _serve(runtime: Runtime, claim: RequestClaim, classifier: Classifier) -> None:
    if claim.kind != WORDS:
        (scores,) = classify(runtime, classifier, [claim.text])
        runtime.patiently(lambda: save_edit_scores(runtime.database, claim, scores, classifier.revision))
        return
    text = claim.text[:MARKED_CHARACTERS]
    spans = parts(text)
    whole, *others = classify(runtime, classifier, [text, *(without(text, span) for span in spans)])
    carried = drops(whole, others)
    runtime.patiently(lambda: save_words(runtime.database, claim, spans, carried))
