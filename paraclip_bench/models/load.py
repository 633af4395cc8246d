"""From the spec that a user types to a `Model`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from paraclip_bench import registry
from paraclip_bench.errors import BenchError, ModelError, UsageError, check_name, reason_of
from paraclip_bench.files import regular
from paraclip_bench.models.adapter import Context, Model, is_alias, may_name_suite


def load_model(spec: str, context: Context) -> Model:
    """Find and construct the adapter that `spec` names; weights may stay unloaded until used.

    `NAME`, `NAME:ARG`, or `file.py:Class[:ARG]`. Of an `Alias`, the spec that it gives is loaded
    under the typed name.
    Raises `UsageError` for an unknown name, `ModelError` for one that cannot be made.
    """
    cls, argument, label = _class_of(spec)
    if is_alias(cls):
        return _under_alias(cls, spec, cls.resolve(argument, context), context)
    arguments = () if argument is None else (argument,)
    if not registry.accepts(cls, arguments):
        wrong = "takes no argument" if arguments else "needs an argument after a colon"
        raise UsageError(f"the model {spec!r} {wrong}; docs/models.md shows how models are named")
    try:
        made = cls(*arguments)
    except BenchError:
        raise
    # An adapter is foreign code: whatever its constructor raises becomes its own reason.
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {spec!r} cannot be made ({reason_of(error)}); "
            "check its argument (docs/models.md)"
        ) from error
    model = Model(spec, made, argument=argument)
    model.name = model.adapter.name or label
    return model


def load_models(spec: str, context: Context) -> list[Model]:
    """All models that `spec` names, as `load_model` does: an `Alias` may stand for several."""
    cls, argument, _ = _class_of(spec)
    if not is_alias(cls) or not hasattr(cls, "resolve_all"):
        return [load_model(spec, context)]
    targets = cls.resolve_all(argument, context)
    return [_under_alias(cls, spec, target, context) for target in targets]


def _class_of(spec: str) -> tuple[Any, str | None, str]:
    """The class of a spec, its argument, and what to call its models that have no name."""
    check_name(spec, "the model")
    name, argument = _split(spec)
    if name.endswith(".py") or ".py:" in spec:
        cls, argument = _from_file(spec)
        return cls, argument, cls.__name__ if argument is None else f"{cls.__name__}-{argument}"
    return _registered(name, spec), argument, spec


def _under_alias(cls: Any, spec: str, target: str, context: Context) -> Model:
    """What an alias stands for, under the typed name."""
    model = load_model(target, context)
    named = getattr(cls, "label", None) or model.name
    return Model(spec, model.adapter, name=named, argument=model.argument)


def _registered(name: str, spec: str) -> Any:
    try:
        return registry.find("model", name).load()
    except UsageError as error:
        path = Path(spec)
        if not path.is_dir():
            raise
        ours = (path / "provenance.json").is_file()
        kind = "paraclip" if ours else "local-dir"
        raise UsageError(
            f"there is no model {spec!r}, and there is a folder of that name: write {kind}:{spec}"
        ) from error


def suite_of(spec: str, context: Context) -> str | None:
    """The suite that a model says it belongs to (a checkpoint of ours does), or None.

    Only classes that can know are made for it.
    """
    if ".py:" in spec or spec.endswith(".py"):
        return None
    name, _ = _split(spec)
    try:
        cls = _registered(name, spec)
        if not may_name_suite(cls):
            return None
        suite = load_models(spec, context)[0].adapter.suite
    except UsageError:
        raise
    # The preflight will say why this one cannot be loaded, foreign code too; the others go on.
    except Exception:
        return None
    return suite if isinstance(suite, str) else None


def _split(spec: str) -> tuple[str, str | None]:
    name, colon, argument = spec.partition(":")
    if not name or (colon and not argument):
        raise UsageError(f"the model {spec!r} is not NAME, NAME:ARGUMENT or file.py:Class")
    return name, argument if colon else None


def _from_file(spec: str) -> tuple[Any, str | None]:
    head, _, tail = spec.partition(".py:")
    path = Path(head.removesuffix(".py") + ".py")
    class_name, _, argument = tail.partition(":")
    if not class_name:
        raise UsageError(f"the model {spec!r} names no class; write {path}:Class")
    if not regular(path).is_file():
        raise UsageError(f"the model {spec!r} names a file that does not exist, {path}")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    module_name = f"paraclip_bench_custom_{path.stem}_{digest}"
    folder = str(path.resolve().parent)
    loaded = set(sys.modules)
    sys.path.insert(0, folder)  # its neighbours can be imported, as when Python runs the file
    loader = importlib.util.spec_from_file_location(module_name, path)
    if loader is None or loader.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(loader)
    sys.modules[module_name] = module
    try:
        loader.loader.exec_module(module)
    # The user's own file: whatever it raises is told with its name.
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"{path} cannot be imported ({reason_of(error)}); fix that file"
        ) from error
    finally:
        sys.path.remove(folder)
        # Another model's file may have a neighbour of the same name.
        for name in set(sys.modules) - loaded - {module_name}:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(folder + os.sep):
                del sys.modules[name]
    if not hasattr(module, class_name):
        known = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise registry.unknown("class", class_name, known, f"in {path}")
    return getattr(module, class_name), argument or None
