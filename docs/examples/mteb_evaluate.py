"""A model of this project in mteb's own evaluation.

python docs/examples/mteb_evaluate.py SPEC [TASK ...], such as clip STS12 STS13
"""

import sys

import mteb

from paraclip_bench.bridges.mteb import MtebEncoder


def main() -> None:
    """Evaluate, and print each task's main score."""
    spec, *names = sys.argv[1:]
    tasks = mteb.get_tasks(names or ["STS12", "STS13", "STS14", "STSBenchmark"])
    result = mteb.evaluate(MtebEncoder(spec), tasks, co2_tracker=False, cache=None)
    for found in result.task_results:
        print(f"{found.task_name:16} {found.get_score():.4f}")


if __name__ == "__main__":
    main()
