"""Row 9: prompts that raise, and prompts that take their process down, among thousands of innocent ones."""

from __future__ import annotations

from random import Random

from bench.chaos.inside.points import KILLS, RAISES
from bench.chaos.prompts import write_prompts
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2
RAISED = "this prompt was made to fail"
KILLED = "the worker process was killed by SIGKILL 3 times while it generated this prompt alone"


def attack(trial: Trial) -> None:
    stack, count = trial.stack, trial.size(10_000, 300)
    raising, killing = trial.size(20, 2), trial.size(5, 0)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    guilty = trial.random.sample(range(count), raising + killing)
    poison = dict.fromkeys(guilty[:raising], RAISES) | dict.fromkeys(guilty[raising:], KILLS)
    file_seed, seed = trial.job_seed(), trial.job_seed()
    harmless = write_prompts(stack.folder / "harmless.jsonl", count, Random(file_seed))
    poisoned = write_prompts(stack.folder / "poisoned.jsonl", count, Random(file_seed), poison)
    job = trial.submit_beside(trial.run_undisturbed(harmless, seed), poisoned, seed)
    with Watch(stack.sql) as watch:
        trial.wait_until_over(job, workers=WORKERS)
    counts = trial.stack.status(job)["prompts"]
    wanted = {"total": count, "done": count - len(guilty), "dead": len(guilty), "cancelled": 0}
    trial.check(f"exactly {len(guilty)} dead and {count - len(guilty):,} done", counts == wanted, f"{counts}")
    trial.figure("seconds", trial.seconds(job))
    trial.measure(watch)
    reasons = {number: RAISED if poison[number] == RAISES else KILLED for number in guilty}
    trial.judge(dead={job: {f"p-{number}": reason for number, reason in reasons.items()}})


ROW = Row(
    number=9,
    fault="20 prompts that raise and 5 that kill their process, among 10,000",
    promise="exactly 25 dead, each with its reason; 9,975 done",
    attack=attack,
    databases=("sqlite",),
)
