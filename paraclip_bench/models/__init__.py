"""Adapters: what a model looks like to the engine, and one file a family of models."""

from paraclip_bench.models.adapter import Encoder, Model

__all__ = ["Encoder", "Model"]
