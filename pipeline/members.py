"""The networks of an ensemble: who they are, and how they are trained one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline import bundle
from pipeline.bundle import Bundle
from pipeline.console import marked, say
from pipeline.ensemble import Ensemble, Member
from pipeline.errors import BundleError, PipelineError
from pipeline.network import Network
from pipeline.stopping import Stopper
from pipeline.store import Store
from pipeline.tasks.fitting import Fitting, Kept, Learning, Plan, prepare
from pipeline.tasks.folders import key_of, member_folder
from pipeline.tasks.ranks import together


def plans(plan: Plan) -> list[Plan]:
    """A plan for each member, of a single network as it will be trained: by seed and model.

    Of a single network there is the plan itself; member 0 is that network.
    """
    train = plan.train
    return [
        replace(plan, model=model, train=train.model_copy(update={"seed": seed_of(train.seed, i)}))
        for i, model in enumerate(train.models(plan.model))
    ]


def seed_of(seed: int, member: int) -> int:
    """Seed of a member, a function of the training's and its number; of member 0 it is that."""
    if member == 0:
        return seed
    return int(np.random.SeedSequence((seed, member)).generate_state(1)[0])


def name_of(member: int, plan: Plan) -> str:
    """What a person knows a member by."""
    return f"member {member} ({plan.model.name})"


def prepare_all(
    each: Sequence[Plan], store: Store, donors: Sequence[Network | None]
) -> list[Learning]:
    """Build every member, so that what does not fit is told before anything is trained.

    Raises:
        PipelineError: Something does not fit a member; says which.
    """
    ready = []
    for member, (plan, giver) in enumerate(zip(each, donors, strict=True)):
        try:
            ready.append(prepare(plan, store, giver))
        except PipelineError as error:
            if len(each) == 1:
                raise
            name = name_of(member, plan)
            raise type(error)(f"{name[0].upper()}{name[1:]}: {error}") from error
    return ready


def done(folder: Path, member: int) -> Bundle | None:
    """A member that is trained already, if it is there and whole."""
    try:
        return bundle.load(member_folder(folder, member))
    except BundleError:
        return None


def keep(kept: Kept, folder: Path, plan: Plan, data_digest: str) -> None:
    """Put a trained member by; its checkpoints have done their work."""
    facts = {"epoch": kept.epoch, "accuracy": kept.accuracy, "seed": plan.train.seed}
    bundle.save(kept.network, data_digest=data_digest, params=facts, root=folder)
    say(f"{kept.sentence()}.")
    for path in folder.glob("*.ckpt"):
        path.unlink()


def assembled(folder: Path, each: Sequence[Plan]) -> Ensemble:
    """The ensemble of all members, which are all done."""
    found = [done(folder, member) for member in range(len(each))]
    members = [one for one in found if one is not None]
    assert len(members) == len(each), "each was trained"
    facts = [
        Member(plan.model.name, plan.train.seed, one.params["accuracy"])
        for plan, one in zip(each, members, strict=True)
    ]
    return Ensemble([one.network for one in members], facts)


def one_by_one(
    each: Sequence[Plan],
    waiting: Sequence[int],
    folder: Path,
    data_digest: str,
    begin: Callable[[int], Fitting],
    stopper: Stopper,
) -> None:
    """Train the members that wait, each on all devices.

    Args:
        each: Plans of all members.
        waiting: Numbers of those that are to be trained.
        folder: Of the training.
        data_digest: Of the tiles.
        begin: Gives the fitting of a member.
        stopper: Ends this process.
    """
    with ExitStack() as stack:
        ready = waiting[0]
        with marked(f"{name_of(ready, each[ready])}: "):
            fitting = begin(ready)
        same = {"parameters and tiles": key_of(folder), "precision": str(fitting.trainer.precision)}
        stack.enter_context(together(fitting.trainer, stopper, same))
        # Where ranks share no folder, rank zero knows which are trained already.
        for member in fitting.trainer.strategy.broadcast(list(waiting)):
            with marked(f"{name_of(member, each[member])}: "):
                if member != ready:
                    fitting, ready = begin(member), member
                _free()
                kept = fitting.run()
                if kept is not None:
                    keep(kept, member_folder(folder, member), each[member], data_digest)


def _free() -> None:
    """Give back what the member before took, whose parts refer to each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
