"""One process that claims batches until none is left: `python -m bench.load.claimant URL NUMBER [HINT…]`.

With hints it asks for those batches first, as a worker does whose messages name them.
"""

from __future__ import annotations

import sys
import time

from bench.load.jobs import LEASE, ability
from bench.load.process_group import print_report, wait_for_start
from db.session.engine import open_database
from db.work.claims import Claim, claim_generation


def main() -> None:
    url, number, *words = sys.argv[1:]
    database, own_ability, hints = (
        open_database(url),
        ability(f"claimant-{number}"),
        [int(word) for word in reversed(words)],
    )
    claimed: list[int] = []
    waits: list[float] = []

    def claim() -> Claim | None:
        start = time.perf_counter()
        claim_made = claim_generation(database, own_ability, LEASE, hint=hints.pop() if hints else None)
        waits.append(1000 * (time.perf_counter() - start))
        return claim_made

    wait_for_start()
    while (claim_made := claim()) is not None:
        claimed.append(claim_made.batch_id)
    print_report(claimed=claimed, milliseconds=waits[:-1])


if __name__ == "__main__":
    main()
