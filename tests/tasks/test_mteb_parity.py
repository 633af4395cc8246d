"""Our scores are those of mteb's own code on the same vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pytest

from paraclip_bench.data.source import FolderSource
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.metrics.inference import point
from paraclip_bench.tasks.sts import STS12
from paraclip_bench.tasks.sugarcrepe import SugarCrepe
from paraclip_bench.tasks.visual_genome import VGRelation, VisualGenomeCase
from paraclip_bench.tasks.winoground import Winoground
from paraclip_bench.tasks.word_order import CocoOrder, Flickr30kOrder

pytestmark = pytest.mark.slow  # importing mteb takes five seconds


def unit(rng: np.random.Generator, d: int) -> np.ndarray:
    raw = rng.normal(size=d).astype(np.float32)
    return raw / np.linalg.norm(raw)


def test_sts_of_real_pairs(real: Callable[[str], Path], given: Callable[..., Any]) -> None:
    import mteb
    import torch
    from datasets import Dataset
    from mteb.timing import TimingStack

    pairs = STS12().load(FolderSource(real("sts").parent), "all")
    rng = np.random.default_rng(5)
    texts = dict.fromkeys(text for pair in pairs for text in (pair.sentence1, pair.sentence2))
    # Sentences that share words point the same way, so that the scores mean something.
    words: dict[str, np.ndarray] = {}
    for text in texts:
        parts = [words.setdefault(word, unit(rng, 32)) for word in text.split()]
        raw = np.sum(parts, axis=0)
        texts[text] = raw / np.linalg.norm(raw)

    class Bag:
        """The same vectors as a model of mteb's."""

        mteb_model_meta = None

        def encode(self, inputs: Any, **_: Any) -> np.ndarray:
            return np.stack([texts[text] for batch in inputs for text in batch["text"]])

        def similarity(self, a: Any, b: Any) -> Any:
            return torch.as_tensor(a) @ torch.as_tensor(b).T

        def similarity_pairwise(self, a: Any, b: Any) -> Any:
            return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)

    rows = Dataset.from_dict(
        {
            "sentence1": [pair.sentence1 for pair in pairs],
            "sentence2": [pair.sentence2 for pair in pairs],
            "score": [pair.score for pair in pairs],
        }
    )
    theirs = mteb.get_task("STS12")._evaluate_subset(
        Bag(),
        rows,
        encode_kwargs={"batch_size": 256},
        hf_split="test",
        hf_subset="default",
        timer=TimingStack(),
    )
    ids = np.arange(len(pairs))
    ours = {"cluster_id": ids, **STS12().outcomes(pairs, given(texts.__getitem__))}
    scores = {name: point(score, ours) for name, score in STS12().scores.items()}
    assert scores["spearman"] > 0.2
    # mteb normalises the unit vectors once more, which moves a cosine by up to 1e-7.
    assert scores["spearman"] == pytest.approx(theirs["cosine_spearman"], abs=1e-6)
    assert scores["pearson"] == pytest.approx(theirs["cosine_pearson"], abs=1e-6)


def test_vg_with_ties(given: Callable[..., Any]) -> None:
    import torch
    from mteb.abstasks.image.image_text_pair_classification import (
        AbsTaskImageTextPairClassification,
    )

    from paraclip_bench.data.images import ImageRef
    from paraclip_bench.tasks.base import Examples

    cases = [
        VisualGenomeCase(ImageRef(f"{i}", data=bytes([i % 50])), f"true {i}", f"false {i}", "on")
        for i in range(400)
    ]
    embed = given()
    scores = [
        torch.from_numpy(
            embed.images([case.image]) @ embed.texts([case.true_caption, case.false_caption]).T
        )
        for case in cases
    ]
    theirs = AbsTaskImageTextPairClassification._compute_metrics(None, scores, 1, 2)
    columns = {
        "cluster_id": np.arange(400),
        **VGRelation().outcomes(Examples(cases, protocol="mteb"), embed),
    }
    assert 0.1 < columns["tie"].mean() < 0.9
    # mteb's main score of ARO is text_acc: the text that is nearest to the image is the true one.
    ours = point(VGRelation().scores["accuracy"], columns)
    assert ours == pytest.approx(theirs["text_acc"], abs=1e-6)


@pytest.mark.parametrize(
    "task", [SugarCrepe(), Winoground(), CocoOrder(), Flickr30kOrder()], ids=lambda task: task.name
)
def test_compositional_tasks_with_ties(
    task: Any, tmp_path: Path, given: Callable[..., Any], coarse: Callable[[str], list[float]]
) -> None:
    import torch
    from mteb.abstasks.image.image_text_pair_classification import (
        AbsTaskImageTextPairClassification,
    )

    rng = np.random.default_rng(7)
    if task.name == "sugarcrepe":
        compositional.sugarcrepe(tmp_path, rng, 30)
        sides = (("image",), ("caption", "negative_caption"))
    elif task.name == "winoground":
        compositional.winoground(tmp_path, rng, 200)
        sides = (("image_0", "image_1"), ("caption_0", "caption_1"))
    else:
        compositional.order(tmp_path, task.name, rng, 200)
        sides = (("image",), ("captions",))
    embed = given(coarse, lambda image: coarse(image.sha256))
    examples = read_examples(task, FolderSource(tmp_path), "mteb", None)
    scores = []
    for example in examples:
        images, texts = ([getattr(example, name) for name in names] for names in sides)
        texts = list(texts[0]) if sides[1] == ("captions",) else texts
        # Products of these vectors are exact, so that a product of any shape has the same ties.
        scores.append(torch.from_numpy(embed.images(images) @ embed.texts(texts).T))
    theirs = AbsTaskImageTextPairClassification._compute_metrics(None, scores, *scores[0].shape)
    columns = {"example_id": np.arange(len(scores)), **task.outcomes(examples, embed)}
    assert 0.1 < columns["tie"].mean() < 0.95
    if task.name == "winoground":
        names = {"group": "accuracy", "text": "text_acc", "image": "image_acc"}
    else:
        names = {"accuracy": "text_acc"}
    for ours, name in names.items():
        assert 0 < theirs[name] < 1
        assert point(task.scores[ours], columns) == pytest.approx(theirs[name], abs=1e-6)
