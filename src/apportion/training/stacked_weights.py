"""The adapters of several runs as one block of numbers, and what they add to a layer's outputs.

| symbol | meaning | shape |
|---|---|---|
| K | runs that are still trained | |
| P | numbers of one run's adapter, all layers together | |
| weights, grads, means, squares | adapters, gradients, AdamW's two moments; a run is a row | (K, P) |
| r | rank of an adapter | |
| A, B | one layer's matrices of all runs; of the trained ones views into `weights` | (K, r, in), (K, out, r) |
| s | alpha / r | |
| n | rows (tokens) that a layer computes in a pass; n_k of them are run k's, side by side | |
| x, y | a layer's inputs, and its outputs so far | (n, in), (n, out) |

A layer computes its base's y for all n rows in one product. Then run k's rows get
y + s * (x A_k^T) B_k^T for each of its adapters, frozen ones first: where all n_k are equal as one
batched product, else run by run. No row of one run meets a matrix of another, so the gradient of
the sum of all losses is, row by row of `grads`, each run's own.

AdamW is torch's arithmetic, over the whole block: the runs started together, so the number of the
step is common to them, and each has its own rate, norm and clipping.
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from apportion.config.recipe import StageRecipe
from apportion.models.stack import Chain, UnsuitedToStack, adapted_layers, silenced

_BETAS, _EPS = (0.9, 0.999), 1e-8  # as torch's AdamW has them
_CLIP_EPS = 1e-6  # as torch's clip_grad_norm_ has it

Sizes = Sequence[int]  # rows of each run, n_k
Pair = tuple[torch.Tensor, torch.Tensor, float]  # A, B, s


class StackedWeights:
    """The trained adapters of K runs with their optimiser, over the model that holds them."""

    def __init__(self, model: nn.Module, chains: Sequence[Chain]) -> None:
        self.model = model
        self.chains = list(chains)
        self._layers = {
            name: layer
            for name, layer in adapted_layers(model).items()
            if chains[0].own in layer.lora_A
        }
        self.weights = torch.stack([self._flat(chain.own) for chain in chains])
        self.means = torch.zeros_like(self.weights)
        self.squares = torch.zeros_like(self.weights)
        self._arrange()

    def _matrices(self, layer: Any, adapter: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of one adapter, as PEFT holds them."""
        return layer.lora_A[adapter].weight.data, layer.lora_B[adapter].weight.data

    def _flat(self, adapter: str) -> torch.Tensor:
        """One adapter's numbers in the layers' order: (P,)."""
        parts = [
            matrix.flatten()
            for layer in self._layers.values()
            for matrix in self._matrices(layer, adapter)
        ]
        return torch.cat(parts)

    def _arrange(self) -> None:
        """Lay the layers' matrices over the block, anew whenever runs have left."""
        self.grads = torch.zeros_like(self.weights)
        self._pairs: dict[str, list[Pair]] = {}
        begin, own = 0, self.chains[0].own
        for name, layer in self._layers.items():
            views = []
            for matrix in self._matrices(layer, own):
                end = begin + matrix.numel()
                weight, grad = (
                    block[:, begin:end].view(-1, *matrix.shape)
                    for block in (self.weights, self.grads)
                )
                leaf = weight.detach().requires_grad_()
                leaf.grad = grad  # so that gradients are summed in the block itself
                views.append(leaf)
                begin = end
            a, b = views
            self._pairs[name] = [*self._frozen(layer), (a, b, float(layer.scaling[own]))]

    def _frozen(self, layer: Any) -> Iterator[Pair]:
        """The frozen adapters of all runs, the first of each, then the second, …

        A run that has fewer of them has zeros there, which add nothing.
        """
        for place in range(max(len(chain.frozen) for chain in self.chains)):
            names = [chain.frozen[place : place + 1] for chain in self.chains]
            there = [name[0] for name in names if name]
            like = self._matrices(layer, there[0])
            scale = float(layer.scaling[there[0]])
            if any(layer.scaling[name] != scale for name in there):
                raise UnsuitedToStack("frozen adapters of different scale.")
            matrices = [
                self._matrices(layer, name[0]) if name else tuple(map(torch.zeros_like, like))
                for name in names
            ]
            a, b = (torch.stack(kind) for kind in zip(*matrices, strict=True))
            yield a, b, scale

    # -- computing ------------------------------------------------------------------------------

    @contextmanager
    def within(self, sizes: Mapping[int, Sizes]) -> Iterator[None]:
        """Within: every adapted layer adds each run's adapters to that run's rows.

        `sizes`: by the number of rows that a layer is given, how many are whose. (In a packed pass
        the last layer's MLP is given fewer rows than the others.)
        """
        with ExitStack() as stack:
            stack.enter_context(silenced(self.model))
            for name, pairs in self._pairs.items():
                add = partial(_add, pairs, sizes)
                handle = self._layers[name].register_forward_hook(add)
                stack.callback(handle.remove)
            yield

    def norms(self) -> list[float]:
        """The length of each run's gradient."""
        found: list[float] = torch.linalg.vector_norm(self.grads, dim=1).tolist()
        return found

    def step(
        self, recipe: StageRecipe, *, step: int, rates: Sequence[float], norms: Sequence[float]
    ) -> None:
        """Clip every run's gradient, take AdamW's step number `step` (from 1), clear the gradients.

        `rates`: each run's learning rate.
        """
        clip = [min(1.0, recipe.max_grad_norm / (norm + _CLIP_EPS)) for norm in norms]
        grads = self.grads.mul_(self._column(clip))
        self.means.lerp_(grads, 1 - _BETAS[0])
        self.squares.mul_(_BETAS[1]).addcmul_(grads, grads, value=1 - _BETAS[1])
        root = (self.squares.sqrt() / math.sqrt(1 - _BETAS[1] ** step)).add_(_EPS)
        pull = [1 - rate * recipe.weight_decay for rate in rates]
        move = [-rate / (1 - _BETAS[0] ** step) for rate in rates]
        self.weights.mul_(self._column(pull)).addcmul_(self.means / root, self._column(move))
        self.clear()

    def clear(self) -> None:
        """Gradients are zero again."""
        self.grads.zero_()

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64).to(self.weights).unsqueeze(1)

    # -- runs that leave ------------------------------------------------------------------------

    def put_back(self, row: int) -> None:
        """Copy a run's numbers into the adapter that PEFT holds, which can then be saved."""
        begin = 0
        for layer in self._layers.values():
            for matrix in self._matrices(layer, self.chains[row].own):
                end = begin + matrix.numel()
                matrix.copy_(self.weights[row, begin:end].view_as(matrix))
                begin = end

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these runs alone, their gradients as they are; `rows` is not empty."""
        which = torch.tensor(rows, device=self.weights.device)
        grads = self.grads.index_select(0, which)
        self.weights, self.means, self.squares = (
            block.index_select(0, which) for block in (self.weights, self.means, self.squares)
        )
        self.chains = [self.chains[row] for row in rows]
        self._arrange()
        self.grads.copy_(grads)


def _add(
    pairs: Sequence[Pair], sizes: Mapping[int, Sizes], _: nn.Module, inputs: Any, output: Any
) -> torch.Tensor:
    """A hook behind an adapted layer: its outputs with every run's adapters added."""
    x = inputs[0].flatten(0, -2).to(pairs[0][0].dtype)
    y = output.flatten(0, -2).to(x.dtype)
    mine = sizes.get(len(x))
    if mine is None:
        raise UnsuitedToStack("a layer is given rows that cannot be told apart.")
    if len(set(mine)) == 1:
        x, y = (block.view(len(mine), mine[0], -1) for block in (x, y))
        for a, b, scale in pairs:
            y = torch.baddbmm(y, torch.bmm(x, a.mT), b.mT, alpha=scale)
    else:
        parts = list(torch.split(y, list(mine)))
        for a, b, scale in pairs:
            each = zip(torch.split(x, list(mine)), parts, a.unbind(), b.unbind(), strict=True)
            parts = [torch.addmm(py, px @ pa.mT, pb.mT, alpha=scale) for px, py, pa, pb in each]
        y = torch.cat(parts)
    added: torch.Tensor = y.view_as(output).to(output.dtype)
    return added
