from __future__ import annotations

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from apportion.config.evaluation import Decoding
from apportion.generation.sampling import next_tokens, nucleus

LOGITS = 3 * torch.randn(6, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(0.5, 0.9), (1.0, 1.0), (2.0, 0.3), (0.7, 0.01)]
)
def test_the_nucleus_is_that_of_transformers(temperature, top_p):
    decoding = Decoding(strategy="sample", temperature=temperature, top_p=top_p)
    ours, tokens = nucleus(LOGITS, decoding)
    warped = TemperatureLogitsWarper(temperature)(None, LOGITS)
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    theirs = warped.softmax(-1)
    torch.testing.assert_close(torch.zeros_like(ours).scatter(-1, tokens, ours), theirs)


def test_uniform_numbers_are_turned_into_tokens_by_hand():
    # probabilities 0.5, 0.3, 0.2 of tokens 2, 0, 1: cumulative 0.5, 0.8, 1.0
    logits = torch.tensor([[0.3, 0.2, 0.5]]).log().expand(5, 3)
    u = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.9999999], dtype=torch.float64)
    decoding = Decoding(strategy="sample")
    assert next_tokens(logits, decoding, u).tolist() == [2, 2, 0, 0, 1]
    # top_p 0.6 keeps tokens 2 and 0, with probabilities 0.625 and 0.375
    decoding = Decoding(strategy="sample", top_p=0.6)
    assert next_tokens(logits, decoding, u).tolist() == [2, 2, 2, 0, 0]


def test_greedy_takes_the_largest():
    assert next_tokens(LOGITS, Decoding(), None).tolist() == LOGITS.argmax(-1).tolist()
