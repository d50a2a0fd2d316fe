"""The state of a stack in training: models, optimizers, random generators, and what was recorded."""

import copy

import numpy as np
import torch

from spatialimpute.methods.gimvi.adam import Adam
from spatialimpute.methods.gimvi.adversary import Adversary
from spatialimpute.methods.gimvi.data import Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.networks import Linear, Noise

N_SUMS = 5  # loss terms that are summed up between records


class TrainingState:
    """Everything that changes while a stack is trained, so that it can be saved, restored and continued.

    Attributes
    ----------
    model, optimizer, adversary, adversary_optimizer : the last two are None where no member has a kappa
    noise : random numbers, from a generator per member
    kappa : (M,)
    step : steps taken
    halvings : (M,) int, how often a member's learning rate was halved
    stopped : (M,) bool. A stopped member stays in the stack, since the others' last bits depend on its size, but is
        not updated, and nothing that becomes of it counts
    best, best_loss, since_best : per member the weights with the lowest held-out loss (None before there are any),
        that loss, and the records since then
    history : rows of the training history
    sums, n_summed : (M, N_SUMS) loss terms since the last record, and the number of steps
    """

    def __init__(self, data: TrainingData, members: list[Member], seed: int, device: torch.device):
        self.members, self.settings = members, data.settings
        self.generators = []
        for member in members:
            generator = torch.Generator(device=device)
            self.generators.append(generator.manual_seed(member_seed(member, seed)))
        self.noise = Noise(self.generators)
        arch = data.architecture(members[0].decoder_hidden, adversary=any(m.kappa > 0 for m in members))
        in_use = torch.tensor(np.stack([data.view(member.fold).in_use for member in members]))
        with torch.device(device):
            self.model = GimVI(arch, in_use.to(device), self.generators)
            self.kappa = torch.tensor([member.kappa for member in members])
        data.prepare(self.model, members)
        self.optimizer = self._adam(self.model)
        self.adversary = self.adversary_optimizer = None
        if arch.adversary:
            with torch.device(device):
                self.adversary = Adversary(len(members), arch.n_latent, len(arch.datasets))
            for module in self.adversary.modules():
                if isinstance(module, Linear):
                    module.reset(self.generators)
            self.adversary_optimizer = self._adam(self.adversary)
        self.step = 0
        self.halvings = np.zeros(len(members), dtype=int)
        self.stopped = np.zeros(len(members), dtype=bool)
        self.best_loss = np.full(len(members), np.inf)
        self.since_best = np.zeros(len(members), dtype=int)
        self.best: list[dict | None] = [None] * len(members)
        self.history: list[dict] = []
        self.sums, self.n_summed = torch.zeros(len(members), N_SUMS, device=device), 0

    def _adam(self, module: torch.nn.Module) -> Adam:
        return Adam(module.parameters(), self.settings.adam_eps, self.settings.weight_decay)

    def failed(self) -> np.ndarray:
        """Which members in training have a loss or weights that are not finite, (M,) bool."""
        finite = torch.isfinite(self.sums).all(1)
        for parameter in self.model.parameters():
            finite &= torch.isfinite(parameter).flatten(1).all(1)
        return ~finite.cpu().numpy() & ~self.stopped

    def keep_best(self, better: np.ndarray) -> None:
        """Take the present weights of the members that are `better`, (M,) bool, for their best."""
        state = self.model.state_dict()
        for m in np.flatnonzero(better):
            self.best[m] = {key: value[m].clone() for key, value in state.items()}

    def take_best(self) -> None:
        """Put a stopped member's best weights in place of its last ones."""
        state = self.model.state_dict()
        for m in np.flatnonzero(self.stopped):
            for key, value in self.best[m].items():
                state[key][m].copy_(value)

    def snapshot(self) -> dict:
        """A copy of everything that `restore` needs; records and best weights, which never change, are shared."""
        unchanging = {id(item): item for item in [*self.history, *self.best]}
        return copy.deepcopy(self._state(), unchanging)

    def _state(self) -> dict:
        modules = {"model": self.model, "optimizer": self.optimizer}
        if self.adversary is not None:
            modules |= {"adversary": self.adversary, "adversary_optimizer": self.adversary_optimizer}
        return {
            "modules": {name: module.state_dict() for name, module in modules.items()},
            "generators": [generator.get_state() for generator in self.generators],
            "best": self.best,
            "sums": self.sums,
            "scalars": {
                "n_summed": self.n_summed,
                "step": self.step,
                "halvings": self.halvings,
                "stopped": self.stopped,
                "best_loss": self.best_loss,
                "since_best": self.since_best,
                "history": self.history,
            },
        }

    def restore(self, state: dict) -> None:
        """Go back to a snapshot."""
        state = copy.deepcopy(state)
        for name, content in state["modules"].items():
            getattr(self, name).load_state_dict(content)
        for generator, content in zip(self.generators, state["generators"], strict=True):
            generator.set_state(content)
        self.best = state["best"]
        for name, value in state["scalars"].items():
            setattr(self, name, value)
        self.sums.copy_(state["sums"])
