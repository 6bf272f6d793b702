"""Train the network: ``models/``, ``reports/train/curves.csv`` and a run in MLflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import bundle, calibration, donor, members
from pipeline.console import say, warn
from pipeline.duplicates import kept as as_text
from pipeline.ensemble import Ensemble, member_of
from pipeline.ground import kept as ground_of
from pipeline.network import Network
from pipeline.places import Places
from pipeline.side_by_side import Crew, at_once
from pipeline.stopping import Stopper
from pipeline.store import Store
from pipeline.tasks import curves
from pipeline.tasks.fitting import Fitting, Learning, Plan
from pipeline.tasks.folders import key_of, member_folder, own
from pipeline.tasks.ranks import together
from pipeline.tracking import Dataset, LaterRun, Run, start
from pipeline.tracking.lightning import RunCheck
from pipeline.tracking.place import project_root, rank_zero
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import (
        AugmentSection,
        DataSection,
        EngineSection,
        InitSection,
        Loss,
        ModelSection,
        Optimizer,
        Schedule,
        TrackingSection,
        TrainerSection,
        TrainSection,
    )

MODELS = Path("models")
CURVES = Path("reports/train/curves.csv")
FALLING = ("cosine", "one_cycle")  # schedules that end near a rate of 0
CHECKPOINTS = ".checkpoints"  # not an output: DVC removes those before it runs a stage


def run(
    model: ModelSection,
    init: InitSection,
    augment: AugmentSection,
    optimizer: Optimizer,
    schedule: Schedule,
    loss: Loss,
    train: TrainSection,
    trainer: TrainerSection,
    engine: EngineSection,
    data: DataSection,
    tracking: TrackingSection,
    overrides: Sequence[str] = (),
    composed: Mapping[str, Any] | None = None,
) -> None:
    """Train on the store's tiles and keep the weights of the best epoch, of each member.

    ``overrides`` and ``composed``, all of params.yaml, are for the record of the run alone.
    """
    store = Store.open()
    plan = Plan(
        model, init, augment, optimizer, schedule, loss, train, trainer, engine, data, tracking
    )
    each = members.plans(plan)
    params = plan.params()
    donors, digest = donors_of(plan, len(each))
    ready = members.prepare_all(each, store, donors)
    _tell(each, ready)
    if digest:
        taken = [learning.taken or {} for learning in ready]
        params["donor"] = {"digest": digest, **(taken[0] if len(each) == 1 else {"members": taken})}
    key = _key(params, store.digest)
    opening = partial(
        start,
        tracking,
        params=composed or params,
        overrides=overrides,
        data=facts_of(store),
        donor=digest,
    )
    with (
        _own(key) as (folder, again),
        LaterRun(partial(opening, training=folder.name, again=again)) as record,
        Stopper(record.end) as stopper,
    ):
        training = Training(each, ready, donors, store, folder, record, stopper)
        trained = training.single() if len(each) == 1 else training.ensemble()
        if trained is None:
            return
        network, told = trained
        kept = bundle.save(
            network,
            data_digest=store.digest,
            params=params,
            look=store.looks.get("train"),
            tiles=as_text(store.digests("train")),
            ground=ground_of(store.index[store.index["split"] == "train"]),
            root=MODELS,
        )
        say(f"{told}, in {MODELS}/ ({kept.digest[:12]}).")
        if not kept.reconstructs:
            _calibrate(Trained(store, kept), train.batch_size)
        record.tag("model_digest", kept.digest)
        record.artifact(MODELS, "model")
        record.artifact(CURVES, "train")


def _own(key: str) -> AbstractContextManager[tuple[Path, bool]]:
    """The folder of the checkpoints, and whether a training was broken off there.

    It lies in the project's root: the copy that DVC makes for a queued experiment goes with it.
    """
    root = project_root()
    checkpoints = Path(CHECKPOINTS) if root == Path.cwd() else root / CHECKPOINTS
    return own(checkpoints, key) if rank_zero() else nullcontext((checkpoints / key, False))


@dataclass(frozen=True)
class Training:
    """A training that is about to begin: of one network, or of several that vote."""

    each: Sequence[Plan]
    ready: Sequence[Learning]
    donors: Sequence[Network | None]
    store: Store
    folder: Path
    record: Run
    stopper: Stopper

    def single(self) -> tuple[Network, str] | None:
        """Train the network; None but on rank zero."""
        fitting = self._fitting(0, self.folder, CURVES)
        same = {
            "parameters and tiles": key_of(self.folder),
            "precision": str(fitting.trainer.precision),
        }
        with together(fitting.trainer, self.stopper, same):
            kept = fitting.run()
        return None if kept is None else (kept.network, kept.sentence())

    def ensemble(self) -> tuple[Network, str] | None:
        """Train the members that are not trained yet; None but on rank zero."""
        count = len(self.each)
        waiting = [i for i in range(count) if members.done(self.folder, i) is None]
        if rank_zero() and len(waiting) < count:
            say(f"{count - len(waiting)} of {count} members are trained already.")
        if waiting and (at_a_time := at_once(self.each[0], len(waiting))) > 1:
            crew = Crew(self.each, self.donors, self.folder, self.record.metrics)
            crew.train(waiting, at_a_time)
        elif waiting:
            digest = self.store.digest
            members.one_by_one(self.each, waiting, self.folder, digest, self._member, self.stopper)
        if not rank_zero():
            return None
        paths = {i: member_folder(self.folder, i) / CURVES.name for i in range(count)}
        curves.gather(paths, CURVES)
        return members.assembled(self.folder, self.each), f"Kept {count} members"

    def _member(self, member: int) -> Fitting:
        folder = member_folder(self.folder, member)
        return self._fitting(member, folder, folder / CURVES.name, folder.name)

    def _fitting(self, member: int, folder: Path, table: Path, name: str = "") -> Fitting:
        if rank_zero():
            folder.mkdir(parents=True, exist_ok=True)
        return Fitting(
            self.each[member],
            self.ready[member],
            self.store,
            folder,
            stopper=self.stopper,
            curves=table,
            logger=self.record.lightning_logger(name),
            callbacks=[RunCheck(self.record)],
        )


def _calibrate(trained: Trained, batch_size: int) -> None:
    """Fit temperatures to the validation tiles, and write them into the bundle."""
    store, split = trained.store, "validation"
    if not store.count(split):
        return
    shares = [trained.probabilities(split, batch_size), *trained.opinions(split, batch_size)]
    places = Places.of(store.index, store.split_range(split))
    actual = trained.labels(split)
    whole, *each = (calibration.guarded(one, actual, places) for one in shares)
    bundle.tempered(MODELS, whole.temperature, [one.temperature for one in each])
    say(whole.sentence())
    if each:
        say(f"Members alone: temperatures {', '.join(f'{one.temperature:g}' for one in each)}.")


def donors_of(plan: Plan, count: int) -> tuple[list[Network | None], str]:
    """Whose weights each network starts from, and the digest of the donor.

    A single network starts from the best member of an ensemble, members from its members in turn.
    """
    address = plan.train.init_from
    if address is None:
        return [None] * count, ""
    giver = donor.load(address, plan.tracking)
    if rank_zero():
        say(f"Donor {address} ({giver.digest[:12]}):")
    best = giver.network.best if isinstance(giver.network, Ensemble) else 0
    givers = [best] if count == 1 else range(count)
    return [member_of(giver.network, i) for i in givers], giver.digest


def _tell(each: Sequence[Plan], ready: Sequence[Learning]) -> None:
    """What came of donors and of freezing, once however many processes train."""
    plan = each[0]
    if rank_zero() and plan.train.swa and plan.schedule.name in FALLING:
        warn(
            f"train.swa takes the mean of the last weights, which hardly move while "
            f"schedule={plan.schedule.name} lowers the rate: it gains little. Give it "
            "schedule=constant."
        )
    for member, (plan, learning) in enumerate(zip(each, ready, strict=True)):
        name = f"{members.name_of(member, plan)}: " if len(each) > 1 else ""
        for line in learning.lines if rank_zero() else ():
            say(f"{name}{line}")


def _key(params: dict[str, Any], data_digest: str) -> str:
    """What a training is known by: its parameters and its data."""
    text = json.dumps([params, data_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts_of(store: Store) -> Dataset:
    """What MLflow is told of the tiles."""
    return Dataset(
        name="tiles",
        digest=store.digest,
        counts=store.counts,
        bands=store.bands.names,
        tile_size=store.tile_size,
        dtype=str(store.dtype),
        source=str(store.root),
    )
