"""What runs on a GPU only. None of it ever ran on one: tests run it on a CPU, or by Triton's interpreter.

bench/on_a_gpu.sh checks it on one; until it did, `inkmill doctor` says so. Knows nothing of texts and scheduling.
"""
