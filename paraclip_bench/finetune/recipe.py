"""A fine-tuning run's settings, read from TOML and written beside its checkpoint.

The paper gives the loss, not these numbers: the defaults are this project's own.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paraclip_bench import registry
from paraclip_bench.errors import DataError

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """Settings of one run. batch_size counts pairs; give epochs or steps, steps win.

    learning_rate is the peak, reached after warmup_steps and then lowered to 0 along a cosine.
    save_every is the number of steps between two training states that --resume can start from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="paraclip", min_length=1)
    base: str | None = None
    batch_size: Annotated[int, Field(ge=2)] = 256
    epochs: Positive = 1
    steps: Positive | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Fraction = 0.9
    beta2: Fraction = 0.98
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    save_every: Positive = 500
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(str(registry.unknown("recipe key", key, cls.model_fields)))
        return values

    def total_steps(self, pairs: int) -> int:
        """Optimizer steps for a number of pairs; a last batch that is not full is left out."""
        return self.steps if self.steps is not None else self.epochs * (pairs // self.batch_size)

    def dump(self) -> str:
        """The recipe as TOML; a key without a value is left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; `DataError` names the key that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the recipe {path} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"the recipe {path} is not valid TOML ({error}); mend that line") from error
    try:
        return Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        where = f"{key}: " if key else ""
        raise DataError(f"the recipe {path}: {where}{message}") from error
