"""All that a plugin imports from here; the version number promises these names and no others.

docs/plugins.md says what each is for. Importing it is cheap: no torch, no hub library.
"""

from paraclip_bench.data import digest_cache
from paraclip_bench.data.data_set import DataSet, MtebEquivalent, Pin
from paraclip_bench.data.hub import (
    offline_by,
    once_reachable,
    unreachable,
    with_images,
    without_unusable_variables,
)
from paraclip_bench.data.images import ImageRef, image_files, image_in
from paraclip_bench.data.row_files import (
    int_field,
    read_json,
    read_json_list,
    read_jsonl,
    read_tsv,
    text_field,
)
from paraclip_bench.data.source import FolderSource, HubSource, Source
from paraclip_bench.errors import BenchError, DataError, ModelError, UsageError
from paraclip_bench.metrics.accuracy import (
    ACCURACY_MICRO,
    TIE_RATE,
    macro_mean_of,
    mean_of,
    weighted_mean,
)
from paraclip_bench.metrics.agreement import AO, JS, RBO, overlaps
from paraclip_bench.metrics.correlation import pearson_of, spearman_of
from paraclip_bench.metrics.metric import (
    Columns,
    Floats,
    MeanOf,
    Metric,
    Statistic,
    TooShallow,
    batched,
    derived,
    named,
)
from paraclip_bench.metrics.ranking import Ranking, recall_of, retrieve, row_dot, unit_cosine
from paraclip_bench.models.adapter import (
    Adapter,
    Alias,
    CannotMove,
    Context,
    Encoder,
    lazy_attribute,
)
from paraclip_bench.models.training_digests import TrainingDigests
from paraclip_bench.tasks.base import (
    Embed,
    Examples,
    ExternallyMeasured,
    ExternallyScoredTask,
    Group,
    Protocol,
    Task,
    spread,
)
from paraclip_bench.tasks.catalog import Suite
from paraclip_bench.tasks.perturbation import Perturbation
from paraclip_bench.training.losses import LossTerm

__all__ = [
    "ACCURACY_MICRO",
    "AO",
    "JS",
    "RBO",
    "TIE_RATE",
    "Adapter",
    "Alias",
    "BenchError",
    "CannotMove",
    "Columns",
    "Context",
    "DataError",
    "DataSet",
    "Embed",
    "Encoder",
    "Examples",
    "ExternallyMeasured",
    "ExternallyScoredTask",
    "Floats",
    "FolderSource",
    "Group",
    "HubSource",
    "ImageRef",
    "LossTerm",
    "MeanOf",
    "Metric",
    "ModelError",
    "MtebEquivalent",
    "Perturbation",
    "Pin",
    "Protocol",
    "Ranking",
    "Source",
    "Statistic",
    "Suite",
    "Task",
    "TooShallow",
    "TrainingDigests",
    "UsageError",
    "batched",
    "derived",
    "digest_cache",
    "image_files",
    "image_in",
    "int_field",
    "lazy_attribute",
    "macro_mean_of",
    "mean_of",
    "named",
    "offline_by",
    "once_reachable",
    "overlaps",
    "pearson_of",
    "read_json",
    "read_json_list",
    "read_jsonl",
    "read_tsv",
    "recall_of",
    "retrieve",
    "row_dot",
    "spearman_of",
    "spread",
    "text_field",
    "unit_cosine",
    "unreachable",
    "weighted_mean",
    "with_images",
    "without_unusable_variables",
]
