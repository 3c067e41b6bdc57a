"""What tells jobs of one name apart, in words: the settings in which they differ. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from db.jobs.jobs import ListedJob


def differences(jobs: Iterable[ListedJob]) -> dict[int, dict[str, Any]]:
    """By job, the settings in which it differs from others of its name, with its own values; jobs that differ in
    nothing are left out. Seeds are named where nothing else differs: they are drawn anew for every job."""
    by_name: dict[str, list[ListedJob]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job)
    found: dict[int, dict[str, Any]] = {}
    for alike in by_name.values():
        found |= _within(alike)
    return found


def as_words(values: Mapping[str, Any]) -> str:
    """Settings as a list of jobs shows them."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _within(jobs: Sequence[ListedJob]) -> dict[int, dict[str, Any]]:
    settings = [_settings(job) for job in jobs]
    names = [name for name in settings[0] if any(one[name] != settings[0][name] for one in settings)]
    if not names:
        names = ["seed"] if len({job.seed for job in jobs}) > 1 else []
    every = [one | {"seed": job.seed} for one, job in zip(settings, jobs, strict=True)]
    return {job.id: {name: one[name] for name in names} for job, one in zip(jobs, every, strict=True) if names}


def _settings(job: ListedJob) -> dict[str, Any]:
    sampling = {name: value for name, value in job.settings.to_dict().items() if name != "seed"}
    policy = {"thresholds": job.thresholds, "blocklist": job.blocklist_digest[:8] or None, "on_flag": job.on_flag}
    return {
        "model": job.model,
        "safety": job.safety,
        "score_by": job.score_by,
        "device": job.device,
        "dtype": job.dtype,
        **sampling,
        **policy,
    }


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={number}" for name, number in value.items()) or "default"
    if isinstance(value, list):
        return " ".join(map(repr, value)) or "none"
    return "none" if value is None else str(value)
