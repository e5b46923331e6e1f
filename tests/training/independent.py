"""An independent implementation of what training means, in float64, one example at a time.

Nothing of `apportion.training` is used: no batching, no padding, no masks, no torch optimiser or
schedule. `Recipe` names what goes in; the faults that the tests must detect are put in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of its response."""

    prompt: list[int]
    response: list[int]


def response_logps(model, example: Example, *, shift: int = 1, on_prompt: bool = False):
    """log p of each response token, from a softmax written out. `shift`: 1 is right."""
    ids = example.prompt + example.response
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    found = []
    for at in range(1 if on_prompt else len(example.prompt), len(ids)):
        scores = logits[at - shift]
        top = scores.detach().max()
        log_total = torch.log(torch.exp(scores - top).sum()) + top
        found.append(scores[ids[at]] - log_total)
    return torch.stack(found)


def sft_loss(model, batch, weighting="token", **fault):
    """Mean negative log-probability over a batch, by token or by sequence."""
    each = [-response_logps(model, example, **fault) for example in batch]
    if weighting == "token":
        return sum(e.sum() for e in each) / sum(len(e) for e in each)
    return sum(e.sum() / len(e) for e in each) / len(each)


def dpo_loss(model, batch, reference, beta, **fault):
    """Mean over pairs of log(1 + exp(-margin)); `reference`: (chosen, rejected) per pair."""
    total = 0.0
    for (chosen, rejected), (ref_chosen, ref_rejected) in zip(batch, reference, strict=True):
        w = response_logps(model, chosen, **fault).sum()
        l_ = response_logps(model, rejected, **fault).sum()
        margin = beta * ((w - ref_chosen) - (l_ - ref_rejected))
        total = total + torch.log1p(torch.exp(-margin))
    return total / len(batch)


def gradient(model, loss):
    """The gradient by parameter name."""
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def rate(step: int, steps: int, recipe) -> float:
    """The learning rate of step 0, 1, …: linear warm-up, then cosine or linear to 0."""
    warm = math.ceil(recipe.warmup_ratio * steps)
    if step < warm:
        return recipe.learning_rate * step / warm
    done = (step - warm) / max(1, steps - warm)
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return recipe.learning_rate * shape[recipe.schedule]


def train(model, n, loss_of, recipe, seed):
    """AdamW written out, on effective batches of a seeded permutation; losses and norms."""
    order = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(recipe.epochs):
        drawn = torch.randperm(n, generator=order).tolist()
        batches += [drawn[i : i + recipe.batch_size] for i in range(0, n, recipe.batch_size)]
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    first = {name: torch.zeros_like(p) for name, p in weights.items()}
    second = {name: torch.zeros_like(p) for name, p in weights.items()}
    losses, norms = [], []
    for step, batch in enumerate(batches):
        loss = loss_of(model, batch)
        grads = gradient(model, loss)
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        clip = min(1.0, recipe.max_grad_norm / (norm + 1e-6))
        lr = rate(step, len(batches), recipe)
        with torch.no_grad():
            for name, p in weights.items():
                g = grads[name] * clip
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.999 * second[name] + 0.001 * g * g
                m = first[name] / (1 - 0.9 ** (step + 1))
                v = second[name] / (1 - 0.999 ** (step + 1))
                decay = 0.0 if "norm" in name else recipe.weight_decay
                p -= lr * decay * p + lr * m / (v.sqrt() + 1e-8)
        losses.append(float(loss.detach()))
        norms.append(norm)
    return losses, norms
