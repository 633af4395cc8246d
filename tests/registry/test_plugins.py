"""Third-party distributions, as pip would leave them."""

import json

import pytest

MODEL = """
import numpy as np

class Letters:
    def encode_texts(self, texts):
        return np.array([[1 + t.count(c) for c in "abcdefghijklmnop"] for t in texts])
"""
TASK = """
from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.tasks.base import Protocol, Task

class Anagrams(Task):
    name = "Anagrams"
    suites = ("paper",)
    protocols = {"plain": Protocol(("text",))}
    scores = {"accuracy": mean_of("right")}

    def load(self, source, protocol):
        return [{"a": "listen", "b": "silent", "c": "banana"}, {"a": "ab", "b": "ba", "c": "cc"}]

    def outcomes(self, examples, embed):
        a, b, c = (embed.texts([row[key] for row in examples]) for key in "abc")
        return {"right": (a * b).sum(1) > (a * c).sum(1)}
"""

PREFIX = """
from paraclip_bench.metrics.accuracy import mean_of
from paraclip_bench.tasks import Examples, ExternallyMeasured, Protocol, ExternallyScoredTask, Task

class Longer(Task):
    protocols = {"plain": Protocol(("text",))}
    scores = {"accuracy": mean_of("right")}

    def __init__(self, words):
        self.words = words.split(",")
        vars(self).update(name=f"longer:{words}")

    def load(self, source, protocol):
        return [{"word": word} for word in self.words]

    def outcomes(self, examples, embed):
        return {"right": [len(row["word"]) > 3 for row in examples]}


class Elsewhere(ExternallyScoredTask):
    protocols = {"plain": Protocol(("text",))}
    main_score = "norm"
    scored_by = "somebody 1.2"

    def __init__(self, words):
        vars(self).update(name=f"elsewhere:{words}")
        self.words = words.split(",")

    def load(self, source, protocol):
        return Examples(self.words, id="words", sha256=self.name)

    def measured(self, examples, embed):
        norms = (embed.texts(list(examples)) ** 2).sum(1)
        part = {word: (1, {"norm": float(n)}) for word, n in zip(examples, norms)}
        return ExternallyMeasured({"norm": float(norms.mean()), "nothing": None}, {"word": part})
"""


METRIC = """
from paraclip_bench.plugin import Metric, batched, weighted_mean

def make(k):
    @batched
    def share(columns, weights):
        return weighted_mean((columns["right"] >= k).astype(float), weights)
    return share

WRONG = Metric("wrong", "share below k", make, lower_is_better=True, k=1, tasks=("Anagrams",))
STRANGE = Metric("strange", "reads what is not there", lambda: lambda c, w: c["no such"].mean(),
                 tasks=("Anagrams",))
NOBODY = Metric("nobody", "of no task", lambda: None)
"""


@pytest.fixture
def letters(install):
    install("letters", MODEL, models={"letters": "letters:Letters"})


@pytest.fixture
def anagrams(install):
    install("anagrams", TASK, tasks={"Anagrams": "anagrams:Anagrams"})


@pytest.mark.usefixtures("letters", "anagrams")
def test_a_model_and_a_task_of_a_few_lines_work_end_to_end(run):
    listed = json.loads(run("models", "--json").stdout)
    row = {"name": "letters", "from": "letters 1.0", "object": "letters:Letters"}
    assert row in listed

    done = run("run", "--model", "letters", "--task", "anagrams", "--json")

    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["task"], result["value"], result["n"]) == ("Anagrams", 1.0, 2)


@pytest.mark.usefixtures("letters", "anagrams")
def test_a_metric_of_a_plugin_is_computed_from_results_that_are_there(install, run):
    entries = {"wrong": "shares:WRONG", "strange": "shares:STRANGE", "nobody": "shares:NOBODY"}
    assert run("run", "-m", "letters", "-t", "Anagrams").returncode == 0
    install("shares", METRIC, metrics=entries)
    listed = run("metrics", "--json")
    rows = {row["metric"]: row for row in json.loads(listed.stdout)}
    assert rows["wrong@K"]["tasks"] == ["Anagrams"]
    assert rows["wrong@K"]["better"] == "lower"
    assert "metric 'nobody' of shares 1.0: shares:NOBODY must be a Metric" in listed.stderr
    states = {row["name"]: row["state"] for row in json.loads(run("plugins", "--json").stdout)}
    assert (states["wrong"], states["nobody"]) == ("ok", "broken")

    shown = run("leaderboard", "--score", "wrong@1", "--score", "wrong@2", "--json")
    assert shown.returncode == 0, shown.stderr
    board = json.loads(shown.stdout)
    assert [column["score"] for column in board["columns"]] == ["wrong@1", "wrong@2"]
    assert all(column["lower_is_better"] for column in board["columns"])
    assert [cell["estimate"]["value"] for cell in board["rows"][0]["cells"]] == [1.0, 0.0]
    unknown = run("leaderboard", "--score", "nobody")
    assert unknown.returncode == 2
    assert len(unknown.stderr.splitlines()) == 1
    near = run("leaderboard", "--score", "wrong")
    assert "did you mean wrong@1" in near.stderr
    strange = run("leaderboard", "--score", "strange")
    assert strange.returncode == 2
    assert "strange cannot be computed from the outcomes (KeyError: 'no such')" in strange.stderr


@pytest.mark.usefixtures("anagrams")
def test_a_name_that_two_distributions_claim_is_an_error_that_names_both(install, run):
    for name in ("first-one", "second-one"):
        module = name.replace("-", "_")
        install(
            name, MODEL, models={"twin": f"{module}:Letters", f"own-{name}": f"{module}:Letters"}
        )

    done = run("run", "-m", "twin", "-t", "Anagrams")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the model name 'twin' is claimed by two plugins")
    assert "first-one 1.0 (first_one:Letters)" in done.stderr
    assert "second-one 1.0 (second_one:Letters)" in done.stderr
    assert len(done.stderr.splitlines()) == 1

    states = {
        (row["name"], row["from"]): row["state"]
        for row in json.loads(run("plugins", "--json").stdout)
    }
    assert states["twin", "first-one 1.0"] == states["twin", "second-one 1.0"] == "clash"
    assert states["own-first-one", "first-one 1.0"] == "ok"

    other = run("run", "-m", "own-first-one", "-t", "Anagrams")
    assert other.returncode == 0, other.stderr


@pytest.mark.usefixtures("anagrams")
def test_an_adapter_is_made_once_and_what_it_raises_is_its_own_problem(install, run):
    code = """
import sys
from paraclip_bench.plugin import Adapter, lazy_attribute

class Heavy(Adapter):
    name = "heavy"
    def __init__(self):
        print("made", file=sys.stderr)
    def encode_texts(self, texts):
        return [[1.0 + t.count("a"), len(t)] for t in texts]

class Of(Heavy):
    suite = "demo"

class Bad(Adapter):
    @lazy_attribute
    def text(self):
        raise FileNotFoundError("no weights here")
"""
    install(
        "heavy", code, models={name: f"heavy:{name.title()}" for name in ("heavy", "of", "bad")}
    )
    done = run("run", "-m", "heavy", "-m", "bad", "-t", "Anagrams", "--json")
    assert done.stderr.count("made") == 1
    assert done.returncode == 1
    assert "no weights here" in done.stderr
    assert "unexpected" not in done.stderr
    assert [row["model"] for row in json.loads(done.stdout)["results"]] == ["heavy"]
    assert "demo" in run("run", "-m", "of", "-t", "Anagrams").stdout.splitlines()[0]


@pytest.mark.usefixtures("letters")
def test_task_names_clash_whatever_their_case(install, run):
    install("loud", TASK, tasks={"ANAGRAMS": "loud:Anagrams"})
    install("quiet", TASK, tasks={"anagrams": "quiet:Anagrams"})
    done = run("run", "-m", "letters", "-t", "Anagrams")
    assert done.returncode == 2
    assert "loud 1.0" in done.stderr
    assert "quiet 1.0" in done.stderr


@pytest.mark.usefixtures("letters", "anagrams")
def test_a_broken_plugin_says_why_and_leaves_the_others_alone(install, run):
    broken = {
        "raiser": ("raise RuntimeError('no licence\\nfound')", "RuntimeError: no licence"),
        "quitter": ("import sys; sys.exit('bye')", "SystemExit: bye"),
        "mistyped": ("def (", "SyntaxError: "),
        "importer": ("import no_such_module", "ModuleNotFoundError: "),
        "hollow": ("", "AttributeError: "),
    }
    for name, (code, _) in broken.items():
        install(name, code, models={name: f"{name}:Model"})

    checked = run("plugins", "--json")
    assert checked.returncode == 0, checked.stderr
    rows = {row["name"]: row for row in json.loads(checked.stdout)}
    for name, (_, reason) in broken.items():
        assert rows[name]["state"] == "broken"
        assert reason in rows[name]["reason"]
        assert len(rows[name]["reason"].splitlines()) == 1
    assert rows["letters"]["state"] == "ok"

    done = run("run", "-m", "quitter", "-m", "letters", "-m", "raiser", "-t", "Anagrams", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [row["model"] for row in found["results"]] == ["letters"]
    assert len(found["failures"]) == 2
    assert "quitter 1.0 cannot be imported (SystemExit: bye)" in found["failures"][0]
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("letters", "anagrams")
def test_a_broken_task_leaves_the_others_alone(install, run):
    install("wreck", "raise SystemExit('bye')", tasks={"wreck": "wreck:Task"})
    done = run("run", "-m", "letters", "-t", "Anagrams")
    assert done.returncode == 0, done.stderr
    named = run("run", "-m", "letters", "-t", "wreck")
    assert named.returncode == 1
    assert "task 'wreck' of wreck 1.0 cannot be imported (SystemExit: bye)" in named.stderr
    both = run("run", "-m", "letters", "-t", "wreck", "-t", "Anagrams", "--json")
    assert both.returncode == 1
    assert [row["task"] for row in json.loads(both.stdout)["results"]] == ["Anagrams"]


@pytest.mark.usefixtures("letters", "anagrams")
def test_a_task_that_cannot_be_made_is_broken_and_all_goes_on(install, run):
    half = "from paraclip_bench.tasks import Task\nclass Half(Task):\n    name = 'half'\n"
    install("half", half, tasks={"half": "half:Half"})
    rows = {row["name"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert rows["half"]["state"] == "broken"
    assert "cannot be made (TypeError" in rows["half"]["reason"]
    done = run("run", "-m", "letters", "-t", "sts", "-t", "Anagrams", "--json")
    assert "note: task 'half' of half 1.0 cannot be made" in done.stderr
    assert [row["task"] for row in json.loads(done.stdout)["results"]] == ["Anagrams"]


@pytest.mark.usefixtures("letters", "anagrams")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scores = {}", "its scores must be a dict of at least one statistic by name"),
        ("del Odd.scores", "its scores must be a dict of at least one statistic by name"),
        ("scores = {'a': 3}", "each of its scores must be a Metric or a function of"),
        ("protocols = {}", "its protocols must be a dict of at least one Protocol by name"),
        ("protocols = {'p': ('text',)}", "its protocol 'p' must be a Protocol that needs"),
        ("protocols = {'p': Protocol(('sound',))}", "its protocol 'p' must be a Protocol"),
        ("groups = 'mine'", "its groups must be a tuple, such as ('mine',)"),
        ("suites = 'paper'", "its suites must be a tuple"),
        ("board = ('b',)", "its board names 'b', which is none of its scores"),
        ("name = ''", "its name must be a text"),
        ("name = 'even'", "calls itself 'even', which is not its entry point's"),
    ],
)
def test_a_task_that_lacks_something_is_broken_and_all_goes_on(install, run, line, said):
    code = TASK.replace("Anagrams", "Odd").replace('"Odd"', '"odd"')
    head, _, body = code.partition("    def load")
    line = line.replace("Odd.", "")
    code = f"{head}    {line}\n\n    def load{body}" if line else code
    install("odd", code, tasks={"odd": "odd:Odd"})
    rows = {row["name"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert rows["odd"]["state"] == "broken"
    assert said in rows["odd"]["reason"]
    listed = run("metrics")
    assert listed.returncode == 0
    assert said in listed.stderr
    assert "Traceback" not in listed.stderr
    done = run("run", "-m", "letters", "-t", "odd", "-t", "Anagrams", "--json")
    assert done.returncode == 1
    assert said in done.stderr
    assert [row["task"] for row in json.loads(done.stdout)["results"]] == ["Anagrams"]


def test_a_metric_s_name_and_tasks_are_checked(install, run):
    code = """
from paraclip_bench.plugin import Metric, mean_of
AO = Metric("ao", "another", lambda k: mean_of("x"), k=1, tasks=("paraphrased-retrieval",))
LOST = Metric("lost", "of nobody", lambda: mean_of("x"), tasks=("no-such-task",))
"""
    install("more", code, metrics={"ao": "more:AO", "lost": "more:LOST"})
    rows = {row["name"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert rows["ao"]["state"] == rows["lost"]["state"] == "broken"
    assert "has the name of a metric of paraphrased-retrieval" in rows["ao"]["reason"]
    assert "is for no-such-task, and there is no such task or group" in rows["lost"]["reason"]
    listed = run("metrics", "--json")
    assert [row["metric"] for row in json.loads(listed.stdout)].count("ao@K") == 1
    assert len(listed.stderr.splitlines()) == 2


@pytest.mark.usefixtures("letters")
def test_a_class_that_takes_an_argument_is_a_prefix_of_task_names(install, run):
    entries = {"longer": "prefixes:Longer", "elsewhere": "prefixes:Elsewhere"}
    entries["nameless"] = "prefixes:Longer"
    install("prefixes", PREFIX, tasks=entries)
    rows = {row["name"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert rows["longer"]["state"] == rows["elsewhere"]["state"] == "ok"

    line = ("run", "-m", "letters", "-t", "Longer:abcd,ab", "-t", "longer:abc", "--json")
    done = run(*line)
    assert done.returncode == 0, done.stderr
    found = {row["task"]: row for row in json.loads(done.stdout)["results"]}
    assert found["longer:abcd,ab"]["value"] == 0.5
    assert found["longer:abc"]["value"] == 0
    assert run("run", "-m", "letters", "-t", "longer").returncode == 2
    wrong = run("run", "-m", "letters", "-t", "nameless:abc", "-t", "longer:abc")
    assert wrong.returncode == 1
    assert "calls itself 'longer:abc', which does not begin with 'nameless:'" in wrong.stderr
    listed = run("data", "list", "nameless:abc")
    assert listed.returncode == 1
    assert "calls itself" in listed.stderr

    done = run("run", "-m", "letters", "-t", "elsewhere:abc,de", "--json")
    assert done.returncode == 0, done.stderr
    assert "scored by somebody 1.2: no interval" in done.stderr
    (row,) = json.loads(done.stdout)["results"]
    assert row["value"] == pytest.approx(1)
    assert (row["n"], row["low"], row["high"]) == (2, None, None)
    shown = run("results", "show", row["file"])
    assert [line.split() for line in shown.stdout.splitlines()[-3:]] == [
        ["word", "n", "norm"],
        ["abc", "1", "100.00"],
        ["de", "1", "100.00"],
    ]
    # One run of both, because a model without a fingerprint shows its last run alone.
    assert run("run", "-m", "letters", "-t", "elsewhere:abc", "-t", "longer:abc").returncode == 0
    board = json.loads(run("leaderboard", "--json").stdout)
    marks = {column["title"]: column["scored_by"] for column in board["columns"]}
    assert marks == {"elsewhere:abc": "somebody 1.2", "longer:abc": ""}
    limited = run("run", "-m", "letters", "-t", "elsewhere:abc", "--limit", "1")
    assert limited.returncode == 2
    assert "scored as a whole by somebody 1.2, so --limit cannot be obeyed" in limited.stderr


LOSS = """
from paraclip_bench.plugin import LossTerm


class Hubness(LossTerm):
    kind: str = "hubness"
    margin: float = 0.1

    def value(self, views, scale, parameters):
        texts, images = views
        return ((texts @ images.T).mean(dim=1) - self.margin).clamp(min=0).mean()


class Other:
    pass
"""
RECIPE = """
batch_size = 16
steps = 2
unlocked_text_layers = 0
[[loss]]
kind = "hubness"
views = ["caption", "image"]
margin = -0.5
[[loss]]
views = ["image", "caption"]
"""


def test_a_loss_of_a_plugin_trains(run, install, tmp_path):
    install("mine-loss", LOSS, losses={"hubness": "mine_loss:Hubness", "other": "mine_loss:Other"})
    recipe = tmp_path / "workspace" / "own.toml"
    recipe.write_text(RECIPE)
    done = run("finetune", "--recipe", "own.toml", "-o", "made")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "workspace" / "made" / "losses.jsonl").read_text().splitlines()
    assert all(json.loads(line)["hubness caption:image"] > 0.3 for line in lines)
    recipe.write_text(RECIPE.replace("margin", "margn"))
    wrong = run("finetune", "--recipe", "own.toml", "-o", "other")
    assert wrong.returncode != 0
    assert "loss.0: there is no recipe key 'margn'; did you mean margin?" in wrong.stderr
    recipe.write_text(RECIPE.replace('"hubness"', '"other"'))
    wrong = run("finetune", "--recipe", "own.toml", "-o", "other")
    assert "'other' of mine-loss 1.0 is not a subclass of LossTerm" in wrong.stderr
    listed = run("plugins", "--json")
    states = {row["name"]: row["state"] for row in json.loads(listed.stdout)}
    assert (states["hubness"], states["other"], states["hinge"]) == ("ok", "broken", "ok")
