"""Python imports this at the start of every process that finds it on its path: where faults wait inside a worker."""

import os

if os.environ.get("INKMILL_CHAOS"):
    from bench.chaos.inside.points import install

    install(os.environ["INKMILL_CHAOS"])
