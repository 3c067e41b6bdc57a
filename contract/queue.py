"""The Celery app, the queues and the hint messages that travel in them.

SQL is the truth. A message holds the id of a batch or of a tuning, or names a score request, and even that is only a
hint: losing, doubling or forging one is harmless. Celery's own tools work on it:
`celery -A contract.queue inspect active`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from common.addresses import missing_tls_file
from common.long_waits import told_when_long
from contract.errors import QueueUnreachable
from contract.settings import Settings, settings
from contract.waiting.redis_refusals import describe_refusal, hangs_up

MAX_MESSAGES = 64
"""A queue is topped up to at most this many messages, so that Redis stays small however large a job is."""

GENERATE = "inkmill.generate"
SCORE = "inkmill.score"
TUNE = "inkmill.tune"
BROKER_ERRORS = (BrokerError, RedisError, OSError)

if TYPE_CHECKING:
    app: Celery  # see __getattr__


def generate_queue(model: str) -> str:
    """The queue of a model's generate messages."""
    return f"generate.{_slug(model)}"


def score_queue(classifier: str) -> str:
    """The queue of a classifier's score messages."""
    return f"score.{_slug(classifier)}"


def tune_queue(device: str) -> str:
    """The queue of tune messages for a kind of device: `tune.cpu` and `tune.cuda`, whichever of several GPUs it is."""
    return f"tune.{_slug(device.partition(':')[0])}"


def task_of(queue: str) -> str:
    """The one task whose messages a queue holds."""
    return {"generate": GENERATE, "tune": TUNE}.get(queue.partition(".")[0], SCORE)


def _slug(name: str) -> str:
    """A name as part of a queue's name; a hash tells apart those that had to be changed."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[-60:]
    return plain if plain == name else f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class App(Celery):  # type: ignore[misc]
    """A Celery app on the Redis that it was made with, whatever CELERY_BROKER_URL and the like say."""

    def connection(self, hostname: str | None = None, **options: Any) -> Any:
        return self.connection_for_write(hostname, **options)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url or self.conf["broker_url"], **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or self.conf["broker_url"], **options)


def make_app(config: Settings) -> Celery:
    """A Celery app on the Redis of this installation."""
    app = App("inkmill", broker=config.broker_url, set_as_current=False)
    timeout = config.service_seconds
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # An error such as "disk full" or "not a list" passes, like a Redis that is down.
        broker_channel_error_retry=True,
        broker_connection_timeout=timeout,
        broker_transport_options={
            "socket_connect_timeout": timeout,
            "socket_timeout": timeout,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        task_publish_retry=False,
        control_queue_ttl=60.0,
        event_queue_ttl=60.0,
    )
    return app


@lru_cache(maxsize=1)
def default_app() -> Celery:
    """The app on this installation's Redis, made when first asked for: that may write a password into the home."""
    return make_app(settings())


if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> Celery:
        """`app`, where Celery's commands look for it; importing this module makes none."""
        if name == "app":
            return default_app()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


REQUEST_HINT = re.compile(r"request-[0-9]{1,18}")


def request_hint(request_id: int) -> str:
    """How a score message names a score request: an edited text to score, or words to mark."""
    return f"request-{request_id}"


def top_up(queue: str, waiting: Sequence[int | str], celery: Celery | None = None) -> int:
    """Fills `queue` up to a message for each waiting batch or request, `MAX_MESSAGES` at most. Returns how many went.

    Args:
        waiting: ids of batches or of tunings, and hints of score requests, that could be claimed now, the oldest
            first.

    Raises:
        QueueUnreachable: where Redis does not answer. Nothing is lost: the next sweep tops up again.
    """
    celery = celery or default_app()
    wanted = list(waiting)[:MAX_MESSAGES]
    if not wanted:
        return 0
    task = task_of(queue)
    with _translated(celery), _connected(celery) as connection:
        there = connection.default_channel.client.llen(queue)
        # The oldest have their messages already; those without one are the newest of the wanted.
        missing = wanted[there:]
        with celery.amqp.Producer(connection) as producer:
            for hint in missing:
                celery.send_task(task, args=(hint,), queue=queue, producer=producer)
    return len(missing)


def redis_info(celery: Celery | None = None) -> dict[str, Any]:
    """Redis' own description of the server.

    Raises:
        QueueUnreachable: it does not answer.
    """
    celery = celery or default_app()
    with _translated(celery), _connected(celery) as connection:
        info: dict[str, Any] = connection.default_channel.client.info("server")
    return info


def redis_trouble(celery: Celery | None = None) -> str | None:
    """Redis and why it would accept no message now; None if it would."""
    celery = celery or default_app()
    try:
        with _connected(celery) as connection:
            # Refused just as a message would be, and changes nothing: there is no such list.
            connection.default_channel.client.rpushx("generate.nothing-there", "")
    except BROKER_ERRORS as error:
        return f"Redis at {_address(celery)}, which {_refusal(celery, error)}"
    return None


@contextmanager
def _connected(celery: Celery) -> Iterator[Any]:
    with celery.connection_for_write() as connection:
        with told_when_long(lambda: f"Redis at {_address(celery)}, which has not answered yet"):
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.2)
        yield connection


@contextmanager
def _translated(celery: Celery) -> Iterator[None]:
    try:
        yield
    except BROKER_ERRORS as error:
        raise QueueUnreachable(f"Redis at {_address(celery)} {_refusal(celery, error)}") from error


def _refusal(celery: Celery, error: BaseException) -> str:
    url = celery.conf["broker_url"]
    missing = missing_tls_file(url)
    if missing:
        return f"was not asked: {missing}"
    hint = "; if it speaks TLS, begin its URL with rediss://" if url.startswith("redis:") and hangs_up(error) else ""
    return describe_refusal(error) + hint


def _address(celery: Celery) -> str:
    address: str = celery.connection_for_write().as_uri()  # kombu leaves the password out
    return address
