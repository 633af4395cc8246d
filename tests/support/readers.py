"""Every reader of a file that somebody else may have written, each with a file that it can read.

`READERS` is what the fuzz test goes through: whatever is in the file, a reader gives rows or raises
a `BenchError`. A new reader belongs here.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import compositional
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tars
import tiny_clip
from PIL import Image

from paraclip_bench.bridges import trec_export
from paraclip_bench.bridges.table_export import write_csv, write_parquet
from paraclip_bench.data.gallery import read_gallery
from paraclip_bench.data.images import ImageRef
from paraclip_bench.data.snapshot import read_manifest
from paraclip_bench.data.source import FolderSource
from paraclip_bench.data.training_rows import read_rows, training_files
from paraclip_bench.errors import BenchError
from paraclip_bench.evaluation.plan import read_examples
from paraclip_bench.files import parse_json
from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.metrics.inference import estimates
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.load import load_model
from paraclip_bench.paraphrasing.captions import CaptionFields, caption_files, read_captions
from paraclip_bench.paraphrasing.endpoint import UNREADABLE, read_completion
from paraclip_bench.paraphrasing.journal import Journal
from paraclip_bench.paraphrasing.pairs_file import read_pairs
from paraclip_bench.paraphrasing.pairs_report import statistics
from paraclip_bench.paraphrasing.prompts import prompts
from paraclip_bench.results import store
from paraclip_bench.results.checks import check, find_results
from paraclip_bench.results.contributions import contributions_path, keep, read_contributions
from paraclip_bench.results.exchange import diff, merge
from paraclip_bench.tasks.catalog import load_task
from paraclip_bench.tasks.perturbation import ParaphraseFile
from paraclip_bench.training.recipe import read_recipe, shipped

KEPT = Path(__file__).parent / "formats_0_1"
TEXTS = {"caption": "a dog runs", "paraphrase_1": "one dog runs", "paraphrase_2": "a hound runs"}
PAIR = {"image": "a.png", **TEXTS}


@dataclasses.dataclass(frozen=True)
class Reader:
    """What reads a file: `make` writes a good one in a folder, `read` reads all that is in it."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    slow: bool = False


def _task(name: str, protocol: str, relative: str, make: Callable[[Path], Any]) -> Reader:
    """A file in the layout of --data-dir, which `make` writes below a root."""

    def write(folder: Path) -> Path:
        make(folder)
        return folder / relative

    root_at = len(Path(relative).parts) - 1

    def read(path: Path) -> None:
        task = load_task(name)
        read_examples(task, FolderSource(path.parents[root_at]), protocol, None)

    return Reader(f"{name}: {relative}", write, read)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _image(mode: str = "RGB", form: str = "PNG", **options: Any) -> bytes:
    image = Image.fromarray(_rng().integers(0, 256, (12, 10, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def _write(root: Path, relative: str, content: str | bytes) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _retrieval(root: Path) -> None:
    for i in range(12):
        _write(root, f"paraphrased-retrieval/images/{i:02}.png", _image())
    rows = [{"query": f"a {i}", "paraphrase": f"b {i}", "image_id": f"{i:02}.png"} for i in (1, 2)]
    _write(root, "paraphrased-retrieval/queries.jsonl", _lines(*rows))
    names = "".join(f"{i:02}.png\n" for i in range(11))
    _write(root, "paraphrased-retrieval/gallery.txt", names)


def _captioned(name: str, file: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for i in range(11):
            _write(root, f"{name}/images/{i:02}.png", _image())
        sentences = [{"raw": "a dog"}, {"raw": "the dog"}]
        images = [
            {"filename": f"{i:02}.png", "split": "test", "sentences": sentences} for i in range(11)
        ]
        if file == "captions.jsonl":
            rows = [{"image": f"{i:02}.png", "captions": ["a dog", "b"]} for i in range(11)]
            _write(root, f"{name}/{file}", _lines(*rows))
        else:
            _write(root, f"{name}/{file}", json.dumps({"images": images}))

    return make


def _genome(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        _write(root, f"{name}/images/a.png", _image())
        row = {"image_path": "a.png", "true_caption": "a on b", "false_caption": "b on a"}
        row |= {"bbox_x": 1, "bbox_y": 1, "bbox_w": 4, "bbox_h": 4}  # type: ignore[dict-item]
        more: dict[str, Any] = {"relation_name": "on"}
        if name == "vg-attribution":
            more = {"attributes": ["red", "blue"]}
        file = f"{name}/visual_genome_{name.removeprefix('vg-')}.json"
        _write(root, file, json.dumps([{**row, **more}] * 30))

    return make


def _plus(root: Path) -> None:
    _write(root, "sugarcrepe-pp/images/a.png", _image())
    row = {"filename": "a.png", "caption": "a", "caption2": "c", "negative_caption": "b"}
    rows = [{"id": i, **row} for i in range(3)]
    _write(root, "sugarcrepe-pp/swap_obj.json", json.dumps(rows))


def _pairs_of_coco(root: Path) -> None:
    for i in range(11):
        _write(root, f"coco-paraphrase/images/{i:02}.png", _image())
    row = {"filename": "03.png", "caption2": "c", "negative_caption": "b"}
    rows = [{"id": i, "caption": f"a {i}", **row} for i in range(3)]
    _write(root, "coco-paraphrase/swap_obj.json", json.dumps(rows))


def _crisscrossed(root: Path) -> None:
    _write(root, "cxc/images/a.jpg", _image())
    _write(root, "cxc/images/val2014/b.jpg", _image())
    sentences = [{"sentid": i, "raw": f"a dog {i}"} for i in range(5)]
    images = [{"filename": "a.jpg", "sentences": sentences[:3]}]
    images += [{"filename": "b.jpg", "filepath": "val2014", "sentences": sentences[3:]}]
    _write(root, "cxc/dataset_coco.json", json.dumps({"images": images}))
    for kind, head, others in (
        ("sts", "caption1,caption2", [f"COCO_val2014:sentid:{i}" for i in (1, 2, 3)]),
        ("sits", "caption,image", ["a.jpg", "b.jpg"]),
    ):
        rows = [f"{head},agg_score,sampling_method"]
        rows += [f"COCO_val2014:sentid:0,{other},{i}.5,x" for i, other in enumerate(others)]
        for part in ("test", "val"):
            _write(root, f"cxc/{kind}_{part}.csv", "\n".join(rows) + "\n")


def _classes(root: Path) -> None:
    for label in ("x", "y"):
        for i in range(2):
            _write(root, f"zero-shot-classification/images/{label}/{i}.png", _image())
    names = {"x": "a cat", "y": ["a dog", "a hound"]}
    _write(root, "zero-shot-classification/classes.json", json.dumps(names))
    _write(root, "zero-shot-classification/templates.txt", "a photo of a {}.\nthis is {c}\n")


def _sts(name: str, rows: int = 6, least: int = 1) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        lines = ["score\tsentence1\tsentence2\tsubset"]
        lines += [f"{least + i % 4}.5\ta dog {i}\tthe cat\ts{i % 2}" for i in range(rows)]
        _write(root, f"sts/{name}.tsv", "\n".join(lines) + "\n")

    return make


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def _shard(folder: Path) -> Path:
    members: dict[str, bytes] = {}
    for i in range(3):
        members[f"{i}.png"] = _image()
        members[f"{i}.txt"] = b"a dog runs"
        members[f"{i}.json"] = json.dumps(TEXTS).encode()
    return tars.write(folder / "00000.tar", members)


def _captions(file: str, content: str | bytes) -> Reader:
    def read(path: Path) -> None:
        for _ in read_captions(caption_files(path), CaptionFields()):
            pass

    return Reader(f"captions: {file}", lambda folder: _write(folder, file, content), read)


def _training(file: str, content: str | bytes) -> Reader:
    def make(folder: Path) -> Path:
        _write(folder, "images/a.png", _image())
        return _write(folder, file, content)

    return Reader(f"training rows: {file}", make, _read_training)


def _read_training(path: Path, *, with_images: bool = True) -> None:
    images = path.parent / "images" if with_images else None
    for _ in read_rows(training_files(path), images, {"image", *TEXTS}):
        pass


def _pairs(file: str, content: str | bytes) -> Reader:
    def read(path: Path) -> None:
        for _ in read_pairs(path):
            pass

    return Reader(f"pairs: {file}", lambda folder: _write(folder, file, content), read)


def _kept(relative: str, read: Callable[[Path], Any], *, slow: bool = False) -> Reader:
    """A file of the formats that are kept, with all that lies beside it."""

    def make(folder: Path) -> Path:
        top = Path(relative).parts[0]
        source = KEPT / top
        if source.is_dir():
            shutil.copytree(source, folder / top, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / top)
        return folder / relative

    return Reader(relative, make, read, slow=slow)


def _service(path: Path) -> None:
    try:
        read_completion(parse_json(path.read_bytes()))
    except UNREADABLE as error:
        raise BenchError(str(error)) from error


def _open(path: Path) -> None:
    ref = ImageRef(id=path.name, path=path)
    _ = ref.sha256
    ref.size()
    ref.open()


def _journal(path: Path) -> None:
    journal = Journal(path)
    try:
        for _ in journal.rows():
            pass
    finally:
        journal.close()


def _model(path: Path) -> None:
    model = load_model(f"local-dir:{path.parent}", Context("paper", path.parent))
    try:
        model.adapter.check()
        _ = model.fingerprint
        model.adapter.need({"text"})
        encoder = model.encoder("text")
        assert encoder is not None
        encoder.encode([encoder.prepare("a dog")[0]])
    finally:
        model.adapter.release()


def _make_contributions(folder: Path) -> Path:
    result = folder / "STS12.all.00000000.json"
    result.write_text("{}")
    columns = {"value": np.arange(12.0), "cluster_id": np.arange(12)}
    _, found, _ = estimates({"mean": mean_of("value")}, columns)
    keep(result, b"{}", "{}", found, (1, 2))
    return contributions_path(result)


def _contributions(path: Path) -> None:
    kept = read_contributions(path.with_name("STS12.all.00000000.json"), b"{}")
    if kept is not None:
        kept.score("mean")


def _outcomes(path: Path) -> None:
    store.read_outcomes(path.with_name(path.name.replace(".outcomes.parquet", ".json")))


def _check(path: Path) -> None:
    """Whether it is right, how it differs from what it was, and whether it can be merged."""
    folder = path.parent
    for place in find_results(folder):
        check(place)
    diff(folder, KEPT / "results/paper/Bags", ignored=())
    with tempfile.TemporaryDirectory() as into:
        merge([folder], Path(into, "results"))
        merge([folder], Path(into, "results"))


def _export(path: Path) -> None:
    results = path.parents[2]
    with tempfile.TemporaryDirectory() as out:
        trec_export.export(results, Path(out))
        write_csv(results, Path(out))
        write_parquet(results, Path(out))


def _manifest(folder: Path) -> Path:
    entry = {"revision": "0" * 40, "files": {"a.txt": {"sha256": "0" * 64, "bytes": 1}}}
    whole = {"schema_version": 1, "data": {"mteb/sts12-sts": entry}}
    return _write(folder, "prefetched.json", json.dumps(whole))


_CSV = 'image,caption\na.png,a dog runs\nb.png,"a cat, asleep"\n'
_COCO = {
    "images": [{"id": 7, "file_name": "000000000007.jpg"}],
    "annotations": [{"id": 1, "image_id": 7, "caption": "a dog runs"}],
}
_ANSWER = {
    "id": "x",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a dog"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def _readers() -> Iterator[Reader]:
    yield _task("STS12", "all", "sts/STS12.tsv", _sts("STS12"))
    yield _task("SICK-R", "mteb", "sts/SICK-R.all.tsv", _sts("SICK-R.all"))
    for file in ("queries.jsonl", "gallery.txt"):
        yield _task(
            "paraphrased-retrieval", "cheng2024", f"paraphrased-retrieval/{file}", _retrieval
        )
    for name, file in (
        ("coco-karpathy", "captions.jsonl"),
        ("coco-karpathy", "dataset_coco.json"),
        ("flickr30k-karpathy", "dataset_flickr30k.json"),
    ):
        yield _task(name, "karpathy", f"{name}/{file}", _captioned(name, file))
    for name in ("relation", "attribution"):
        file = f"vg-{name}/visual_genome_{name}.json"
        yield _task(f"vg-{name}", "aro", file, _genome(f"vg-{name}"))
    for file in ("sts_test.csv", "dataset_coco.json"):
        yield _task("cxc-sts", "test", f"cxc/{file}", _crisscrossed)
    yield _task("cxc-sits", "val", "cxc/sits_val.csv", _crisscrossed)
    for name, base, file in (
        ("coco-human", "coco-karpathy", "dataset_coco.json"),
        ("flickr30k-human", "flickr30k-karpathy", "captions.jsonl"),
    ):
        yield _task(name, "cheng2024", f"{base}/{file}", _captioned(base, file))
    yield _task("coco-paraphrase", "cheng2024", "coco-paraphrase/swap_obj.json", _pairs_of_coco)
    yield _task("sugarcrepe-pp", "itt", "sugarcrepe-pp/swap_obj.json", _plus)
    yield _task(
        "sugarcrepe",
        "sugarcrepe",
        "sugarcrepe/swap_att.json",
        lambda root: compositional.sugarcrepe(root, _rng(), count=2),
    )
    yield _task(
        "winoground",
        "winoground",
        "winoground/examples.jsonl",
        lambda root: compositional.winoground(root, _rng(), count=3, ties=False),
    )
    yield _task(
        "valse",
        "valse",
        "valse/foil-it.json",
        lambda root: compositional.valse(root, _rng(), count=2, ties=False),
    )
    yield _task(
        "colorswap",
        "colorswap",
        "colorswap/test.json",
        lambda root: compositional.colorswap(root, _rng(), count=3, ties=False),
    )
    for file in ("controlled_images_dataset.json", "vg_qa_two_obj.json"):
        yield _task(
            "whatsup",
            "whatsup",
            f"whatsup/{file}",
            lambda root: compositional.whatsup(root, _rng(), count=1, ties=False),
        )
    for file, _, _ in compositional.NEGBENCH.values():
        yield _task(
            "negbench",
            "mcq",
            f"negbench/{file}",
            lambda root: compositional.negbench(root, _rng(), count=3, ties=False),
        )
    yield _task(
        "coco-order",
        "aro",
        "coco-order/cases.jsonl",
        lambda root: compositional.order(root, "coco-order", _rng(), count=3),
    )
    for file in ("classes.json", "templates.txt"):
        name = "zero-shot-classification"
        yield _task(name, load_task(name).headline, f"{name}/{file}", _classes)
    yield Reader("gallery: shard", _shard, lambda path: read_gallery(path.parent, 1))
    yield Reader(
        "training rows: shard", _shard, lambda path: _read_training(path, with_images=False)
    )
    yield _training("pairs.jsonl", _lines(PAIR, PAIR))
    yield _training("pairs.parquet", _parquet([PAIR, PAIR]))
    yield _captions("captions.txt", "a dog runs\nthe cat sleeps\n")
    yield _captions("captions.csv", _CSV)
    yield _captions("captions.tsv", _CSV.replace(",", "\t"))
    yield _captions("captions.jsonl", _lines(PAIR, PAIR))
    yield _captions("captions.parquet", _parquet([PAIR, PAIR]))
    yield _captions("list.json", json.dumps([PAIR, {"image": "b.png", "captions": ["a cat", "b"]}]))
    yield _captions("captions_val.json", json.dumps(_COCO))
    yield _captions("results.csv", "image_name| comment_number| comment\na.jpg| 0| a dog runs\n")
    yield _captions("Flickr8k.token.txt", "a.jpg#0\ta dog runs\na.jpg#1\tthe dog\n")
    yield _captions("captions.jsonl.gz", gzip.compress(_lines(PAIR, PAIR).encode(), mtime=0))
    yield Reader("captions: shard", _shard, _captions("x.tar", "").read)
    yield _pairs("pairs.jsonl", _lines(PAIR, PAIR))
    yield _pairs("pairs.parquet", _parquet([PAIR, PAIR]))
    for file, content in (("w.jsonl", _lines(PAIR, PAIR)), ("w.parquet", _parquet([PAIR, PAIR]))):
        yield Reader(
            f"perturbation: {file}",
            lambda folder, file=file, content=content: _write(folder, file, content),
            ParaphraseFile,
        )
    yield Reader(
        "report of pairs",
        lambda folder: _write(
            shutil.copytree(KEPT, folder / "kept", dirs_exist_ok=True),
            "reworded.jsonl.work/report.json",
            (KEPT / "reworded.jsonl.work/report.json").read_bytes(),
        ),
        lambda path: statistics(path.parents[1] / "reworded.jsonl"),
    )
    yield Reader(
        "prompt",
        lambda folder: _write(folder, "p.txt", "Say it in other words: {text}"),
        lambda path: prompts({1: path}),
    )
    yield Reader(
        "recipe",
        lambda folder: _write(folder, "r.toml", next(iter(shipped().values())).read_bytes()),
        read_recipe,
    )
    yield Reader("manifest", _manifest, lambda path: read_manifest(path.parent))
    yield Reader(
        "answer of a service",
        lambda folder: _write(folder, "answer.json", json.dumps(_ANSWER)),
        _service,
    )
    result = next(KEPT.glob("results/paper/Bags/STS12.all.8*.json"))
    yield _kept(str(result.relative_to(KEPT)), store.read)
    outcomes = store.outcomes_path(result)
    yield _kept(str(outcomes.relative_to(KEPT)), _outcomes)
    for task in ("STS12", "vg-relation"):
        result = next(KEPT.glob(f"results/paper/Bags/{task}*.json"))
        for file in (result, store.outcomes_path(result)):
            named = str(file.relative_to(KEPT))
            yield dataclasses.replace(_kept(named, _check), name=f"check of {file.name}")
    result = next(KEPT.glob("results/paper/Bags/paraphrased*.json"))
    for file in (result, store.outcomes_path(result)):
        named = str(file.relative_to(KEPT))
        yield dataclasses.replace(_kept(named, _export), name=f"export of {file.name}")
    yield Reader("contributions", _make_contributions, _contributions)
    yield _kept("reworded.jsonl.work/journal.sqlite", _journal)
    for file in ("provenance.json", "open_clip_config.json"):
        yield _kept(f"checkpoint/{file}", _model, slow=True)
    yield Reader(
        "weights",
        lambda folder: tiny_clip.save(folder / "m") / "open_clip_model.safetensors",
        _model,
        slow=True,
    )
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        yield Reader(
            f"image: {form}",
            lambda folder, form=form: _write(folder, f"a.{form.lower()}", _image(form=form)),
            _open,
        )
    yield Reader("image: palette", lambda f: _write(f, "a.png", _image("P")), _open)


READERS = {reader.name: reader for reader in _readers()}
