"""The data sets of the tasks that are installed, by the tasks' names."""

from paraclip_bench.tasks.catalog import all_tasks

DATA_SETS = {task.name: task.data_set for task in all_tasks()[0] if task.data_set is not None}
PINS = {name: data.pin for name, data in DATA_SETS.items() if data.pin is not None}
EQUIVALENTS = {name: data.mteb for name, data in DATA_SETS.items() if data.mteb is not None}
