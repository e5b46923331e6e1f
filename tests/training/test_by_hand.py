"""Losses and gradients against arithmetic done by hand.

The model's logits at any position are a row of a table: after token a come the logits table[a].
Vocabulary: tokens 0, 1, 2. Each probability below is exp(logit) / (sum of exp).
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from apportion.training.batches import Row
from apportion.training.dpo import dpo_loss
from apportion.training.packing import batches_for
from apportion.training.sft import sft_loss

# after 0: probabilities 1/4, 1/4, 1/2; after 1: 1/10, 6/10, 3/10; after 2: 1/3 each
TABLE = [[1.0, 1.0, 2.0], [1.0, 6.0, 3.0], [1.0, 1.0, 1.0]]


class Bigram(nn.Module):
    """Logits are log(TABLE[token]); states are one-hot, so the output layer is the table."""

    def __init__(self):
        super().__init__()
        text = SimpleNamespace(vocab_size=3)
        self.config = SimpleNamespace(dtype=torch.float32, get_text_config=lambda: text)
        self.head = nn.Linear(3, 3, bias=False)
        self.head.weight.data = torch.tensor(TABLE).log().T.contiguous()

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(logits=self.head(nn.functional.one_hot(input_ids, 3).float()))


# prompt (0), response (2, 1):    p = 1/2, 1/3  -> -log p = log 2, log 3
A = Row(ids=(0, 2, 1), start=1)
# prompt (2, 0, 1), response (2): p = 3/10      -> -log p = log(10/3)
B = Row(ids=(2, 0, 1, 2), start=3)
# prompt (0), response (0, 1, 1): p = 1/4, 1/4, 6/10
C = Row(ids=(0, 0, 1, 1), start=1)
LOG_A, LOG_B = -math.log(6), -math.log(10 / 3)  # log p of the responses
LOG_C = math.log(1 / 4) + math.log(1 / 4) + math.log(6 / 10)


def test_sft_by_token():
    # (log 2 + log 3 + log(10/3)) / 3 = log(20) / 3 = 0.99858
    model = Bigram()
    loss, _ = sft_loss(model, [A, B], "token", batches_for(model, pad=0))([0, 1], [0, 1])
    assert loss.item() == pytest.approx(math.log(20) / 3, abs=1e-6)
    loss.backward()
    # d loss / d logit = (p - [target]) / 3 at each response position:
    # after 0, target 2: (1/4, 1/4, 1/2 - 1) / 3; after 2, target 1: (1/3, 1/3 - 1, 1/3) / 3
    # after 1, target 2: (1/10, 6/10, 3/10 - 1) / 3
    by_hand = torch.tensor([[0.25, 0.25, -0.5], [0.1, 0.6, -0.7], [1 / 3, -2 / 3, 1 / 3]]) / 3
    torch.testing.assert_close(model.head.weight.grad.T, by_hand)


def test_sft_by_sequence():
    # mean of log(6) / 2 and log(10/3): (0.89588 + 1.20397) / 2 = 1.04993
    model = Bigram()
    loss, _ = sft_loss(model, [A, B], "sequence", batches_for(model, pad=0))([0, 1], [0, 1])
    assert loss.item() == pytest.approx((math.log(6) / 2 + math.log(10 / 3)) / 2, abs=1e-6)
    loss.backward()
    # token weights: 1/4 for both tokens of A, 1/2 for the one of B
    by_hand = torch.tensor(
        [[0.25 / 4, 0.25 / 4, -0.5 / 4], [0.1 / 2, 0.6 / 2, -0.7 / 2], [1 / 12, -1 / 6, 1 / 12]]
    )
    torch.testing.assert_close(model.head.weight.grad.T, by_hand)


def test_sft_in_two_passes_is_the_same():
    for weighting in ("token", "sequence"):
        whole, parts = Bigram(), Bigram()
        sft_loss(whole, [A, B], weighting, batches_for(whole, pad=0))([0, 1], [0, 1])[0].backward()
        for one in ([0], [1]):
            sft_loss(parts, [A, B], weighting, batches_for(parts, pad=0))(one, [0, 1])[0].backward()
        torch.testing.assert_close(parts.head.weight.grad, whole.head.weight.grad)


def test_dpo():
    # pair: A chosen, C rejected, reference log p -2 and -3, beta 1/2
    # margin = ((-1.79176 + 2) - (-3.28341 + 3)) / 2 = (0.20824 + 0.28341) / 2 = 0.24583
    model = Bigram()
    loss, means = dpo_loss(model, [(A, C)], [(-2.0, -3.0)], 0.5, batches_for(model, pad=0))(
        [0], [0]
    )
    margin = 0.5 * ((LOG_A + 2) - (LOG_C + 3))
    assert margin == pytest.approx(0.24583, abs=1e-5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-margin)), abs=1e-6)
    assert float(means["margin"]) == pytest.approx(margin, abs=1e-6)
    assert float(means["chosen_logp"]) == pytest.approx(LOG_A, abs=1e-6)
    assert float(means["rejected_logp"]) == pytest.approx(LOG_C, abs=1e-6)
    assert float(means["accuracy"]) == 1.0
    loss.backward()
    # d loss / d logit = -beta * sigmoid(-margin) * (d log p(A) - d log p(C)),
    # d log p = [target] - p at each response position
    # after 0: A has target 2; C has targets 0 and 1:
    #   (-1/4, -1/4, 1/2) - (3/4 - 1/4, -1/4 + 3/4, -1/2 - 1/2) = (-3/4, -3/4, 3/2)
    # after 1: only C, target 1: -(-1/10, 4/10, -3/10); after 2: only A, target 1: (-1/3, 2/3, -1/3)
    slope = torch.tensor([[-0.75, -0.75, 1.5], [0.1, -0.4, 0.3], [-1 / 3, 2 / 3, -1 / 3]])
    by_hand = -0.5 / (1 + math.exp(margin)) * slope
    torch.testing.assert_close(model.head.weight.grad.T, by_hand)


def test_dpo_is_a_mean_over_the_effective_batch():
    # the same pair twice, one swapped: losses log(1 + e^-m) and log(1 + e^m), mean of both
    model = Bigram()
    rows, fixed = [(A, C), (C, A)], [(-2.0, -3.0), (-3.0, -2.0)]
    loss_of = dpo_loss(model, rows, fixed, 0.5, batches_for(model, pad=0))
    margin = 0.5 * ((LOG_A + 2) - (LOG_C + 3))
    wanted = (math.log(1 + math.exp(-margin)) + math.log(1 + math.exp(margin))) / 2
    assert loss_of([0, 1], [0, 1])[0].item() == pytest.approx(wanted, abs=1e-6)
    parts = [loss_of([i], [0, 1]) for i in (0, 1)]
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(wanted, abs=1e-6)
    assert sum(float(means["accuracy"]) for _, means in parts) == 0.5
