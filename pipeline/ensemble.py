"""Networks that answer together: members that vote, and one network that sees a tile many ways.

Both are networks themselves, so that whatever takes one takes them. They put out log-probabilities,
whose softmax are the probabilities again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import voting
from pipeline.network import Network
from pipeline.voting import Views, Vote


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of a network of an ensemble beside its layers."""

    model: str
    seed: int
    accuracy: float  # on the validation tiles, of the epoch that was kept
    temperature: float = 1.0  # its own, if it answers alone; members vote without


class ManyViews(Network):
    """A network that is shown every tile in several ways: the mean of its probabilities.

    Simonyan and Zisserman 2015, section 3.2, average over a tile and its mirror image alike.
    """

    def __init__(self, network: Network, kind: Views) -> None:
        super().__init__(network.spec, network.bands, network.classes, network.tile_size)
        self.network = network
        self.kind: Views = kind

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (N, K) of tiles (N, C, H, H)."""
        laid = torch.cat(voting.views(x, self.kind)).contiguous(memory_format=torch.channels_last)
        logs = self.network(laid).log_softmax(dim=1)
        return voting.mean(logs.unflatten(0, (voting.view_count(self.kind), -1)))


class Ensemble(Network):
    """Networks side by side, for the same bands, classes and tile size, and their vote.

    Args:
        members: One network or more that tell classes.
        facts: What is known of each.
        vote: How they are heard.
    """

    def __init__(
        self, members: Sequence[Network], facts: Sequence[Member], vote: Vote = "soft"
    ) -> None:
        first = members[0]
        spec = {f"member{i}": member.spec for i, member in enumerate(members)}
        super().__init__(spec, first.bands, first.classes, first.tile_size)
        self.members = nn.ModuleList(members)
        self.facts = tuple(facts)
        self.vote: Vote = vote
        self.weights = voting.shares([member.accuracy for member in facts])

    @property
    def networks(self) -> Iterator[Network]:
        """The members."""
        for member in self.members:
            assert isinstance(member, Network)
            yield member

    @property
    def best(self) -> int:
        """The member with the highest validation accuracy; of equals the first."""
        return max(range(len(self.facts)), key=lambda i: self.facts[i].accuracy)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (N, K) of the vote."""
        logs = torch.stack([member(x).log_softmax(dim=1) for member in self.members])
        return voting.vote(logs, self.vote, self.weights)


def heard(network: Network, vote: Vote, views: Views) -> Network:
    """A network as it answers: each member sees all views of a tile, and then they vote.

    One that reconstructs its tile stays as it is, and so does a single one with a single view.
    """
    if isinstance(network, Ensemble):
        members = [heard(member, vote, views) for member in network.networks]
        return Ensemble(members, network.facts, vote).train(network.training)
    if views == "none" or network.task == "reconstruct":
        return network
    return ManyViews(network, views).train(network.training)


def member_of(network: Network, index: int) -> Network:
    """A member by its number, beginning again after the last; a single network is its own."""
    members = list(network.networks) if isinstance(network, Ensemble) else [network]
    return members[index % len(members)]


def passes(network: Network) -> int:
    """How often a network looks at a tile at once."""
    views = (module for module in network.modules() if isinstance(module, ManyViews))
    return max((voting.view_count(module.kind) for module in views), default=1)
