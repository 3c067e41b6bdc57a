"""The tables, declared once for SQLite and PostgreSQL.

Times are seconds since the epoch by the database's own clock. A migration and this file always agree: a test
compares them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy import (
    text as sql,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

# SQLite gives an automatic row id only to a column declared exactly INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer, "sqlite")
# none_as_null: a Python None is SQL's NULL, never the JSON text "null".
# Plain JSON on PostgreSQL too: JSONB would reorder a user's metadata.
Json = JSON(none_as_null=True)


class AnyText(TypeDecorator[str]):
    """Text that a model or an exception made. PostgreSQL refuses U+0000, so both store U+FFFD in its place."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value if value is None else value.replace("\0", "\ufffd")


class Base(DeclarativeBase):
    """The root of the tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Job(Base):
    """One submitted prompt file with its settings."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    # Two submits of the same bytes and settings meet at `once`; --again leaves it empty.
    fingerprint: Mapped[str] = mapped_column(Text)
    once: Mapped[str | None] = mapped_column(Text, unique=True)
    model: Mapped[str] = mapped_column(Text)
    safety: Mapped[str] = mapped_column(Text)
    score_by: Mapped[str] = mapped_column(Text, server_default=sql("'window'"))  # a contract.policy.ScoreBy
    seed: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[dict[str, Any]] = mapped_column(Json)  # every sampling setting; a row's own lie over it
    thresholds: Mapped[dict[str, float]] = mapped_column(Json)
    blocklist: Mapped[list[str]] = mapped_column(Json)
    blocklist_digest: Mapped[str] = mapped_column(Text, server_default=sql("''"))  # whose it is, by contract.blocklist
    # The last output that this policy was applied to, while a reflag is under way or after it was killed.
    reflagged_to: Mapped[int | None] = mapped_column(Id)
    on_flag: Mapped[str] = mapped_column(Text)
    batch_size: Mapped[int] = mapped_column(Integer)
    # What the submitter asked for, and what the first claim settled: later claims must match it.
    device: Mapped[str] = mapped_column(Text)
    dtype: Mapped[str] = mapped_column(Text)
    served_revision: Mapped[str | None] = mapped_column(Text)
    served_dtype: Mapped[str | None] = mapped_column(Text)
    served_engine: Mapped[str | None] = mapped_column(Text)
    served_numerics: Mapped[str | None] = mapped_column(Text)
    served_threads: Mapped[int | None] = mapped_column(Integer)  # for whoever starts a worker that carries it on
    served_classifier_revision: Mapped[str | None] = mapped_column(Text)
    # Texts that were scored by another revision of the classifier than that one are scored again.
    rescoring: Mapped[bool] = mapped_column(Boolean, server_default=false())
    # Who is writing the prompts, while the job is ingesting, and until when it counts as alive without a further sign.
    producer: Mapped[str | None] = mapped_column(Text)
    ingest_until: Mapped[float | None] = mapped_column(Double)
    # The installation whose stack may end the job where it cannot load the model; NULL = none may.
    owner: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(AnyText)
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (Index(None, "fingerprint"), Index(None, "status"))


class Batch(Base):
    """The unit that one task claims. Its counters are kept by the same transaction as the rows they count."""

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    status: Mapped[str] = mapped_column(Text)
    # The lease.
    worker: Mapped[str | None] = mapped_column(Text)
    lease_token: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[float | None] = mapped_column(Double)
    alone: Mapped[bool] = mapped_column(Boolean, server_default=false())  # claimed as a suspect, nothing beside it
    deaths: Mapped[int] = mapped_column(Integer, server_default="0")  # over 0 = suspect
    expiries: Mapped[int] = mapped_column(Integer, server_default="0")  # leases that ran out in a row, no save between
    # Counters.
    prompts: Mapped[int] = mapped_column(Integer, server_default="0")
    outputs: Mapped[int] = mapped_column(Integer, server_default="0")  # asked for: the sum of its prompts' n
    done: Mapped[int] = mapped_column(Integer, server_default="0")
    dead: Mapped[int] = mapped_column(Integer, server_default="0")
    cancelled: Mapped[int] = mapped_column(Integer, server_default="0")
    generated: Mapped[int] = mapped_column(Integer, server_default="0")
    scored: Mapped[int] = mapped_column(Integer, server_default="0")
    unscored: Mapped[int] = mapped_column(Integer, server_default="0")
    flagged: Mapped[int] = mapped_column(Integer, server_default="0")
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    generated_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")

    __table_args__ = (
        Index(None, "job_id", "status"),
        Index("ix_batches_claim", "status", "deaths", "id"),
        Index("ix_batches_worker", "worker", sqlite_where=sql("worker IS NOT NULL"),
              postgresql_where=sql("worker IS NOT NULL")),
    )  # fmt: skip


class Prompt(Base):
    """One prompt. No foreign keys: they would double the time a large submit takes, and nobody else writes here."""

    __tablename__ = "prompts"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(Id)
    batch_id: Mapped[int] = mapped_column(Id)
    position: Mapped[int] = mapped_column(Integer)
    n: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(Text)
    faults: Mapped[int] = mapped_column(Integer, server_default="0")  # errors of its own
    deaths: Mapped[int] = mapped_column(Integer, server_default="0")  # processes that died while it ran alone
    custom_id: Mapped[str | None] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)  # of messages: they as one text, to be read and searched
    messages: Mapped[list[dict[str, str]] | None] = mapped_column(Json)
    sent: Mapped[str | None] = mapped_column(AnyText)  # what the chat template made of them, once a text is stored
    settings: Mapped[dict[str, Any] | None] = mapped_column(Json)
    # "metadata" itself is a name that SQLAlchemy keeps for its own use.
    extra: Mapped[dict[str, Any] | None] = mapped_column("metadata", Json)
    reason: Mapped[str | None] = mapped_column(AnyText)  # why it is dead
    code: Mapped[str | None] = mapped_column(Text)  # the same as a contract.failures.FailureCode

    __table_args__ = (UniqueConstraint("job_id", "position"), Index(None, "batch_id"))


class Provenance(Base):
    """What made an output; thousands of outputs share one row."""

    __tablename__ = "provenances"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    revision: Mapped[str] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    torch: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    isa: Mapped[str] = mapped_column(Text)
    dtype: Mapped[str] = mapped_column(Text)
    threads: Mapped[int] = mapped_column(Integer, server_default="0")
    processor: Mapped[str] = mapped_column(Text, server_default=sql("''"))
    onednn: Mapped[str] = mapped_column(Text, server_default=sql("''"))
    variables: Mapped[str] = mapped_column(Text, server_default=sql("''"))
    numerics: Mapped[str] = mapped_column(Text, server_default=sql("''"))

    __table_args__ = (
        UniqueConstraint("model", "revision", "engine", "torch", "device", "isa", "dtype", "threads", "processor",
                         "onednn", "variables", "numerics", name="uq_provenances_all"),
    )  # fmt: skip


class Output(Base):
    """One generated text: exactly one for each prompt and sample."""

    __tablename__ = "outputs"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"))
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    provenance_id: Mapped[int] = mapped_column(ForeignKey("provenances.id"))
    sample_index: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(AnyText)
    finish_reason: Mapped[str] = mapped_column(Text)
    tokens: Mapped[int] = mapped_column(Integer)
    prompt_tokens: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    mean_logprob: Mapped[float | None] = mapped_column(Double)
    logprobs: Mapped[list[Any] | None] = mapped_column(Json)
    # What was really used of the prompt and its settings, where `on_too_long` made it fit the model's window.
    fitted: Mapped[dict[str, int] | None] = mapped_column(Json)
    copied_tokens: Mapped[int | None] = mapped_column(Integer)  # of the model's training text; NULL = not known here
    created_at: Mapped[float] = mapped_column(Double)
    # How it stands with the classifier, the flag policy and people; `reviews` holds the flagged and the decided ones.
    safety: Mapped[str] = mapped_column(Text)
    score_faults: Mapped[int] = mapped_column(Integer, server_default="0")
    flagged: Mapped[bool] = mapped_column(Boolean, server_default=false())
    flag_reasons: Mapped[list[str] | None] = mapped_column(Json)
    top_score: Mapped[float | None] = mapped_column(Double)
    decision: Mapped[str | None] = mapped_column(Text)  # that stands: approve, reject, edit, or waiting (an edit)

    __table_args__ = (
        UniqueConstraint("prompt_id", "sample_index"),
        Index(None, "job_id", "id"),
    )


class Score(Base):
    """A classifier's scores of one text. Revision 0 is the text as generated, k its k-th edit."""

    __tablename__ = "scores"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"))
    revision: Mapped[int] = mapped_column(Integer, server_default="0")
    classifier: Mapped[str] = mapped_column(Text)
    classifier_revision: Mapped[str] = mapped_column(Text)
    score_by: Mapped[str] = mapped_column(Text, server_default=sql("'window'"))
    # By label, [start, end] in the text's characters of the sentence that has its score; NULL = by window.
    deciding: Mapped[dict[str, list[int]] | None] = mapped_column(Json)
    toxicity: Mapped[float | None] = mapped_column(Double)
    severe_toxicity: Mapped[float | None] = mapped_column(Double)
    obscene: Mapped[float | None] = mapped_column(Double)
    threat: Mapped[float | None] = mapped_column(Double)
    insult: Mapped[float | None] = mapped_column(Double)
    identity_attack: Mapped[float | None] = mapped_column(Double)
    sexual_explicit: Mapped[float | None] = mapped_column(Double)
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (UniqueConstraint("output_id", "revision", "classifier"),)


class WrittenFile(Base):
    """A file that was written of a job, or of a prompt file's bad lines. What has other bytes by now is not ours."""

    __tablename__ = "written_files"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    path: Mapped[bytes] = mapped_column(LargeBinary)  # absolute
    digest: Mapped[str] = mapped_column(Text)  # SHA-256 of its bytes
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))  # None = skipped lines, older than their job
    created_at: Mapped[float] = mapped_column(Double)

    __table_args__ = (Index(None, "digest"),)


class RecordedAct(Base):
    """What somebody did to a job. Rows are appended and never changed; `record` says what is written."""

    __tablename__ = "record"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    job_id: Mapped[int] = mapped_column(Id)
    at: Mapped[float] = mapped_column(Double)
    who: Mapped[str] = mapped_column(AnyText)  # the operating system's user, or a reviewer
    what: Mapped[str] = mapped_column(Text)
    before: Mapped[dict[str, Any] | None] = mapped_column(Json)
    after: Mapped[dict[str, Any] | None] = mapped_column(Json)

    __table_args__ = (Index("ix_record_job_id", "job_id", "id"),)


class Worker(Base):
    """One worker process, for as long as it lives and a while after."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)  # starting, ready, tuning, failed, stopped
    model: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    dtype: Mapped[str] = mapped_column(Text)
    device: Mapped[str] = mapped_column(Text)
    engine: Mapped[str | None] = mapped_column(Text)
    numerics: Mapped[str | None] = mapped_column(Text)
    threads: Mapped[int | None] = mapped_column(Integer)
    why_fallback: Mapped[str | None] = mapped_column(AnyText)  # why its model has no slots
    classifiers: Mapped[list[str]] = mapped_column(Json)
    classifier_revisions: Mapped[dict[str, str] | None] = mapped_column(Json)  # of those that are loaded
    error: Mapped[str | None] = mapped_column(AnyText)
    started_at: Mapped[float] = mapped_column(Double)
    last_seen: Mapped[float] = mapped_column(Double)
    tokens_per_second: Mapped[float] = mapped_column(Double, server_default="0")
    memory_mb: Mapped[float] = mapped_column(Double, server_default="0")
