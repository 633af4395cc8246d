"""Results become one table: a row a model, a column a task's score."""

import sys

from paraclip_bench.api import CallableModule

sys.modules[__name__].__class__ = CallableModule
