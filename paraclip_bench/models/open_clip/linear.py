"""The fastest exact linear layer of this machine.

torch's own `F.linear` uses MKL on x86, which reaches half of oneDNN's speed on AMD processors and
about the same on Intel's; the same torch wheel carries both. oneDNN's operators are private to
torch, so they are used only where they work and are faster, and callers check the outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU

from paraclip_bench.models.open_clip.autotune import best_seconds, decided

# Rows that oneDNN lays the weights out for; any number of rows may come.
_ROWS = 2048
_QUICK = 1.702  # QuickGELU is x * sigmoid(1.702 x)


class Plain:
    """`F.linear`, then an activation."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        activation: torch.nn.Module | None = None,
    ) -> None:
        self.weight, self.bias, self.activation = weight.detach(), _detached(bias), activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """activation(x W^T + b), [m, out] of x [m, in]."""
        y = F.linear(x, self.weight, self.bias)
        return y if self.activation is None else self.activation(y)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """x W^T + b + residual, [m, out]."""
        return F.linear(x, self.weight, self.bias).add_(residual)


class OneDNN:
    """oneDNN's layer with its weights laid out once, and the activation or sum fused into it."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        activation: torch.nn.Module | None = None,
    ) -> None:
        self.fused, self.algorithm, scale = _fused(activation)
        self.activation = activation if self.fused == "none" else None
        weight, self.bias = weight.detach() * scale, _detached(bias)
        if self.bias is not None:
            self.bias = self.bias * scale
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """activation(x W^T + b), [m, out] of x [m, in]; QuickGELU's comes out times 1.702."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self.fused, [], self.algorithm
        )
        return y if self.activation is None else self.activation(y)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """x W^T + b + residual, [m, out]."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, residual, self.weight, self.bias, "add"
        )
        return y


class Trained:
    """`F.linear` with the weights themselves, so that gradients flow to them."""

    product: Callable[..., torch.Tensor] = staticmethod(F.linear)

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        activation: torch.nn.Module | None = None,
    ) -> None:
        self.weight, self.bias, self.activation = weight, bias, activation

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """activation(x W^T + b), [m, out] of x [m, in]."""
        y = self.product(x, self.weight, self.bias)
        return y if self.activation is None else self.activation(y)

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """x W^T + b + residual, [m, out]."""
        return self.product(x, self.weight, self.bias) + residual


class _OneDNNProduct(torch.autograd.Function):
    """x W^T + b by oneDNN, forward and backward, in float32."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        y = gradients[0].contiguous()
        return (
            _onednn(y, weight.t().contiguous()) if needs_x else None,
            _onednn(y.t().contiguous(), x.t().contiguous()) if needs_weight else None,
            y.sum(0) if needs_bias else None,
        )


class TrainedOneDNN(Trained):
    """The same by oneDNN, whose products are faster on some processors, gradients too."""

    product: Callable[..., torch.Tensor] = staticmethod(_OneDNNProduct.apply)


Linear = Plain | OneDNN | Trained
TRAINED: dict[str, type[Trained]] = {kind.__name__: kind for kind in (Trained, TrainedOneDNN)}


def scale_after(linear: Linear) -> float:
    """What the weights of the next layer must be divided by."""
    return _QUICK if isinstance(linear, OneDNN) and linear.fused == "swish" else 1.0


def fastest(device: torch.device, dtype: torch.dtype) -> type[Linear]:
    """The kind of layer to use for weights on this device and in this dtype."""
    if device.type != "cpu" or dtype == torch.float16:
        return Plain
    onednn = decided(f"{dtype} linear layers by oneDNN", lambda: _onednn_is_faster(dtype))
    return OneDNN if onednn else Plain


def fastest_to_train(device: torch.device, dtype: torch.dtype) -> type[Trained]:
    """The kind of layer to train weights on this device and in this dtype with."""
    is_plain = device.type == "cpu" and dtype == torch.float32
    if not is_plain or torch.is_autocast_enabled("cpu"):
        return Trained
    faster = decided("training linear layers by oneDNN", _onednn_trains_faster)
    return TrainedOneDNN if faster else Trained


def _onednn_trains_faster() -> bool:
    """Whether it is, forward and backward, by a fifth: else the plain way is good enough."""

    def once(kind: type[Trained]) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(_ROWS, 512, requires_grad=True)
            weight = torch.zeros(2048, 512, requires_grad=True)
            torch.autograd.backward(kind(weight, torch.zeros(2048))(x), torch.zeros(_ROWS, 2048))

    # Infinite where this torch has no such operator.
    seconds = [
        (best_seconds(lambda: once(TrainedOneDNN)), best_seconds(lambda: once(Trained)))
        for _ in range(3)
    ]
    return 1.2 * min(one for one, _ in seconds) < min(two for _, two in seconds)


def _onednn_is_faster(dtype: torch.dtype) -> bool:
    """Whether it is for an MLP's first layer with its activation, in turns with F.linear."""
    x = torch.zeros(_ROWS, 512, dtype=dtype)
    weight, bias = torch.zeros(2048, 512, dtype=dtype), torch.zeros(2048, dtype=dtype)
    try:
        fused, plain = (kind(weight, bias, torch.nn.GELU()) for kind in (OneDNN, Plain))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False  # this torch has no such operator
    seconds = [(best_seconds(lambda: fused(x)), best_seconds(lambda: plain(x))) for _ in range(3)]
    # Near a tie it is oneDNN, so that the noise of a measurement does not decide.
    return min(one for one, _ in seconds) < 1.1 * min(two for _, two in seconds)


def _onednn(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _fused(activation: torch.nn.Module | None) -> tuple[str, str, float]:
    """oneDNN's name of an activation, its algorithm, and what to scale the layer with."""
    if isinstance(activation, torch.nn.GELU):
        return "gelu", activation.approximate, 1.0
    if isinstance(activation, QuickGELU):
        return "swish", "", _QUICK
    return "none", "", 1.0


def _detached(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach()
