"""Python imports this at the start of every process that finds it on its path: the worker then computes nothing."""

import os

if os.environ.get("INKMILL_BENCH_STUBS"):
    from bench.load.inside.stubs import install

    install()
