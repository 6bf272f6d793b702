"""What a training that stops in the middle of an epoch needs to go on, beside its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pipeline.tasks.learner import Learner

State = dict[str, Any]


def states(task: Learner) -> list[State]:
    """The state of each rank, on all ranks: they count, draw and normalize tiles of their own."""
    mine = {
        "sums": {key: value.cpu() for key, value in task.training_sums.state().items()},
        "norms": task.norms,
        "random": torch.get_rng_state(),
        "buffers": {name: value.cpu() for name, value in task.named_buffers()},
    }
    if task.device.type == "cuda":
        mine["random on device"] = torch.cuda.get_rng_state(task.device)
    if task.trainer.world_size == 1:
        return [mine]
    everyone: list[State] = [{} for _ in range(task.trainer.world_size)]
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def go_on(task: Learner, state: State) -> None:
    """Take up the state of this rank, at the beginning of an epoch that was begun before."""
    task.training_sums.load(state["sums"])
    task.norms = [*state["norms"]]
    for name, buffer in task.named_buffers():
        buffer.copy_(state["buffers"][name])
    torch.set_rng_state(state["random"])
    if "random on device" in state:
        torch.cuda.set_rng_state(state["random on device"], task.device)
