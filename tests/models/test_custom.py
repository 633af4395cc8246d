"""Adapters of a user's own file, in both forms, and the aliases."""

import json

import numpy as np
import pytest
import tiny_clip

from paraclip_bench.data.images import ImageRef
from paraclip_bench.demo.suite import base_folder
from paraclip_bench.encoding.engine import Embedder
from paraclip_bench.encoding.spaces import Spaces
from paraclip_bench.errors import ModelError, UsageError
from paraclip_bench.models.adapter import Context
from paraclip_bench.models.aliases import RECIPE
from paraclip_bench.models.load import load_model, suite_of
from paraclip_bench.models.open_clip import PROVENANCE
from paraclip_bench.progress import Progress

SIMPLE = """
import numpy as np

class Simple:
    def __init__(self, scale="1"):
        self.scale = float(scale)

    def encode_texts(self, texts):
        return np.array([[len(t), self.scale] for t in texts])

    def encode_images(self, images):
        return np.array([[image.width, image.height] for image in images])

class TextOnly:
    fingerprint = "v1"
    name = "mine"

    def encode_texts(self, texts):
        return [[1.0, len(t)] for t in texts]
"""
FULL = """
import torch

class Side:
    def __init__(self, fingerprint):
        self.fingerprint = fingerprint

    def prepare(self, item):
        return len(item), len(item.split())

    def encode(self, batch):
        return torch.tensor([[n, 1] for n in batch], dtype=torch.bfloat16)

class Full:
    text = Side("lengths")
    image = None
"""


@pytest.fixture
def embed():
    return lambda model: Embedder(model, Spaces(print), Progress(quiet=True))


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_simple_form(tmp_path, context, embed, pictures):
    file = tmp_path / "own.py"
    file.write_text(SIMPLE)
    model = load_model(f"{file}:Simple:3", context)
    assert model.name == "Simple-3"
    assert model.fingerprint is None
    vectors = embed(model)
    np.testing.assert_allclose(vectors.texts(["ab", "abcd"]), unit([[2, 3], [4, 3]]), rtol=1e-6)
    refs = [ImageRef(id=path.name, path=path) for path in pictures]
    expected = unit([[32, 32], [40, 50], [90, 33]])
    np.testing.assert_allclose(vectors.images(refs), expected, rtol=1e-6)
    assert model.text.prepare("abc") == ("abc", 3)
    assert model.image.prepare(refs[1])[0].size == (40, 50)


def test_an_argument_may_be_left_out(tmp_path, context):
    file = tmp_path / "own.py"
    file.write_text(SIMPLE)
    assert load_model(f"{file}:Simple", context).adapter._made.scale == 1
    with pytest.raises(UsageError, match="takes no argument"):
        load_model(f"{file}:TextOnly:3", context)


def test_a_side_that_is_absent_and_a_fingerprint_that_is_given(tmp_path, context):
    file = tmp_path / "own.py"
    file.write_text(SIMPLE)
    model = load_model(f"{file}:TextOnly", context)
    assert model.image is None
    assert model.name == "mine"
    assert model.text.fingerprint == f"text:{model.fingerprint}"


def test_a_fingerprint_on_the_class_is_one_for_each_class_and_argument(tmp_path, context):
    file = tmp_path / "own.py"
    simple = "    fingerprint = 'v1'\n    def __init__(self, a='0'): pass\n"
    simple += "    def encode_texts(self, texts): return [[1.0]] * len(texts)\n"
    file.write_text("".join(f"class {name}:\n{simple}" for name in ("One", "Two")))
    specs = ("One", "One:1", "One:2", "Two")
    found = [load_model(f"{file}:{spec}", context).fingerprint for spec in specs]
    assert len(set(found)) == 4
    assert found[0] == load_model(f"{file}:One", context).fingerprint
    own = "class Own:\n    def __init__(self, a='0'): self.fingerprint = 'weights'\n"
    file.write_text(own + "    def encode_texts(self, texts): return [[1.0]] * len(texts)\n")
    assert load_model(f"{file}:Own:./a", context).fingerprint == "weights"


def test_a_file_can_import_its_neighbour(tmp_path, context):
    (tmp_path / "a_neighbour_of_own.py").write_text(SIMPLE)
    (tmp_path / "own.py").write_text("from a_neighbour_of_own import TextOnly\n")
    assert load_model(f"{tmp_path / 'own.py'}:TextOnly", context).name == "mine"


def test_the_full_form(tmp_path, context, embed):
    file = tmp_path / "own.py"
    file.write_text(FULL)
    model = load_model(f"{file}:Full", context)
    assert model.image is None
    assert model.text.fingerprint == "lengths"
    assert model.fingerprint is not None
    vectors = embed(model).texts(["a b c", "a"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit([[5, 1], [1, 1]]), rtol=1e-6)


@pytest.mark.parametrize("gone", ["prepare", "encode"])
@pytest.mark.parametrize("base", ["", "(Adapter)"])
@pytest.mark.parametrize("side", ["text", "image"])
def test_a_full_form_that_lacks_a_part_is_named_when_it_is_made(
    tmp_path, context, gone, base, side
):
    file = tmp_path / "own.py"
    code = "from paraclip_bench.plugin import Adapter\n" + FULL.replace(f"def {gone}", "def x")
    code = code.replace("class Full:", f"class Full{base}:")
    if side == "image":  # a wrong side is named, also beside one that is right or absent
        code = code.replace("image = None", "image = text").replace('text = Side("lengths")', "")
        code = code.replace("image = text", 'text, image = None, Side("lengths")')
    file.write_text(code)
    with pytest.raises(ModelError, match=f"{side} encoder lacks prepare or encode"):
        load_model(f"{file}:Full", context)


def test_a_wrong_side_beside_a_right_one_is_named_when_it_is_made(tmp_path, context):
    file = tmp_path / "own.py"
    file.write_text(FULL.replace("image = None", "image = 3"))
    with pytest.raises(ModelError, match="image encoder lacks prepare or encode"):
        load_model(f"{file}:Full", context)


@pytest.mark.parametrize("base", ["", "(Adapter)"])
def test_an_encoder_of_a_users_own_has_the_defaults(tmp_path, context, embed, base):
    file = tmp_path / "own.py"
    code = FULL.replace("self.fingerprint =", "self.other =").replace("Full:", f"Full{base}:")
    file.write_text("from paraclip_bench.plugin import Adapter\n" + code)
    model = load_model(f"{file}:Full", context)
    assert (model.text.fingerprint, model.fingerprint, model.image) == (None, None, None)
    assert (model.text.dtype, model.text.shares_prefixes) == (None, False)
    np.testing.assert_allclose(embed(model).texts(["a"]), unit([[1, 1]]), rtol=1e-6)


@pytest.mark.parametrize("base", ["", "(Adapter)"])
def test_a_side_that_is_none_is_lacking_whatever_else_is_there(tmp_path, context, base):
    file = tmp_path / "own.py"
    code = SIMPLE.replace("class Simple:", f"class Simple{base}:\n    image = None\n")
    file.write_text("from paraclip_bench.plugin import Adapter\n" + code)
    model = load_model(f"{file}:Simple", context)
    assert model.text is not None
    assert model.image is None


def test_an_adapter_may_have_the_simple_form(tmp_path, context, embed):
    file = tmp_path / "own.py"
    code = SIMPLE.replace("class Simple:", "class Simple(Adapter):")
    file.write_text("from paraclip_bench.plugin import Adapter\n" + code)
    model = load_model(f"{file}:Simple:3", context)
    assert model.image is not None
    np.testing.assert_allclose(embed(model).texts(["ab"]), unit([[2, 3]]), rtol=1e-6)


ALIAS = """
class Other:
    label = "another"

    @classmethod
    def resolve(cls, argument, context):
        return "clip"
"""


def test_a_class_with_resolve_is_an_alias(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(ALIAS)
    model = load_model(f"{file}:Other", Context("demo", tmp_path))
    assert (model.name, model.adapter.folder) == ("another", base_folder())


def test_two_files_of_one_name_do_not_mix(tmp_path, context):
    models = []
    for folder, length in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "own.py"
        file.write_text(f"class M:\n def encode_texts(self, t): return [[1.0] * {length}] * len(t)")
        models.append(load_model(f"{file}:M", context))
    assert [len(m.text.encode(["x"])[0]) for m in models] == [2, 3]


def checkpoint(folder, suite="demo"):
    """What finetune leaves, as far as the aliases look at it."""
    tiny_clip.save(folder)
    (folder / RECIPE).write_text("")
    written = {"suite": suite, "base": {"spec": "open_clip:A/B"}}
    (folder / PROVENANCE).write_text(json.dumps(written))
    return folder


def test_clip_is_the_suites_own_baseline(tmp_path):
    paper = load_model("clip", Context("paper", tmp_path))
    assert (paper.name, paper.spec, paper.adapter.argument) == ("clip", "clip", "ViT-B-32/openai")
    demo = load_model("clip", Context("demo", tmp_path))
    assert demo.adapter.folder == base_folder()
    assert demo.name == "clip"


def test_paraclip_is_the_newest_checkpoint_or_the_one_named(tmp_path):
    context = Context("paper", tmp_path)
    with pytest.raises(UsageError, match="no finished checkpoint"):
        load_model("paraclip", context)
    old, new = (checkpoint(tmp_path / name) for name in ("old", "new"))
    tiny_clip.save(tmp_path / "unfinished")
    assert load_model("paraclip", context).name == "new"
    model = load_model(f"paraclip:{old}", context)
    assert (model.name, model.adapter.base, model.adapter.suite) == ("old", "open_clip:A/B", "demo")
    assert suite_of("paraclip", context) == "demo"
    assert suite_of(f"local-dir:{new}", context) == "demo"
    assert suite_of("clip", context) is None


def test_a_damaged_provenance_is_that_models_own_problem(tmp_path):
    context = Context("paper", tmp_path)
    folder = checkpoint(tmp_path / "one")
    (folder / PROVENANCE).write_text("{")
    assert suite_of(f"paraclip:{folder}", context) is None


def test_a_to_that_raises_is_told_with_its_reason(tmp_path, context):
    file = tmp_path / "own.py"
    file.write_text(
        SIMPLE + "    def to(self, device, dtype):\n        raise OSError('no such card')"
    )
    model = load_model(f"{file}:TextOnly", context)
    with pytest.raises(ModelError, match=r"cannot run on cuda .*no such card.*--device"):
        model.to("cuda", None)


def test_files_of_one_name_do_not_share_a_neighbour_or_a_fingerprint(tmp_path, context):
    found = []
    for folder, value in (("fa", "1.0"), ("fb", "2.0")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helpers_of_mine.py").write_text(f"VALUE = {value}\n")
        (tmp_path / folder / "mine.py").write_text(
            "from helpers_of_mine import VALUE\n"
            f"# {folder}\n"
            "class Mine:\n    fingerprint = 'mine-1'\n"
            "    def encode_texts(self, texts): return [[VALUE]] * len(texts)\n"
        )
        model = load_model(f"{tmp_path / folder / 'mine.py'}:Mine", context)
        found.append((model.fingerprint, model.text.encode(["a"])))
    assert [vectors for _, vectors in found] == [[[1.0]], [[2.0]]]
    assert found[0][0] != found[1][0]
