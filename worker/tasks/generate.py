"""Generating one claimed batch: hands requests to the engine, and saves finished texts in groups."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import structlog

from contract.errors import SettingsError
from contract.failures import FailureCode
from contract.spec import SamplingSettings, output_seed
from db.jobs.jobs import JobRow, get_job, stored_settings
from db.work.claims import Claim, finish_generation, release_claim
from db.work.lease import LeaseLost
from db.work.outputs import GeneratedText, IncompletePrompt, incomplete_prompts, record_fault, save_texts
from worker.engine.admission import code_of, describe
from worker.engine.encoded_prompt import EncodedPrompt, Rejected
from worker.engine.memory_blame import out_of_memory
from worker.engine.sequence import Completion, Fault, Request
from worker.runtime.engine_thread import Intake
from worker.runtime.lease import Lease
from worker.runtime.runtime import Runtime
from worker.tasks.settle import hold_claim, retry_when_lease_ends

SAVE_TEXTS, MAX_SAVE_TEXTS = 32, 256
"""Texts saved together, at least (or after `SAVE_SECONDS`) and at most: each save waits for the disk once."""
SAVE_SECONDS = 1.0
READING_SECONDS = 0.1
"""Prompts are tokenised for this long, then handed to the engine together."""
log = structlog.get_logger()


class Generation:
    """One claimed batch on its way through the engine."""

    def __init__(self, runtime: Runtime, lease: Lease[Claim]) -> None:
        self._runtime, self._lease, self._claim = runtime, lease, lease.claim
        self._job: JobRow = runtime.patiently(lambda: get_job(runtime.database, self._claim.job_id))
        self._intake: Intake = runtime.feeder.intake()
        self._requests: dict[tuple[int, int], Request] = {}
        self._faults: dict[int, int] = {}  # of each prompt, over all claims
        self._fault_counts: dict[int, int] = {}  # of each prompt, in this claim, for the log
        self._encoded: EncodedPrompt | None = None  # of the last prompt that was tokenised
        self._sent: dict[int, str] = {}  # by prompt, what the chat template made of messages; until a save stores it
        self._group: list[GeneratedText] = []
        self._saved_at = time.monotonic()

    def run(self) -> bool:
        """Generates the missing texts. Returns whether the batch is finished; otherwise it was given back."""
        try:
            work = self._runtime.patiently(lambda: incomplete_prompts(self._runtime.database, self._claim))
            if not self._admit(work):
                return self._give_back()
            for result in self._intake.results(patience=0.25):
                self._handle_result(result)
                self._check_lease()
                if self._runtime.stopping.is_set():
                    return self._give_back()
            self._save()
            if self._requests:
                raise RuntimeError(f"the engine gave no result for {len(self._requests)} requests")
            self._runtime.patiently(lambda: finish_generation(self._runtime.database, self._claim))
            return True
        finally:
            if self._intake.open:
                self._intake.drop()
            self._log_failures()

    def _log_failures(self) -> None:
        """Logs one line a batch, for all may fail. The reasons, which may quote the prompts, are in SQL."""
        if self._fault_counts:
            first, faults = next(iter(self._fault_counts)), sum(self._fault_counts.values())
            prompts = len(self._fault_counts)
            log.warning("prompts failed", batch=self._claim.batch_id, prompts=prompts, faults=faults, first=first)

    def _check_lease(self) -> None:
        if self._lease.lost.is_set():
            raise LeaseLost(f"batch {self._claim.batch_id} was lost or cancelled")

    def _admit(self, work: Sequence[IncompletePrompt]) -> bool:
        """Hands requests for all prompts to the engine. Returns False if the worker was told to stop meanwhile."""
        read: list[Request] = []
        since = time.monotonic()
        with self._intake.filling():
            for prompt in work:
                self._check_lease()
                if self._runtime.stopping.is_set():
                    return False
                self._faults[prompt.prompt_id] = prompt.faults
                read += self._requests_of(prompt)
                if time.monotonic() - since > READING_SECONDS:
                    self._intake.add(read)
                    read, since = [], time.monotonic()
            self._intake.add(read)
        return True

    def _requests_of(self, work: IncompletePrompt) -> Iterable[Request]:
        """Requests for the missing texts of a prompt; none if the prompt is now dead."""
        try:
            settings = stored_settings(self._job.settings, work.settings)
            key = work.position if work.custom_id is None else work.custom_id
            seeds = {index: output_seed(self._job.seed, settings.seed, key, index) for index in work.missing}
        except (SettingsError, ValueError, TypeError) as error:
            reason = f"its stored settings cannot be used: {error}"
            self._fault(work.prompt_id, reason, FailureCode.BAD_SETTINGS, certain=True)
            return ()
        prompt = self._read(work, settings)
        if prompt is None:
            return ()
        requests = {
            (work.prompt_id, index): Request(
                key=(work.prompt_id, index), prompt=prompt, settings=settings, seed=seed,
                chat=work.messages is not None, encoded=self._encoded,
            )
            for index, seed in seeds.items()
        }  # fmt: skip
        self._requests |= requests
        return requests.values()

    def _read(self, work: IncompletePrompt, settings: SamplingSettings) -> str | None:
        """Tokenises a prompt and its settings, reusing the last reading. Returns what is sent; None: it is now dead."""
        while True:
            try:
                prompt = self._prompt_of(work)
                self._encoded = self._intake.read(prompt, settings, self._encoded, chat=work.messages is not None)
                return prompt
            except Rejected as error:
                self._fault(work.prompt_id, str(error), error.code, certain=True)
                return None
            except Exception as error:
                if out_of_memory(error):
                    raise
                if self._fault(work.prompt_id, describe(error), code_of(error), certain=False):
                    return None

    def _prompt_of(self, work: IncompletePrompt) -> str:
        """What the model is sent. Messages are made a prompt once: a template may write the day's date."""
        if work.messages is None:
            return work.prompt
        if work.sent is not None:
            return work.sent
        self._sent[work.prompt_id] = prompt = self._intake.prompt_of(work.messages, self._job.model)
        return prompt

    def _handle_result(self, result: Completion | Fault | None) -> None:
        if isinstance(result, Completion):
            self._add_to_group(result)
        elif isinstance(result, Fault):
            self._retry_or_give_up(result)
        enough = len(self._group) >= SAVE_TEXTS or time.monotonic() - self._saved_at > SAVE_SECONDS
        if len(self._group) >= MAX_SAVE_TEXTS or (enough and not self._intake.ready):
            self._save()

    def _add_to_group(self, completion: Completion) -> None:
        request = self._requests.pop(completion.key, None)  # type: ignore[call-overload]
        if request is None:
            return  # the prompt died of another sample's fault
        prompt_id, sample_index = request.key
        self._group.append(
            GeneratedText(
                prompt_id=prompt_id,
                sample_index=sample_index,
                text=completion.text,
                finish_reason=completion.finish_reason,
                tokens=completion.tokens,
                prompt_tokens=completion.prompt_tokens,
                seed=request.seed,
                mean_logprob=completion.mean_logprob,
                logprobs=completion.logprobs,
                fitted=request.encoded.fitted if request.encoded else None,
                copied_tokens=self._runtime.copied_tokens(completion.text),
            )
        )

    def _retry_or_give_up(self, fault: Fault) -> None:
        prompt_id = fault.key[0]  # type: ignore[index]
        request = self._requests.get(fault.key)  # type: ignore[call-overload]
        if request is None:
            return  # the prompt died of another sample's fault
        if not self._fault(prompt_id, fault.reason, fault.code, certain=fault.certain):
            self._intake.add([request])
            return
        siblings = [key for key in self._requests if key[0] == prompt_id]
        for key in siblings:
            del self._requests[key]
        self._intake.drop(siblings)

    def _fault(self, prompt_id: int, reason: str, code: FailureCode, *, certain: bool) -> bool:
        self._fault_counts[prompt_id] = self._fault_counts.get(prompt_id, 0) + 1
        self._faults[prompt_id] = number = self._faults[prompt_id] + 1
        return self._runtime.patiently(
            lambda: record_fault(
                self._runtime.database, self._claim, prompt_id, reason, number=number, certain=certain, code=code
            )
        )

    def _save(self) -> None:
        group, self._group = self._group, []
        if group:
            scored_later = self._job.safety != "none"
            sent = {text.prompt_id: self._sent.pop(text.prompt_id) for text in group if text.prompt_id in self._sent}
            self._runtime.patiently(
                lambda: save_texts(
                    self._runtime.database, self._claim, group, self._runtime.provenance, scored_later=scored_later,
                    sent=sent,
                )
            )  # fmt: skip
        self._saved_at = time.monotonic()

    def _give_back(self) -> bool:
        """Saves every finished text, some of which may have piled up behind a save, and gives the batch back."""
        self._intake.drop()
        for result in self._intake.results(patience=0):
            if result is None:
                break  # the engine hangs
            if isinstance(result, Completion):
                self._add_to_group(result)
        self._save()
        release_claim(self._runtime.database, self._claim)
        return False


def generate(runtime: Runtime, claim: Claim) -> bool:
    """Generates a claimed batch. Returns whether it was finished."""
    # If the job was cancelled, the batch is still ours to give back; if another worker holds it, this changes nothing.
    with hold_claim(
        runtime,
        claim,
        on_failure=lambda _: retry_when_lease_ends(runtime, claim),
        on_lost=lambda: runtime.patiently(lambda: release_claim(runtime.database, claim)),
    ) as lease:
        return Generation(runtime, lease).run()
    return False
