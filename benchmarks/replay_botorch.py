"""A rival of adaptive search, as one would build it from BoTorch.

Needs `pip install 'apportion[bench]'`.

| symbol | meaning |
|---|---|
| x | (log1p n_sft, log1p n_pref) over the largest log1p of the lattice |
| f(x) | the score; a Gaussian process with BoTorch's defaults, noise of a run inferred |
| L | points of the targets' budget lines, one per share |
| KG(c) | mean over targets of E[max over L of the mean of f after one run of c] - max now |

Next is the cell with the highest KG per training token beyond what is there: cost-aware one-step
knowledge gradient over a finite set (Frazier et al. 2009), with BoTorch's fantasies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood

from apportion.prices import Amount

Cell = tuple[int, int, int]
FANTASIES = 64


class KnowledgeGradient:
    """Where to run next, and which shares look best now."""

    def __init__(
        self,
        targets: Sequence[Amount],
        shares: Sequence[float],
        points: Sequence[tuple[int, int]],
        replicates: int,
        seed: int,
    ) -> None:
        self.shares, self.points, self.replicates, self.seed = shares, points, replicates, seed
        self._largest = float(np.log1p(np.max(points)))
        part = np.array(shares)
        line = [np.stack([part * a.value, (1 - part) * a.value], 1) for a in targets]
        self._line = self._x(np.concatenate(line))

    def _x(self, counts: object) -> torch.Tensor:
        return torch.tensor(np.log1p(np.asarray(counts, dtype=float)) / self._largest)

    def step(
        self, have: Sequence[Cell], scores: Sequence[float], cost: Callable[[Cell], float]
    ) -> tuple[list[float], Cell | None]:
        """The shares with the highest mean, (one per target), and the cell to run next."""
        torch.manual_seed(self.seed)
        y = torch.tensor(scores, dtype=torch.float64).unsqueeze(-1)
        model = SingleTaskGP(self._x([cell[:2] for cell in have]), y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says of each retry of its optimiser
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            now = self._by_target(model.posterior(self._line).mean.squeeze(-1))
        best = [self.shares[int(k)] for k in now.argmax(-1)]
        runs = {point: sum(cell[:2] == point for cell in have) for point in self.points}
        able = [(*point, n) for point, n in runs.items() if n < self.replicates and point != (0, 0)]
        if not able:
            return best, None
        gain = self._after(model, able).amax(-1).mean(-1).mean(0) - now.amax(-1).mean()
        per_token = gain.numpy() / np.array([max(cost(cell), 1e-9) for cell in able])
        return best, able[int(per_token.argmax())]

    def _by_target(self, mean: torch.Tensor) -> torch.Tensor:
        """(..., targets, shares) of (..., targets * shares)."""
        return mean.unflatten(-1, (-1, len(self.shares)))

    def _after(self, model: SingleTaskGP, able: Sequence[Cell]) -> torch.Tensor:
        """Means after a fantasy run of each cell: (fantasies, cells, targets, shares)."""
        sampler = SobolQMCNormalSampler(torch.Size([FANTASIES]), seed=self.seed)
        x = self._x([cell[:2] for cell in able]).unsqueeze(-2)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            after = model.fantasize(x, sampler)
            line = self._line.expand(FANTASIES, len(able), *self._line.shape)
            return self._by_target(after.posterior(line).mean.squeeze(-1))
