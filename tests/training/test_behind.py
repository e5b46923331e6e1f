"""Responses behind prompts that another pass computed, against passes of their own."""

from __future__ import annotations

import pytest
import torch
from test_against_independent import LORA, disturbed
from torch import nn

from apportion.config.recipe import KtoRecipe
from apportion.data.records import labels_of
from apportion.models.policy import causal_lm
from apportion.training import behind
from apportion.training.batches import Row, sequence_logps
from apportion.training.kto import encode_labels, kto_loss
from apportion.training.packing import Batches

HOW = Batches(True, 0, torch.device("cpu"))
# Prompts of one, three and four tokens; others longer, shorter and as long.
ROWS = [[Row((5, 6, 7), 1)], [Row((5, 6, 7, 8, 9), 3)], [Row((9, 8, 7, 6, 5), 4)]]
OTHERS = [[Row((5, 4, 3, 2, 6), 1)], [Row((5, 6, 7, 4), 3)], [Row((9, 8, 7, 6, 1), 4)]]


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_behind_is_a_pass_of_its_own(tiny, lora):
    model = disturbed(tiny.model(lora))
    config = causal_lm(model).config
    assert config.num_key_value_heads < config.num_attention_heads
    logps, other = behind.logps_and_behind(model, ROWS, OTHERS, HOW)
    assert not other.requires_grad
    torch.testing.assert_close(logps, sequence_logps(model, HOW.of(ROWS)))
    torch.testing.assert_close(other, sequence_logps(model, HOW.of(OTHERS)).detach())


@pytest.mark.parametrize("fault", ["begins", "masks", "layers"])
def test_a_fault_would_be_seen(tiny, fault, monkeypatch):
    model = disturbed(tiny.model())
    _, right = behind.logps_and_behind(model, ROWS, OTHERS, HOW)
    real = behind._Behind

    def faulty(begins, before, own, masks, states, positions, places):
        if fault == "begins":
            begins = [begin + 1 for begin in begins]
        elif fault == "masks":
            masks = [mask.tril(c - 1) for mask, c in zip(masks, before, strict=True)]
        else:
            states = reversed(list(states))
        return real(begins, before, own, masks, iter(states), positions, places)

    monkeypatch.setattr(behind, "_Behind", faulty)
    _, wrong = behind.logps_and_behind(model, ROWS, OTHERS, HOW)
    assert (wrong - right).abs().max() > 1e-3


def test_the_prompt_is_not_computed_twice(tiny):
    model = tiny.model()
    rows = encode_labels(
        tiny.template, labels_of(tiny.kept_pairs), max_length=tiny.max_length, group_size=7, seed=0
    )
    group = list(range(7))
    tokens = []
    causal_lm(model).get_input_embeddings().register_forward_hook(
        lambda _, ids, __: tokens.append(ids[0].numel())
    )
    loss = kto_loss(model, rows, ([-20.0] * 14, [-25.0] * 14), KtoRecipe(beta=0.1), HOW)
    loss(group, group)
    rest = sum(row.n_response + 1 for row in rows.mismatched[:7])
    assert tokens == [sum(len(row.ids) for row in rows.matched[:7]), rest]


def test_dropout_is_drawn_for_each_response(tiny):
    model = tiny.model(LORA.model_copy(update={"dropout": 0.5}))
    assert any(isinstance(module, nn.Dropout) and module.p for module in model.modules())
    model.train()
    assert not behind.can_go_behind(model, HOW)
    model.eval()
    assert behind.can_go_behind(model, HOW)
    assert not behind.can_go_behind(model, Batches(False, 0, torch.device("cpu")))
