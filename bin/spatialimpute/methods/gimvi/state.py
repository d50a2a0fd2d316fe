"""The state of a stack in training: models, optimizers, random generators, and what was recorded."""

import copy

import numpy as np
import torch

from spatialimpute.methods.gimvi.adam import Adam
from spatialimpute.methods.gimvi.adversary import Adversary, adversary_accuracy, adversary_loss, fooling_loss
from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData, member_seed
from spatialimpute.methods.gimvi.model import GimVI
from spatialimpute.methods.gimvi.networks import Linear, Noise

PATIENCE = 6  # records without a better held-out ELBO until a member is stopped


class TrainingState:
    """Everything that changes while a stack is trained, so that it can be saved, restored and continued."""

    def __init__(self, data: TrainingData, members: list[Member], seed: int, device: torch.device):
        self.data, self.members, self.settings = data, members, data.settings
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
        self.adversary = None
        if arch.adversary:
            with torch.device(device):
                self.adversary = Adversary(len(members), arch.n_latent, len(arch.datasets))
            for module in self.adversary.modules():
                if isinstance(module, Linear):
                    module.reset(self.generators)
            self.adversary_optimizer = self._adam(self.adversary)
        self.step, self.learning_rate = 0, 0.0
        self.halvings = np.zeros(len(members), dtype=int)
        self.stopped = np.zeros(len(members), dtype=bool)
        self.best_loss = np.full(len(members), np.inf)
        self.since_best = np.zeros(len(members), dtype=int)
        self.best = [None] * len(members)
        self.history: list[dict] = []
        self.sums, self.n_summed = torch.zeros(len(members), 5, device=device), 0

    def _adam(self, module: torch.nn.Module) -> Adam:
        return Adam(module.parameters(), self.settings.adam_eps, self.settings.weight_decay)

    def update(self, minibatches, learning_rate: float, kl_weight: float) -> None:
        """One optimizer step of every member, and one of its adversary where kappa > 0."""
        self.learning_rate = learning_rate
        self.model.train()
        terms = self.model(minibatches, self.noise)
        loss = terms.loss(kl_weight)
        accuracy = torch.zeros_like(loss)
        if self.adversary is not None:
            loss = loss + self.kappa * fooling_loss(self.adversary(terms.z, self.noise))
        self.optimizer.zero_grad()
        loss.sum().backward()  # members share no parameter, so each receives its own gradient
        self._step(self.optimizer)
        if self.adversary is not None:
            log_probability = self.adversary(terms.z.detach(), self.noise)
            self.adversary_optimizer.zero_grad()
            adversary_loss(log_probability).sum().backward()
            self._step(self.adversary_optimizer)
            accuracy = adversary_accuracy(log_probability)
        means = [term.detach().mean(1) for term in (terms.reconstruction, terms.kl_z, terms.kl_library)]
        self.sums += torch.stack([loss.detach(), *means, accuracy], dim=1)
        self.n_summed += 1

    def _step(self, optimizer: Adam) -> None:
        """A step; a member whose loss failed takes a smaller share of it."""
        if not self.halvings.any():
            optimizer.step(self.learning_rate)
            return
        before = [parameter.detach().clone() for parameter in optimizer.parameters]
        optimizer.step(self.learning_rate)
        share = torch.tensor(0.5**self.halvings, dtype=torch.float32, device=before[0].device)
        with torch.no_grad():
            for parameter, old in zip(optimizer.parameters, before, strict=True):
                # lerp gives exactly the whole step where the share is 1
                parameter.copy_(torch.lerp(old, parameter, share.view(-1, *[1] * (old.dim() - 1))))

    def finite_members(self) -> np.ndarray:
        """Which members' losses and weights are finite, (M,) bool."""
        finite = torch.isfinite(self.sums).all(1)
        for parameter in self.model.parameters():
            finite &= torch.isfinite(parameter).flatten(1).all(1)
        return finite.cpu().numpy()

    def is_finite(self) -> bool:
        """Whether every member is."""
        return bool(self.finite_members().all())

    def record(self, device_data: DeviceData) -> None:
        """Append the mean loss terms since the last record and the held-out loss; note the best and the stopped."""
        means = (self.sums / max(self.n_summed, 1)).cpu().numpy()
        self.sums.zero_()
        self.n_summed = 0
        held_out = self._held_out_loss(device_data)
        epoch = self.step * self.settings.batch_size / self.data.n_cells
        for m, member in enumerate(self.members):
            loss, reconstruction, kl_z, kl_library, accuracy = means[m].tolist()
            self.history.append(
                {
                    "member": m,
                    "fold": member.fold,
                    "kappa": member.kappa,
                    "place": member.place,
                    "step": self.step,
                    "epoch": round(epoch, 3),
                    "loss": loss,
                    "reconstruction": reconstruction,
                    "kl_z": kl_z,
                    "kl_library": kl_library,
                    "held_out_loss": float(held_out[m]),
                    "disc_accuracy": accuracy if member.kappa > 0 else float("nan"),
                    "learning_rate": self.learning_rate,
                }
            )
        if self.settings.early_stopping:
            self._note_best(held_out)

    @torch.no_grad()
    def _held_out_loss(self, device_data: DeviceData) -> np.ndarray:
        """Negative ELBO of the held-out cells at the final KL weight, with z at its posterior mean, (M,)."""
        self.model.eval()
        terms = self.model(device_data.minibatches(self.model, device_data.held_out), None)
        return terms.loss(self.settings.kl_weight).cpu().numpy()

    def _note_best(self, held_out: np.ndarray) -> None:
        better = (held_out < self.best_loss) & ~self.stopped
        self.best_loss = np.where(better, held_out, self.best_loss)
        self.since_best = np.where(better, 0, self.since_best + 1)
        state = self.model.state_dict()
        for m in np.flatnonzero(better):
            self.best[m] = {key: value[m].clone() for key, value in state.items()}
        self.stopped |= self.since_best >= PATIENCE

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
