"""Serving one score request: an edited text's scores, or which words of a text carry its scores."""

from __future__ import annotations

import structlog

from contract.errors import InkmillError, LeaseLost
from db.work.request_claims import RequestClaim, fail_request, return_request, save_edit_scores, save_words
from db.work.score_requests import WORDS
from worker.runtime.runtime import Runtime
from worker.safety.detoxify import Classifier
from worker.safety.occlusion import MARKED_CHARACTERS, drops, parts, without
from worker.tasks.score import PutOff, classify

log = structlog.get_logger()


def serve_request(runtime: Runtime, claim: RequestClaim) -> None:
    """Serves a claimed request, and counts a failure where that fails."""
    with runtime.leases.hold(claim):
        try:
            classifier = runtime.classifiers.get(claim.classifier)
            other = classifier is not None and claim.served_revision not in (None, classifier.revision)
            if classifier is None or other or runtime.stopping.is_set():
                # Not loaded here, or no more, or not of the revision that scores its job: another process may have it.
                runtime.patiently(lambda: return_request(runtime.database, claim))
                return
            _serve(runtime, claim, classifier)
        except PutOff:
            runtime.patiently(lambda: return_request(runtime.database, claim))
        except LeaseLost as lost:
            log.info("stopped", request=claim.request_id, why=str(lost))
        except InkmillError:
            raise
        except Exception as error:
            what = type(error).__name__  # what it says may quote the text
            log.warning("a score request failed", request=claim.request_id, attempt=claim.attempts, error=what)
            _fail(runtime, claim, f"the classifier failed: {type(error).__name__}: {error}")


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


def _fail(runtime: Runtime, claim: RequestClaim, reason: str) -> None:
    try:
        runtime.patiently(lambda: fail_request(runtime.database, claim, reason))
    except LeaseLost as lost:
        log.info("stopped", request=claim.request_id, why=str(lost))
