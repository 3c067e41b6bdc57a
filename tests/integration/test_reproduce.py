"""`inkmill reproduce` on a real database: jobs written by a worker's runtime, then made again by the command."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

from contract.settings import Settings, settings
from contract.spec import JobSpec, PromptRow, SamplingSettings
from db.jobs.ingest import Ingest
from db.session.engine import Database, open_database
from db.work.claims import claim_generation
from inkmill.cli import run
from worker.engine.load.loading import load_engine
from worker.processor import instruction_set
from worker.runtime.classifiers import Classifiers
from worker.runtime.runtime import Runtime
from worker.tasks.generate import generate

MIXED: list[dict[str, Any]] = [
    {"prompt": "The captain"},
    {"prompt": "At dawn", "temperature": 0.7, "top_p": 0.9},
    {"prompt": "Dear Aunt", "seed": 5, "stop": ["."]},
    {"prompt": "", "top_k": 0, "repetition_penalty": 1.2},
    {"prompt": "On market day", "logprobs": 2, "min_new_tokens": 4, "bad_words": ["sea"]},
    {"prompt": "“You", "presence_penalty": 0.5, "no_repeat_ngram_size": 3, "custom_id": "mine"},
]
WRITTEN, IN_BF16, BY_FALLBACK, UNTOUCHED = 1, 2, 3, 4
"""The jobs of the database, by number."""


def submit(database: Database, model: str, count: int) -> int:
    """A job of some prompts of mixed settings, two texts each."""
    spec = JobSpec(name="p", fingerprint=model, model=model, safety="none", seed=7, batch_size=4,
                   settings=SamplingSettings(n=2, max_new_tokens=12))  # fmt: skip
    rows = []
    for position, mixed in enumerate(MIXED[:count]):
        own = {name: value for name, value in mixed.items() if name not in ("prompt", "custom_id")}
        rows.append(
            PromptRow(position=position, prompt=mixed["prompt"], n=2, custom_id=mixed.get("custom_id"), settings=own)
        )
    ingest = Ingest(database, spec, again=True)
    ingest.write(rows)
    return ingest.finish()


def write(database: Database, home: Path, model: str, dtype: str) -> None:
    """Generates all that waits for a model, as a worker's process does."""
    loaded = load_engine(model, "cpu", dtype, slots=3)
    runtime = Runtime(
        worker=f"{model} {dtype}", database=database, config=Settings(home=home), loaded=loaded,
        classifiers=Classifiers((), "cpu"),
    )  # fmt: skip
    runtime.start()
    while claim := claim_generation(database, runtime.ability, 60):
        assert generate(runtime, claim)
    runtime.stopping.set()
    runtime.leases.stop()


def make_bloom(folder: Path) -> str:
    """A tiny checkpoint that only the fallback engine runs."""
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    BloomForCausalLM(config).save_pretrained(folder)
    return str(folder.resolve())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database holds finished jobs and one that nobody began."""
    home = tmp_path_factory.mktemp("finished")
    bloom = make_bloom(home / "bloom")
    database = open_database(f"sqlite:///{home / 'inkmill.db'}")
    for model, dtype, count in (("demo", "fp32", 6), ("demo", "bf16", 3), (bloom, "fp32", 3)):
        submit(database, model, count)
        write(database, home, model, dtype)
    submit(database, "demo", 2)
    database.close()
    return home


@dataclass
class Mill:
    """A copy of that home, and the command run in it."""

    home: Path
    said: Callable[[], Any]

    def sql(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.home / "inkmill.db")) as connection, connection:
            return connection.execute(statement).fetchall()

    def made_by(self, **values: str) -> None:
        """Lets job WRITTEN have been made by something else."""
        changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
        mine = f"SELECT provenance_id FROM outputs WHERE job_id = {WRITTEN}"
        self.sql(f"UPDATE provenances SET {changes} WHERE id IN ({mine})")

    def reproduce(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        settings.cache_clear()
        status = run(["reproduce", *words])
        said = self.said()
        return status, said.out, said.err

    def report(self, *words: str) -> tuple[int, dict[str, Any]]:
        status, out, _ = self.reproduce(*words, "--json")
        return status, json.loads(out)


@pytest.fixture
def mill(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Mill]:
    for name in ("INKMILL_DATABASE_URL", "INKMILL_DEVICE", "INKMILL_DTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INKMILL_HOME", str(tmp_path))
    with (
        closing(sqlite3.connect(finished / "inkmill.db")) as source,
        closing(sqlite3.connect(tmp_path / "inkmill.db")) as copy,
    ):
        source.backup(copy)
    yield Mill(tmp_path, capsys.readouterr)
    settings.cache_clear()


def differing(report: dict[str, Any]) -> dict[int, list[str]]:
    """What differs, by output; outputs with nothing to tell are left out."""
    return {row["id"]: [d["what"] for d in row["differs"]] for row in report["outputs"] if row["differs"]}


def test_every_text_of_a_job_comes_out_the_same(mill: Mill) -> None:
    status, report = mill.report("--job", str(WRITTEN))
    assert (status, report["same"], report["total"], report["drawn_from"]) == (0, 12, 12, 12)
    assert all(row["same"] and row["fault"] is None for row in report["outputs"])
    assert differing(report) == {}
    assert all(row["mean_logprob"]["here"] == row["mean_logprob"]["stored"] for row in report["outputs"])


def test_outputs_of_several_jobs_are_each_made_with_their_own_dtype_and_engine(mill: Mill) -> None:
    first = [mill.sql(f"SELECT min(id) FROM outputs WHERE job_id = {job}")[0][0] for job in (3, 1, 2)]
    engines = dict(mill.sql("SELECT o.job_id, p.engine FROM outputs o JOIN provenances p ON p.id = o.provenance_id"))
    assert "fallback" in engines[BY_FALLBACK]
    assert "slots" in engines[WRITTEN]
    status, report = mill.report(*map(str, first))
    assert status == 0
    assert [(row["id"], row["job"], row["same"]) for row in report["outputs"]] == [
        (number, job, True) for number, job in zip(first, (BY_FALLBACK, WRITTEN, IN_BF16), strict=True)
    ]
    assert differing(report) == {}
    assert (report["job"], report["drawn_from"], report["seed"]) == (None, None, None)


def test_a_text_of_the_fallback_engine_is_reproduced_by_it(mill: Mill) -> None:
    status, out, _ = mill.reproduce("--job", str(BY_FALLBACK))
    assert (status, out) == (0, "6 of 6 the same\n")


def test_a_changed_text_is_reported_with_the_position(mill: Mill) -> None:
    ((text,),) = mill.sql("SELECT text FROM outputs WHERE id = 3")
    mill.sql("UPDATE outputs SET text = substr(text, 1, 5) || '☃' || substr(text, 7) WHERE id = 3")
    status, out, _ = mill.reproduce("2", "3")
    assert status == 1
    assert "output 2: the same\noutput 3: different\n" in out
    assert "the same up to character 5" in out
    assert f"'{text[:5]}☃" in out
    assert "the same here" in out
    assert out.endswith("1 of 2 the same\n")
    _, report = mill.report("3")
    (difference,) = report["outputs"][0]["differs"]
    assert (difference["what"], difference["at"], difference["here"]) == ("text", 5, text)


def test_for_a_sample_the_different_outputs_and_their_share_are_shown(mill: Mill) -> None:
    mill.sql("UPDATE outputs SET text = 'x', finish_reason = 'x', tokens = 1000 WHERE id = 4")
    status, out, err = mill.reproduce("--job", str(WRITTEN))
    assert status == 1
    assert out.startswith("output 4: different\n")
    assert out.count("output ") == 1
    assert "finish_reason  stored x, here " in out
    assert "tokens         stored 1000, here " in out
    assert out.endswith("11 of 12 the same\n")
    assert "job 1 has 12 outputs: regenerating all of them" in err


def test_another_torch_and_dtype_are_named_but_an_equal_text_counts_as_the_same(mill: Mill) -> None:
    mill.made_by(torch="1.0.0", isa="NEON", dtype="bf16")
    status, report = mill.report("1", "--dtype", "fp32")
    assert status == 0
    assert report["outputs"][0]["differs"] == [
        {"what": "torch", "stored": "1.0.0", "here": torch.__version__},
        {"what": "isa", "stored": "NEON", "here": instruction_set()},
        {"what": "dtype", "stored": "bf16", "here": "fp32"},
    ]
    _, out, _ = mill.reproduce("--job", str(WRITTEN), "--dtype", "fp32")
    assert out.startswith("12 of 12 the same\n")
    assert f"torch          stored 1.0.0, here {torch.__version__} (12 outputs)" in out
    assert differing(mill.report("1")[1])[1][-3:] == ["torch", "isa", "numerics"]  # in its own dtype, as the row has it


def test_an_unavailable_stored_dtype_or_device_is_replaced_with_a_warning(mill: Mill) -> None:
    mill.made_by(dtype="fp7", device="tpu:9")
    _, out, err = mill.reproduce("1")
    assert "warning: demo cannot run as it did then" in err
    assert "fp7" in out
    assert "stored tpu:9, here " in out


def test_a_changed_model_is_reported_and_still_compared(mill: Mill) -> None:
    ((revision,),) = mill.sql("SELECT DISTINCT revision FROM provenances WHERE model = 'demo'")
    mill.made_by(revision="f00d")
    status, out, err = mill.reproduce("1", "2")
    assert status == 0
    assert "2 of these outputs were generated by revision f00d" in err
    assert f"stored f00d, here {revision}" in out


def test_a_model_that_cannot_be_loaded_ends_with_4_and_the_reason(mill: Mill) -> None:
    mill.made_by(model="/no/such/folder")
    status, out, err = mill.reproduce("1")
    assert (status, out) == (4, "")
    assert "there is no folder '/no/such/folder'" in err


def test_an_unavailable_requested_device_is_an_error(mill: Mill) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    status, _, err = mill.reproduce("1", "--device", "cuda")
    assert status == 4
    assert "finds no CUDA GPU" in err


def test_a_prompt_that_the_model_no_longer_accepts_is_different_with_the_reason(mill: Mill) -> None:
    mill.sql("UPDATE prompts SET settings = '{\"max_new_tokens\": 1000}' WHERE position = 0")
    status, report = mill.report("1", "3")
    assert status == 1
    assert [row["same"] for row in report["outputs"]] == [False, True]
    assert "1000" in report["outputs"][0]["fault"]


def test_outputs_of_a_cancelled_job_and_rejected_texts_are_reproduced(mill: Mill) -> None:
    mill.sql("UPDATE jobs SET status = 'cancelled'")
    mill.sql("UPDATE prompts SET status = 'cancelled'")
    mill.sql("UPDATE outputs SET flagged = 1, decision = 'reject'")
    assert mill.reproduce("--job", str(WRITTEN), "--sample", "3")[:2] == (0, "3 of 3 the same\n")


def test_a_sample_is_as_large_as_asked_and_fixed_by_its_seed(mill: Mill) -> None:
    words = ("--job", str(WRITTEN), "--sample", "4", "--seed", "9")
    status, out, err = mill.reproduce(*words)
    assert (status, out) == (0, "4 of 4 the same\n")
    assert "4 of the 12 outputs of job 1, drawn with seed 9" in err
    _, report = mill.report(*words)
    assert (report["job"], report["drawn_from"], report["seed"], report["total"]) == (WRITTEN, 12, 9, 4)
    assert [row["id"] for row in report["outputs"]] == [row["id"] for row in mill.report(*words)[1]["outputs"]]


def test_nothing_is_stored(mill: Mill) -> None:
    tables = ("jobs", "batches", "prompts", "outputs", "provenances", "workers")
    before = {table: mill.sql(f"SELECT * FROM {table}") for table in tables}
    mill.reproduce("--job", str(WRITTEN), "--sample", "2", "--dtype", "bf16")
    assert {table: mill.sql(f"SELECT * FROM {table}") for table in tables} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to regenerate"),
        (("1", "--job", "1"), "not both"),
        (("1", "--sample", "3"), "add --job JOB"),
        (("1", "--seed", "3"), "add --job JOB"),
        (("1", "999999"), "there is no output 999999"),
        (("--job", "77"), "there is no job 77"),
        (("--job", str(UNTOUCHED)), "job 4 has no outputs, it is queued"),
        (("1", "--dtype", "fp64"), "--dtype fp64"),
        (("1", "--device", "gpu"), "--device gpu"),
        (("--job", "1", "--sample", "0"), "--sample"),
        (("1" * 30,), "OUTPUT"),
        (("one",), "OUTPUT"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wrong(mill: Mill, words: tuple[str, ...], said: str) -> None:
    status, out, err = mill.reproduce(*words)
    assert (status, out) == (2, "")
    assert said in err
