from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from paraclip_bench.errors import DataError, UsageError
from paraclip_bench.training.loop import batch_rows, learning_rate
from paraclip_bench.training.losses import HardNegatives, Hinge, InfoNCE
from paraclip_bench.training.recipe import Recipe, Validation, find_recipe, read_recipe


def test_a_written_recipe_reads_back(tmp_path: Path) -> None:
    recipe = Recipe(
        name="mine",
        steps=7,
        learning_rate=3e-5,
        base="local-dir:x",
        temperature=0.05,
        max_grad_norm=0,
        unlocked_text_layers=0,
        loss=(
            InfoNCE(views=("caption", "image"), weight=0.5),
            Hinge(views=("caption", "negation"), projection=4, learned=True),
            HardNegatives(views=("image", "caption", "negation"), negatives="own"),
        ),
        validation=Validation(patience=3),
    )
    (tmp_path / "recipe.toml").write_text(recipe.dump())
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert [type(term) for term in read_recipe(tmp_path / "recipe.toml").loss] == [
        InfoNCE,
        Hinge,
        HardNegatives,
    ]


def test_a_recipe_of_infonce_is_written_as_before_other_kinds() -> None:
    assert "kind" not in Recipe().dump()


def test_the_embedded_recipe_is_valid() -> None:
    assert read_recipe(find_recipe("paraclip-demo")).name == "paraclip-demo"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batchsize = 3", "did you mean batch_size"),
        ("batch_size = 1", "batch_size"),
        ("learning_rate = 'x'", "learning_rate"),
        ("seed = -1", "seed"),
        ("name = ", "not valid TOML"),
        ("temperature = 'cold'", "temperature: Input should be 'learned' or 'frozen'"),
        ("[[loss]]\nviews = ['image', 'captoin']", "loss.0: there is no view 'captoin'"),
        ("[[loss]]\nviews = ['image', 'caption', 'negation']", "compares 2 different views"),
        ("[[loss]]\nkind = 'hinj'\nviews = ['image', 'caption']", "loss.0.kind: .*did you mean hi"),
        ("[[loss]]\nkind = 3\nviews = ['image', 'caption']", "loss.0.kind: there is no loss '3'"),
        ("[[loss]]\nkind = 'hinge'\nviews = ['caption', 'negation']\nmargin = 2", "loss.0.margin"),
        ("[[loss]]\nkind = 'hinge'\nviews = ['image', 'caption']\nlearned = true", "projection"),
        ("[[loss]]\nkind = 'distance'\nviews = ['image', 'caption']\nmargin = 0", "key 'margin'"),
        ("[[loss]]\nviews = ['image']", "not 'image'"),
        ("[[loss]]\nviews = []", "not none"),
        ("[[loss]]\nviews = 'image'", "loss.0.views"),
        ("loss = 3", "loss"),
        ("loss = [3]", "loss.0"),
        ("[[loss]]\nviews = ['image', 'image']", "2 different views"),
        ("[[loss]]\nviews = ['image', 'caption']\nwieght = 2", "did you mean weight"),
        (2 * "[[loss]]\nviews = ['image', 'caption']\n", "image:caption twice"),
        ("loss = []", "loss"),
        ("[validation]\nshare = 0.9", "validation.share"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_epochs_count_full_batches_and_steps_win() -> None:
    assert Recipe(batch_size=10, epochs=3).total_steps(39) == 9
    assert Recipe(batch_size=10, epochs=3, steps=4).total_steps(39) == 4


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    recipe = Recipe(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(step, 24, recipe) for step in range(24)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] == pytest.approx(1.0)
    assert rates[14] == pytest.approx(0.5)
    assert all(a >= b for a, b in itertools.pairwise(rates[3:]))
    assert 0 < rates[-1] < 0.02


def test_an_epoch_shows_every_row_at_most_once() -> None:
    rows = [row for step in range(3) for row in batch_rows(11, 3, step, seed=5)]
    assert len(rows) == len(set(rows)) == 9
    again = [row for step in range(3) for row in batch_rows(11, 3, step, seed=5)]
    other_epoch = [row for step in range(3, 6) for row in batch_rows(11, 3, step, seed=5)]
    assert rows == again != other_epoch


def test_other_schedules() -> None:
    linear = Recipe(learning_rate=1.0, warmup_steps=0, schedule="linear")
    assert [learning_rate(step, 4, linear) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    constant = Recipe(learning_rate=1.0, warmup_steps=2, schedule="constant")
    assert [learning_rate(step, 4, constant) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]


def test_a_recipe_is_a_file_or_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("seed = 3")
    assert read_recipe(find_recipe(str(tmp_path / "own.toml"))).seed == 3
    with pytest.raises(UsageError, match="there is no recipe 'paraclipp'; did you mean paraclip"):
        find_recipe("paraclipp")
    with pytest.raises(UsageError, match=r"none\.toml does not exist"):
        find_recipe(str(tmp_path / "none.toml"))
