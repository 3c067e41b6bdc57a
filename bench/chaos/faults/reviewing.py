"""Row 17: a reviewer edits, rejects, approves and undoes while the workers that score the edits are killed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping

from bench.chaos.faults.killed_workers import kill
from bench.chaos.faults.steering import LABELS
from bench.chaos.reviewer import Reviewer, signed_in_reviewer
from bench.chaos.trial import Row, Trial
from bench.chaos.watch import Watch

WORKERS = 2
THRESHOLD = 0.3
OUTPUTS = 12
"""Of those with the highest scores, and as many of those with the lowest, are decided again and again."""
SCORED_SECONDS = 120.0
ACTIONS = ("edit", "edit", "reject", "approve", "undo")
STANDING = """
SELECT o.id, o.flagged, o.text, last.revision, last.to_state, edit.text, {labels}
FROM outputs o JOIN jobs j ON j.id = o.job_id
LEFT JOIN decisions last ON last.id = (SELECT max(d.id) FROM decisions d WHERE d.output_id = o.id)
LEFT JOIN decisions edit ON edit.output_id = o.id AND edit.action = 'edit' AND edit.revision = last.revision
LEFT JOIN scores s ON s.output_id = o.id AND s.classifier = j.safety AND s.revision = coalesce(last.revision, 0)
WHERE o.job_id = ?
"""
"""Which text stands, by the record alone, and its scores."""


def attack(trial: Trial) -> None:
    stack, steps = trial.stack, trial.size(400, 40)
    stack.ensure_workers(WORKERS)
    stack.wait_until_ready(WORKERS)
    job = trial.submit(trial.prompts(trial.size(2000, 200)), "--threshold", str(THRESHOLD), undisturbed=False)
    trial.wait_until_over(job, workers=WORKERS)
    done: Counter[str] = Counter()
    with signed_in_reviewer(stack) as reviewer, Watch(stack.sql) as watch:
        outputs, texts = _chosen(trial, job)
        every = trial.size(20, 13)
        for step in range(steps):
            stack.ensure_workers(WORKERS)
            done[_decide(trial, reviewer, trial.random.choice(outputs), texts)] += 1
            if step % every == every - 1:
                done["kills"] += _kill_a_scorer(trial, watch)
        _until_scored(trial)
        # What was rejected before its scores came, and is approved with them, is what this row was made for.
        for output in outputs:
            done[_send(reviewer, output, "approve")] += 1
        _until_scored(trial)
    for name, count in sorted(done.items()):
        trial.figure(name, count)
    trial.check("every decision was taken, or refused", not done["failed"], f"{done['failed']} failed")
    trial.check("decisions were taken, and scorers killed", bool(done["edit"] and done["undo"] and done["kills"]))
    _check_flags(trial, job)
    trial.judge(scored=False)  # the queue holds what was decided, too


def _chosen(trial: Trial, job: int) -> tuple[list[int], list[str]]:
    """The outputs that are decided, and texts to edit them with: toxic ones and kind ones."""
    query = "SELECT id, text FROM outputs WHERE job_id = ? ORDER BY top_score, id"
    rows = trial.stack.sql.query(query, [job])
    some = [*rows[:OUTPUTS], *rows[-OUTPUTS:]]
    return [number for number, _ in some], [text for _, text in some if text.strip()]


def _decide(trial: Trial, reviewer: Reviewer, output: int, texts: list[str]) -> str:
    action = trial.random.choice(ACTIONS)
    text = f"{trial.random.choice(texts)} {trial.random.getrandbits(20)}" if action == "edit" else ""
    return _send(reviewer, output, action, text)


def _send(reviewer: Reviewer, output: int, action: str, text: str = "") -> str:
    """What became of it: the action, where it was taken; else refused, or failed."""
    if action == "undo":
        status = reviewer.send("/undo", output=output)
    else:
        status = reviewer.send(f"/outputs/{output}/decisions", action=action, text=text)
    return action if status < 300 else "refused" if status < 500 else "failed"


def _kill_a_scorer(trial: Trial, watch: Watch) -> bool:
    """The worker that has an edit in hand, where one is caught at it; else any."""
    scoring = trial.stack.sql.query("SELECT worker FROM score_requests WHERE status = 'scoring'")
    holding = {worker for (worker,) in scoring}
    workers = [worker for worker in trial.stack.workers if worker.child is not None]
    caught = [worker for worker in workers if worker.child and worker.worker_id(worker.child) in holding]
    return bool(workers) and kill(trial, trial.random.choice(caught or workers), watch)


def _until_scored(trial: Trial) -> None:
    """Raises:
    RuntimeError: edits wait for their scores for ever.
    """
    deadline = time.monotonic() + SCORED_SECONDS
    while trial.stack.sql.query("SELECT id FROM score_requests WHERE status IN ('waiting', 'scoring')"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"edits are not scored after {SCORED_SECONDS:.0f} s\n{trial.stack.logs()}")
        trial.stack.ensure_workers(WORKERS)
        time.sleep(0.1)


def _check_flags(trial: Trial, job: int) -> None:
    """Every flag is that of the scores of the text that stands, and `clean` has no text over the threshold."""
    labels = ", ".join(f"s.{label}" for label in LABELS)
    rows = {row[0]: row[1:] for row in trial.stack.sql.query(STANDING.format(labels=labels), [job])}
    known = {number: [score for score in row[5:] if score is not None] for number, row in rows.items()}
    fit = {number: bool(scores) and max(scores) < THRESHOLD for number, scores in known.items()}
    bad = [number for number, row in rows.items() if bool(row[0]) == fit[number]]
    trial.check("every flag is that of the text that stands", not bad, f"outputs {bad[:5]}" if bad else "")
    trial.figure("edits that stand", sum(bool(row[2]) for row in rows.values()))
    clean = _exported(trial, job)
    bad = [number for number in clean if not fit[number]]
    trial.check("clean holds no text over the threshold", not bad, f"outputs {bad[:5]}" if bad else "")
    bad = [number for number, text in clean.items() if text != (rows[number][4] or rows[number][1])]
    trial.check("clean holds the texts that stand", not bad, f"outputs {bad[:5]}" if bad else "")
    lost = {number for number in fit if fit[number] and rows[number][3] != "rejected"} - clean.keys()
    trial.check("clean lacks nothing that is clean", not lost, f"{len(lost)} lost" if lost else "")


def _exported(trial: Trial, job: int) -> Mapping[int, str]:
    """Texts by output, as `export --only clean` gives them."""
    path = trial.stack.folder / f"clean-{job}.jsonl"
    trial.stack.inkmill("export", str(job), "--only", "clean", "-o", str(path), "--allow-empty")
    lines = map(json.loads, path.read_text().splitlines())
    return {line["id"]: line["text"] for line in lines}


ROW = Row(
    number=17,
    fault="400 decisions at the review page, edits, rejections, approvals and undos, with a worker that scores them "
    "killed after every 20",
    promise="each flag is that of the text that stands; clean holds no text over a threshold",
    attack=attack,
)
