"""The public functions: what the commands do, from Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from paraclip_bench.errors import UsageError
from paraclip_bench.progress import Progress
from paraclip_bench.workspace import Workspace

if TYPE_CHECKING:
    from paraclip_bench.boards.board import Board
    from paraclip_bench.boards.compare_models import Comparison
    from paraclip_bench.evaluation.run import RunReport
    from paraclip_bench.models.adapter import Model
    from paraclip_bench.paraphrasing.service import EmbeddedService
    from paraclip_bench.tasks.base import Task
    from paraclip_bench.tasks.perturbation import Perturbation
    from paraclip_bench.training.recipe import FinetuneJob


def load_model(spec: str, *, suite: str = "paper", workspace: str | Path = ".") -> Model:
    """The model that a spec names; weights load when they are first needed."""
    from paraclip_bench.models import load
    from paraclip_bench.models.adapter import Context

    return load.load_model(spec, Context(suite, Workspace(Path(workspace)).checkpoints))


def load_task(name: str) -> Task:
    """The task of that name (case-blind)."""
    from paraclip_bench.tasks import catalog

    return catalog.load_task(name)


def evaluate(
    models: str | object | Sequence[str | object],
    tasks: str | Task | Sequence[str | Task],
    *,
    suite: str | None = None,
    protocols: str | Sequence[str] = (),
    data_dir: str | Path | None = None,
    limit: int | None = None,
    force: bool = False,
    offline: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    debug: bool = False,
    allow_truncated: bool = False,
    depth: int | None = None,
    exif: bool = False,
    perturb: str | Path | Perturbation | Sequence[str | Path | Perturbation] = (),
    workspace: str | Path = ".",
    quiet: bool = False,
) -> RunReport:
    """Run models on tasks as `paraclip-bench run` does.

    A model is a spec, or an object of the simple or the full form (docs/models.md); a task is a
    name, or a `Task` (docs/tasks.md); a perturbation is a name, a file, or a `Perturbation`
    (docs/perturbations.md). Returns a `RunReport`: `results` as (file, Result) pairs,
    `skipped` and `failures` as sentences. Raises `UsageError` for wrong names, and with `debug`
    whatever a model or task of yours raises.
    """
    from paraclip_bench.evaluation.run import Options, execute, plan_run

    named = (
        [perturb]
        if isinstance(perturb, str | Path) or not isinstance(perturb, Sequence)
        else perturb
    )
    options = Options(
        suite=suite,
        protocols=_several(protocols),
        data_dir=None if data_dir is None else Path(data_dir),
        limit=limit,
        force=force,
        offline=offline,
        device=device,
        dtype=dtype,
        seed=seed,
        debug=debug,
        allow_truncated=allow_truncated,
        depth=depth,
        exif=exif,
        perturb=tuple(str(each) if isinstance(each, Path) else each for each in named),
    )
    place = Workspace(Path(workspace))
    several = models if isinstance(models, list | tuple) else [models]
    plan = plan_run(_named(several), _tasks(tasks), options, place)
    return execute(plan, options, place, Progress(quiet=quiet))


def finetune(
    *,
    base: str | None = None,
    data: str | Path | None = None,
    images: str | Path | None = None,
    recipe: str | Path | None = None,
    seed: int | None = None,
    seeds: Sequence[int] = (),
    out: str | Path | None = None,
    resume: bool = False,
    device: str | None = None,
    skip_bad: bool = False,
    tensorboard: bool = False,
    exif: bool = False,
    workspace: str | Path = ".",
    quiet: bool = False,
) -> Path:
    """Fine-tune as `paraclip-bench finetune` does; returns the checkpoint folder.

    Without `data` it is the embedded recipe on the demo world. `recipe` is a file or the name of a
    shipped one; `skip_bad` leaves out rows that cannot be trained on. With `seeds`, one checkpoint
    each is written into folders seed-N of the folder that is returned.
    """
    from paraclip_bench.training import finetune as training

    if seeds and seed is not None:
        raise UsageError("give a seed or seeds, not both")
    job = finetune_job(base=base, data=data, images=images, recipe=recipe, seed=seed)
    options: dict[str, Any] = {
        "out": _path(out),
        "resume": resume,
        "device": device,
        "skip_bad": skip_bad,
        "tensorboard": tensorboard,
        "exif": exif,
    }
    place, progress = Workspace(Path(workspace)), Progress(quiet=quiet)
    if seeds:
        return training.finetune_seeds(job, seeds, place, progress, **options)
    return training.finetune(job, place, progress, **options)


def paraphrase(
    captions: str | Path,
    out: str | Path,
    *,
    llm: str,
    base_url: str | None = None,
    concurrency: int = 16,
    n: int = 1,
    sampling: dict[str, Any] | None = None,
    prompts: dict[Any, str | Path] | None = None,
    min_words: int = 2,
    max_words: int = 15,
    unfit: str = "drop",
    ask_unfit: bool = False,
    also: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Paraphrase as `paraclip-bench paraphrase` does; returns its report.

    `also="negation"` has each caption negated too. `prompts` are files by step, 1, 2 and
    "negation"; `sampling` replaces temperature, top_p and max_tokens.
    `gave_up` is in the report where questions were given up: call again to ask them.
    """
    from paraclip_bench.paraphrasing.job import SAMPLING, make_job
    from paraclip_bench.paraphrasing.paraphrase import paraphrase as run
    from paraclip_bench.paraphrasing.service import Endpoint, RequestPolicy

    job = make_job(
        Path(captions),
        Path(out),
        llm=llm,
        sampling=SAMPLING if sampling is None else sampling,
        prompt_files=[f"{step}={file}" for step, file in (prompts or {}).items()],
        n=n,
        min_words=min_words,
        max_words=max_words,
        unfit=unfit,
        also=also,
        service=embedded_service(llm),
    )
    endpoint = Endpoint(base_url, policy=RequestPolicy(concurrency))
    return run(job, endpoint, Progress(quiet=quiet), ask_unfit=ask_unfit)


def leaderboard(
    *,
    suite: str | None = None,
    baseline: str | None = None,
    all_scores: bool = False,
    with_limits: bool = False,
    scores: str | Sequence[str] = (),
    reference: str | None = None,
    tasks: Sequence[Task] = (),
    adjust: Literal["holm", "bh", "none"] = "holm",
    models: str | Sequence[str] = (),
    families: str | Sequence[str] = (),
    sort: str | None = None,
    precision: int = 1,
    caption: str | None = None,
    each_seed: bool = False,
    view: str | None = None,
    workspace: str | Path = ".",
) -> Board:
    """The board of a workspace; print(board) shows it as the command does.

    `scores` are shown in place of the tasks' own; one that the results lack, such as "ao@20", is
    computed from their outcomes. `reference` adds published numbers in rows apart
    (`board.published`): "matching" for those of the measured models, "all" for every one that is of
    a column. `tasks` are tasks of yours that are not entry points. `adjust`: what better and worse
    hold for, all differences together, all but 5% of those called so, or each alone. `models` and
    `families` (tasks or groups) are those shown, where not all are. `sort` is "name", "rank" or a
    task's name, the best first. `precision` and `caption` are of the tables. Checkpoints that
    differ in their seed alone are one row, or with `each_seed` one each. `view`, "robustness", has
    columns of its own, also of reworded texts (docs/leaderboard.md).
    """
    from paraclip_bench.boards.make_board import make_board

    return make_board(
        Workspace(Path(workspace)).results,
        suite=suite,
        baseline=baseline,
        all_scores=all_scores,
        with_limits=with_limits,
        scores=_several(scores),
        reference=reference,
        tasks=tasks,
        adjust=adjust,
        models=_several(models),
        families=_several(families),
        sort=sort,
        precision=precision,
        caption=caption,
        each_seed=each_seed,
        view=view,
    )


def compare(
    *models: str,
    suite: str | None = None,
    families: str | Sequence[str] = (),
    scores: str | Sequence[str] = (),
    all_scores: bool = False,
    with_limits: bool = False,
    adjust: Literal["holm", "bh", "none"] = "holm",
    show: int = 0,
    data_dir: str | Path | None = None,
    each_seed: bool = False,
    workspace: str | Path = ".",
) -> Comparison:
    """Models by name or spec against the first of them, score by score.

    `pairs` of the comparison have the difference with its interval and verdict, wins and losses,
    and the `show` examples that changed most, with their texts where the data are at hand: in
    `data_dir`, or where the results' data came from. The other options are those of `leaderboard`.
    """
    from paraclip_bench.boards.compare_models import compare_models

    return compare_models(
        Workspace(Path(workspace)).results,
        models,
        suite=suite,
        families=_several(families),
        scores=_several(scores),
        all_scores=all_scores,
        with_limits=with_limits,
        adjust=adjust,
        show=show,
        data_dir=None if data_dir is None else Path(data_dir),
        each_seed=each_seed,
    )


def finetune_job(
    *,
    base: str | None = None,
    data: str | Path | None = None,
    images: str | Path | None = None,
    recipe: str | Path | None = None,
    seed: int | None = None,
) -> FinetuneJob:
    """What `finetune` runs: on `data`, or without it on the embedded demo world.

    Raises `UsageError` for what does not exist or does not go together.
    """
    if data is not None:
        from paraclip_bench.training.recipe import make_job

        return make_job(base=base, data=Path(data), images=_path(images), recipe=recipe, seed=seed)
    if images is not None:
        raise UsageError("--images names the folder of the images of --data; give that too")
    from paraclip_bench.demo import suite

    return suite.finetune_job(base=base, recipe=recipe, seed=seed)


def embedded_service(llm: str) -> EmbeddedService | None:
    """Who paraphrases in place of a service behind an endpoint: the demo grammar for `demo`."""
    from paraclip_bench.demo.grammar import LLM, DemoGrammar

    return DemoGrammar() if llm == LLM else None


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _named(models: Sequence[Any]) -> list[str | Model]:
    """Specs as they are, objects as models of their class's name, numbered where it repeats."""
    from paraclip_bench.models.adapter import Model

    named: list[str | Model] = []
    count: Counter[str] = Counter()
    for given in models:
        if isinstance(given, str | Model):
            named.append(given)
            continue
        model = Model(type(given).__name__, given, is_object=True)
        count[model.name] += 1
        model.name += f"-{count[model.name]}" if count[model.name] > 1 else ""
        model.spec = model.name
        named.append(model)
    return named


def _tasks(tasks: Any) -> list[str | Task]:
    """Names and tasks as they are; `UsageError` for anything else."""
    from paraclip_bench.tasks.base import Task

    several = [tasks] if isinstance(tasks, str | Task) else tasks
    if not isinstance(several, Sequence) or not all(isinstance(t, str | Task) for t in several):
        raise UsageError("a task is a name, or an object of a Task class; docs/tasks.md shows both")
    return list(several)


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    """Names as a tuple; of one name that stands alone, that one."""
    return (given,) if isinstance(given, str) else tuple(given)
