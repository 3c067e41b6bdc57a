"""`inkmill reproduce`: regenerates stored outputs with an engine in this process, and compares them.

Apart from `inkmill try` and `evaluate`, the only command code that loads torch. The command and SQL choose the outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING

from common.wording import counted
from contract.errors import ModelUnavailable
from contract.model_kinds.own_model import own_model_folder
from db.results.reproduction import OutputRecord
from inkmill.output_comparison import OutputComparison, as_json, as_lines, compare, provenance_changes
from inkmill.quiet_libraries import log_to_standard_error
from inkmill.show.display import ProgressLine, print_json
from inkmill.show.terminal import messages, output

if TYPE_CHECKING:
    from worker.engine.load.loading import Loaded

SLOTS = 64
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Setup:
    """A model and the ways to run it, the best first: outputs of one setup are regenerated together."""

    model: str
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    threads: int  # as many as at the time, however many cores are here; 0 = not recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionReport:
    """Compared outputs, and where they come from."""

    comparisons: Sequence[OutputComparison]
    job: int | None = None  # None = the outputs were named
    drawn_from: int | None = None  # outputs in the job
    seed: int | None = None  # of the draw

    @property
    def same(self) -> int:
        return sum(comparison.same for comparison in self.comparisons)


def regenerate(records: Sequence[OutputRecord], *, device: str = AUTO, dtype: str = AUTO) -> list[OutputComparison]:
    """Regenerates outputs and compares them, in order.

    Args:
        device: "auto" = the kind that generated each output, where available.
        dtype: "auto" = each output's own, where available.

    Raises:
        ModelUnavailable: a model cannot be loaded.
    """
    if find_spec("torch") is None:
        raise ModelUnavailable("torch is not installed, and reproduce needs it: pip install 'inkmill[worker]'")
    groups: dict[Setup, list[OutputRecord]] = {}
    for record in records:
        groups.setdefault(_setup(record, device, dtype), []).append(record)
    compared: dict[int, OutputComparison] = {}
    with ProgressLine() as progress:
        for setup, group in groups.items():
            progress.say(f"loading {setup.model}")
            for comparison in _regenerate(setup, group):
                compared[comparison.id] = comparison
                progress.say(f"{len(compared):,} of {counted(len(records), 'output')} regenerated", at_once=False)
    return [compared[record.id] for record in records]


def _setup(record: OutputRecord, device: str, dtype: str) -> Setup:
    made_by = record.made_by
    kind = made_by.device.partition(":")[0]  # "cuda:NVIDIA H200" -> "cuda"
    devices = (kind,) if kind == "cpu" else (kind, AUTO)  # every machine has a CPU
    return Setup(
        model=made_by.model,
        devices=devices if device == AUTO else (device,),
        dtypes=(made_by.dtype, AUTO) if dtype == AUTO else (dtype,),
        threads=made_by.threads,
    )


def _regenerate(setup: Setup, records: Sequence[OutputRecord]) -> Iterator[OutputComparison]:
    from worker.engine.sequence import Request

    loaded = _load(setup, slots=min(len(records), SLOTS))
    _warn_of_other_revisions(setup.model, records, loaded.provenance.revision)
    by_key: dict[Hashable, OutputRecord] = {record.id: record for record in records}
    engine = loaded.engine
    engine.add(Request(key=r.id, prompt=r.prompt, settings=r.settings, seed=r.seed, chat=r.chat) for r in records)
    while engine.pending:
        for result in engine.step():
            yield compare(by_key[result.key], result, loaded.provenance)


def _load(setup: Setup, slots: int) -> Loaded:
    """The model, in the first way of the setup that works here."""
    from worker.engine.load.loading import load_engine

    log_to_standard_error()
    refusals: list[ModelUnavailable] = []
    for dtype, device in product(setup.dtypes, setup.devices):
        try:
            loaded = load_engine(
                setup.model, device, dtype, slots, setup.threads or None, own_model_folder(setup.model)
            )
        except ModelUnavailable as error:
            refusals.append(error)
            continue
        if refusals:
            messages.print(
                f"warning: {setup.model} cannot run as it did then ({refusals[0]}); "
                f"running it on {loaded.provenance.device} in {loaded.provenance.dtype}",
                markup=False,
            )
        return loaded
    raise refusals[-1]  # the last way needs least of the machine, so its error is the one about the model


def _warn_of_other_revisions(model: str, records: Sequence[OutputRecord], here: str) -> None:
    for revision, count in Counter(record.made_by.revision for record in records).items():
        if revision != here:
            made = counted(count, "of these outputs was", "of these outputs were")
            messages.print(
                f"warning: the model {model} has changed: {made} generated by revision {revision}, here it is {here}",
                markup=False,
            )


def show(report: ReproductionReport, *, json: bool) -> None:
    """Prints a report on standard output. Of outputs drawn from a job, only those that differ are printed."""
    if json:
        print_json(
            {
                "job": report.job,
                "drawn_from": report.drawn_from,
                "seed": report.seed,
                "total": len(report.comparisons),
                "same": report.same,
                "outputs": [as_json(comparison) for comparison in report.comparisons],
            }
        )
        return
    for comparison in report.comparisons:
        if report.job is None or not comparison.same:
            for line in as_lines(comparison):
                output.print(line, markup=False)
    output.print(f"{report.same:,} of {len(report.comparisons):,} the same", markup=False)
    if report.job is not None:
        for line in provenance_changes(report.comparisons):
            output.print(line, markup=False)
