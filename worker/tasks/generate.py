"""Generating one claimed batch: requests to the engine, its texts into SQL in groups as they finish."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import structlog

from contract.errors import SettingsError
from contract.spec import SamplingSettings, output_seed
from db.jobs.jobs import JobRow, get_job, stored_settings
from db.work.claims import Claim, finish_generation, release_claim
from db.work.lease import LeaseLost
from db.work.outputs import GeneratedText, IncompletePrompt, incomplete_prompts, record_fault, save_texts
from worker.engine.admission import described
from worker.engine.encoded_prompt import Reading, Rejected
from worker.engine.memory_blame import out_of_memory
from worker.engine.sequence import Completion, Fault, Request
from worker.runtime.engine_thread import Intake
from worker.runtime.lease import Lease
from worker.runtime.runtime import Runtime
from worker.tasks.settle import held, retry_when_lease_ends

GROUP_TEXTS, MOST_TEXTS = 32, 256
"""What is saved together: so many texts, and those that came in meanwhile: each save waits for the disk once."""
GROUP_SECONDS = 1.0
READING_SECONDS = 0.1
"""Prompts that were read for so long are handed to the engine together."""
log = structlog.get_logger()


class Generation:
    """One claimed batch on its way through the engine."""

    def __init__(self, runtime: Runtime, lease: Lease[Claim]) -> None:
        self._runtime, self._lease, self._claim = runtime, lease, lease.claim
        self._job: JobRow = runtime.patiently(lambda: get_job(runtime.database, self._claim.job_id))
        self._intake: Intake = runtime.feeder.intake()
        self._requests: dict[tuple[int, int], Request] = {}
        self._faults: dict[int, int] = {}  # of each prompt, from one claim to the next
        self._failed: dict[int, int] = {}  # how often each prompt did, for the log
        self._reading: Reading | None = None  # of the last prompt that could be read
        self._group: list[GeneratedText] = []
        self._saved_at = time.monotonic()

    def run(self) -> bool:
        """Generates what is missing. Returns whether the batch was finished; otherwise it was given back or lost."""
        try:
            work = self._runtime.patiently(lambda: incomplete_prompts(self._runtime.database, self._claim))
            if not self._admit(work):
                return self._leave()
            for result in self._intake.results(patience=0.25):
                self._take(result)
                self._check_lease()
                if self._runtime.stopping.is_set():
                    return self._leave()
            self._save()
            if self._requests:
                raise RuntimeError(f"the engine gave no result for {len(self._requests)} requests")
            self._runtime.patiently(lambda: finish_generation(self._runtime.database, self._claim))
            return True
        finally:
            if self._intake.open:
                self._intake.drop()
            self._tell_of_failures()

    def _tell_of_failures(self) -> None:
        """One line a batch: a file may be full of them. Their reasons, which may quote their prompts, are stored."""
        if self._failed:
            first, faults = next(iter(self._failed)), sum(self._failed.values())
            log.warning(
                "prompts failed", batch=self._claim.batch_id, prompts=len(self._failed), faults=faults, first=first
            )

    def _check_lease(self) -> None:
        if self._lease.lost.is_set():
            raise LeaseLost(f"batch {self._claim.batch_id} was lost or cancelled")

    def _admit(self, work: Sequence[IncompletePrompt]) -> bool:
        """Reads prompt by prompt and hands requests over. Returns whether all were; else this process is to end."""
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
        """Requests for what is missing of a prompt; none where it is dead now."""
        try:
            settings = stored_settings(self._job.settings, work.settings)
            key = work.position if work.custom_id is None else work.custom_id
            seeds = {index: output_seed(self._job.seed, settings.seed, key, index) for index in work.missing}
        except (SettingsError, ValueError, TypeError) as error:
            self._fault(work.prompt_id, f"its stored settings cannot be used: {error}", certain=True)
            return ()
        if not self._read(work, settings):
            return ()
        requests = {
            (work.prompt_id, index): Request(
                key=(work.prompt_id, index), prompt=work.prompt, settings=settings, seed=seed, reading=self._reading
            )
            for index, seed in seeds.items()
        }
        self._requests |= requests
        return requests.values()

    def _read(self, work: IncompletePrompt, settings: SamplingSettings) -> bool:
        """Has the engine read a prompt; what its settings say in words is mostly read already. Returns whether it could
        be read; else it is dead now."""
        while True:
            try:
                self._reading = self._intake.read(work.prompt, settings, self._reading)
                return True
            except Rejected as error:
                self._fault(work.prompt_id, str(error), certain=True)
                return False
            except Exception as error:
                if out_of_memory(error):
                    raise
                if self._fault(work.prompt_id, described(error), certain=False):
                    return False

    def _take(self, result: Completion | Fault | None) -> None:
        if isinstance(result, Completion):
            self._keep(result)
        elif isinstance(result, Fault):
            self._retry_or_bury(result)
        enough = len(self._group) >= GROUP_TEXTS or time.monotonic() - self._saved_at > GROUP_SECONDS
        if len(self._group) >= MOST_TEXTS or (enough and not self._intake.ready):
            self._save()

    def _keep(self, done: Completion) -> None:
        request = self._requests.pop(done.key, None)  # type: ignore[call-overload]
        if request is None:
            return  # another sample's fault buried this prompt meanwhile
        prompt_id, sample_index = request.key
        self._group.append(
            GeneratedText(
                prompt_id=prompt_id,
                sample_index=sample_index,
                text=done.text,
                finish_reason=done.finish_reason,
                tokens=done.tokens,
                prompt_tokens=done.prompt_tokens,
                seed=request.seed,
                mean_logprob=done.mean_logprob,
                logprobs=done.logprobs,
            )
        )

    def _retry_or_bury(self, fault: Fault) -> None:
        prompt_id = fault.key[0]  # type: ignore[index]
        request = self._requests.get(fault.key)  # type: ignore[call-overload]
        if request is None:
            return  # another sample's fault buried this prompt already
        if not self._fault(prompt_id, fault.reason, certain=fault.certain):
            self._intake.add([request])
            return
        siblings = [key for key in self._requests if key[0] == prompt_id]
        for key in siblings:
            del self._requests[key]
        self._intake.drop(siblings)

    def _fault(self, prompt_id: int, reason: str, *, certain: bool) -> bool:
        self._failed[prompt_id] = self._failed.get(prompt_id, 0) + 1
        self._faults[prompt_id] = number = self._faults[prompt_id] + 1
        return self._runtime.patiently(
            lambda: record_fault(self._runtime.database, self._claim, prompt_id, reason, number=number, certain=certain)
        )

    def _save(self) -> None:
        group, self._group = self._group, []
        if group:
            scored_later = self._job.safety != "none"
            self._runtime.patiently(
                lambda: save_texts(
                    self._runtime.database, self._claim, group, self._runtime.provenance, scored_later=scored_later
                )
            )
        self._saved_at = time.monotonic()

    def _leave(self) -> bool:
        """Gives the batch back, with every text that is finished: some may have piled up behind a save."""
        self._intake.drop()
        for result in self._intake.results(patience=0):
            if result is None:
                break  # the engine did not hear of it: it hangs
            if isinstance(result, Completion):
                self._keep(result)
        self._save()
        release_claim(self._runtime.database, self._claim)
        return False


def generate(runtime: Runtime, claim: Claim) -> bool:
    """Generates a claimed batch. Returns whether it was finished."""
    # A cancelled job's batch is still ours to give back; one that another worker holds is not, and stays.
    with held(
        runtime,
        claim,
        failed=lambda _: retry_when_lease_ends(runtime, claim),
        lost=lambda: runtime.patiently(lambda: release_claim(runtime.database, claim)),
    ) as lease:
        return Generation(runtime, lease).run()
    return False
