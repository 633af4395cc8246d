"""Which published models a measured one is: the same weights and activation, or none."""

import open_clip
import pytest

from paraclip_bench.reference.identity import Identity, identity_of, is_same
from paraclip_bench.reference.published_numbers import published_scores
from paraclip_bench.results.schema import ModelInfo

MODELS = {(score.source.name, score.model) for score in published_scores()}


def matches(
    spec: str, activation: str | None, *, name: str | None = None, suite: str = "paper"
) -> set[str]:
    info = ModelInfo(
        spec=spec, name=name or spec, fingerprint="f", activation=activation, base=None
    )
    identity = identity_of(info, suite)
    return {f"{source}: {m.name}" for source, m in MODELS if is_same(identity, m)}


def both(name: str) -> set[str]:
    """A model of the two sources that name models as open_clip does."""
    return {f"vl_compo: {name}", f"open_clip: {name}"}


OPENAI_B_32 = {*both("ViT-B-32/openai"), "mteb: openai/clip-vit-base-patch32"}
LAION_B_32 = {
    *both("ViT-B-32/laion2b_s34b_b79k"),
    "mteb: laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
}


@pytest.mark.parametrize(
    ("spec", "activation", "expected"),
    [
        ("clip", "quick_gelu", OPENAI_B_32),
        ("open_clip:ViT-B-32/openai", "quick_gelu", OPENAI_B_32),
        ("open_clip:ViT-B-32-quickgelu/openai", "quick_gelu", OPENAI_B_32),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "gelu", LAION_B_32),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "gelu", LAION_B_32),
        ("open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "gelu", LAION_B_32),
        # Published with either activation; ours runs the one it was trained with.
        *(
            (
                f"open_clip:{architecture}/laion400m_e32",
                "quick_gelu",
                both("ViT-B-32-quickgelu/laion400m_e32"),
            )
            for architecture in ("ViT-B-32", "ViT-B-32-quickgelu")
        ),
        ("open_clip:RN50/cc12m", "quick_gelu", both("RN50-quickgelu/cc12m")),
        ("open_clip:ViT-H-14/dfn5b", "quick_gelu", both("ViT-H-14-quickgelu/dfn5b")),
        # One source alone.
        ("open_clip:ViT-L-14-336/openai", "quick_gelu", {"open_clip: ViT-L-14-336/openai"}),
        # Published under the plain name alone: nobody says with which activation.
        ("open_clip:ViT-B-16/dfn2b", "quick_gelu", set()),
    ],
)
def test_open_clip(spec: str, activation: str, expected: set[str]) -> None:
    assert matches(spec, activation) == expected


def test_every_openai_tag_has_its_row() -> None:
    rows = {(s, m.architecture) for s, m in MODELS if m.pretrained == "openai" and m.architecture}
    assert len(rows) >= 7 + 9
    for source, architecture in rows:
        found = matches(f"open_clip:{architecture}/openai", "quick_gelu")
        assert f"{source}: {architecture}/openai" in found


def test_each_trained_network_of_the_open_clip_family_is_matched_by_its_own_name() -> None:
    """All but those that were published with another activation than they are trained with."""
    missed = set()
    for source, model in MODELS:
        if model.family != "OpenCLIP":
            continue
        assert model.architecture is not None
        assert model.pretrained is not None
        tag = open_clip.get_pretrained_cfg(model.architecture, model.pretrained)
        config = open_clip.get_model_config(model.architecture)
        quick = bool(tag.get("quick_gelu")) or bool(config.get("quick_gelu"))
        spec = f"open_clip:{model.architecture}/{model.pretrained}"
        if f"{source}: {model.name}" not in matches(spec, "quick_gelu" if quick else "gelu"):
            missed.add(model.name)
    assert missed == {
        "RN50/cc12m",
        "RN50/yfcc15m",
        "RN101/yfcc15m",
        "ViT-B-16/dfn2b",
        "ViT-B-32/laion400m_e31",
        "ViT-B-32/laion400m_e32",
    }


def test_a_hub_name_of_a_text_encoder() -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    assert matches(f"sentence-transformers:{name}", None, name=name) == {f"mteb: {name}"}
    # A folder that is called so may hold anything; the plugin names it by its last part.
    assert matches(f"sentence-transformers:{name}", None, name="all-MiniLM-L6-v2") == set()


@pytest.mark.parametrize(
    "spec",
    [
        "paraclip",
        "paraclip:checkpoints/ViT-B-32",
        "local-dir:ViT-B-32/openai",
        "open_clip:local-dir:ViT-B-32/openai",
        "open_clip:ViT-B-32@weights/openai",
        "open_clip:ViT-B-32/no_such_tag",
        "open_clip:NoSuchNet/openai",
        "hf-hub:somebody/clip-vit-base-patch32",
        "mine.py:CLIP",
        "sentence-transformers:/models/sentence-transformers/all-MiniLM-L6-v2",
        "all-MiniLM-L6-v2",
    ],
)
@pytest.mark.parametrize("activation", [None, "gelu", "quick_gelu"])
def test_nothing_else_is_guessed(spec: str, activation: str | None) -> None:
    assert matches(spec, activation) == set()


def test_clip_is_another_model_in_the_demo_and_an_object_named_so_may_be_any() -> None:
    assert matches("clip", "quick_gelu", suite="demo") == set()
    info = ModelInfo(spec="clip", name="clip", fingerprint=None, activation=None, base=None)
    assert identity_of(info, "paper") == Identity()


@pytest.mark.parametrize(
    ("spec", "ran"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "gelu"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "gelu"),
        ("open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "gelu"),
        ("hf-hub:openai/clip-vit-base-patch32", "quick_gelu"),
        ("open_clip:ViT-B-32/openai", "quick_gelu"),
        # Published by its repository alone, which open_clip's list does not have.
        ("hf-hub:jinaai/jina-clip-v1", "gelu"),
    ],
)
def test_only_the_activation_that_the_network_was_published_with(spec: str, ran: str) -> None:
    assert matches(spec, ran) != set()
    # An object of the user's may be called so, and says nothing or anything of its activation.
    assert matches(spec, None) == set()
    assert matches(spec, "relu") == set()
    if "jina" not in spec:
        assert matches(spec, "gelu" if ran == "quick_gelu" else "quick_gelu") == set()


def test_a_repository_that_several_networks_name_is_none_of_them() -> None:
    # open_clip gives two tags of laion400m this one repository, and two SigLIPs the other.
    for hub_id in (
        "timm/vit_base_patch16_plus_clip_240.laion400m_e31",
        "timm/ViT-SO400M-14-SigLIP-384",
    ):
        assert matches(f"hf-hub:{hub_id}", "gelu") == set()
    assert matches("hf-hub:timm/ViT-B-16-SigLIP", "gelu") == both("ViT-B-16-SigLIP/webli")
