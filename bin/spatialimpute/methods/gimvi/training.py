"""Training of stacks of gimVI models, to be read from top to bottom: recipe, loop, schedule, step, record, recovery."""

import logging
import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from spatialimpute import forked
from spatialimpute.errors import NonFiniteError
from spatialimpute.methods.gimvi.adam import Adam
from spatialimpute.methods.gimvi.adversary import adversary_accuracy, adversary_loss, fooling_loss
from spatialimpute.methods.gimvi.checkpoints import Checkpoints
from spatialimpute.methods.gimvi.data import DeviceData, Member, TrainingData
from spatialimpute.methods.gimvi.minibatch import Minibatch
from spatialimpute.methods.gimvi.settings import Settings
from spatialimpute.methods.gimvi.stacks import TrainedStack, split
from spatialimpute.methods.gimvi.state import TrainingState

log = logging.getLogger(__name__)

N_RECORDS = 25  # times that history is recorded and the held-out ELBO looked at
PATIENCE = 6  # records without a better held-out ELBO until a member is stopped
MAX_HALVINGS = 4  # of a member's learning rate, after its loss was not finite


# ---- recipe: what is trained, and in which stacks ----


def ensemble(settings: Settings, kappa_by_fold: Mapping[str | None, float], places: range) -> list[Member]:
    """Members at some places of the ensemble, for each fold (None: the final models) at the fold's kappa."""
    decoders = settings.decoder_hidden
    return [
        Member(fold, kappa, place, decoders[place % len(decoders)])
        for fold, kappa in kappa_by_fold.items()
        for place in places
    ]


def train(
    data: TrainingData,
    members: list[Member],
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 1,
    checkpoint: Callable[[list[Member]], Checkpoints] | None = None,
) -> list[TrainedStack]:
    """Train all members, in as few stacks as pays on the device; the first stack begins with the first member.

    Parameters
    ----------
    data : the sample's datasets
    members : the models to train
    seed : run-wide seed; a member's result depends on it and on the member alone
    device : torch device
    workers : stacks trained at the same time on a CPU, each by a process of one thread. Members are independent,
        so workers never wait for each other, as threads inside an operation do at its end.
    checkpoint : gives the checkpoint of a stack of members; None keeps none

    Raises
    ------
    InputError
        A dataset has no cell with counts on the genes in use.
    NonFiniteError
        A member's loss stays infinite or NaN although its learning rate was halved repeatedly.
    """
    device = torch.device(device)
    workers = workers if device.type == "cpu" else 1
    for member in members:
        data.view(member.fold)  # before the fork, so that no worker computes it again
    stacks = split(data, members, device, workers)
    # Also before it, so that a folder without checkpoints is warned of once and not by every worker.
    jobs = [(stack, None if checkpoint is None else checkpoint(stack)) for stack in stacks]
    trained = forked.run(lambda job: _train_stack(data, job[0], seed, device, job[1]), jobs, workers)
    return sorted(trained, key=lambda stack: members.index(stack.members[0]))


# ---- the loop ----


def _train_stack(
    data: TrainingData, members: list[Member], seed: int, device: torch.device, checkpoint: Checkpoints | None
) -> TrainedStack:
    settings = data.settings
    steps = n_steps(settings, data.n_cells)
    every = max(1, steps // N_RECORDS)
    device_data = DeviceData(data, members, seed, device)
    state = TrainingState(data, members, seed, device)
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        state.restore(saved)
    good = state.snapshot()
    log.info("training %d models for %d steps", len(members), steps)
    bar = tqdm(total=steps, initial=state.step, desc=f"train {len(members)} models", disable=None)

    while state.step < steps and not state.stopped.all():
        if checkpoint is not None and checkpoint.is_due() and not state.failed().any():
            checkpoint.save(state.snapshot())
        minibatches = device_data.minibatches(state.model, device_data.cells(state.step))
        learning_rate = learning_rate_at(settings, state.step, steps)
        update(state, minibatches, learning_rate, kl_weight=settings.kl_weight * (state.step + 1) / steps)
        state.step += 1
        bar.update()
        if state.step % every and state.step < steps:
            continue
        if state.failed().any():
            _recover(state, good)
            bar.update(state.step - bar.n)
            continue
        held_out = held_out_loss(state, device_data)
        _record(state, held_out, learning_rate, epoch=state.step * settings.batch_size / data.n_cells)
        if settings.early_stopping:
            _stop(state, held_out)
        good = state.snapshot()
    bar.close()
    if checkpoint is not None and checkpoint.is_due():
        checkpoint.save(state.snapshot())  # other stacks may still be in training when this one's task is killed
    state.take_best()
    if settings.early_stopping and np.isinf(state.best_loss).any():
        blind = ", ".join(member.name for member, best in zip(members, state.best, strict=True) if best is None)
        log.warning("no held-out loss was finite for %s: trained to the end, without early stopping", blind)
    log.info("trained %d models for %d steps", len(members), state.step)
    return TrainedStack(state.model.arch, members, state.model.cpu().eval(), pd.DataFrame(state.history))


# ---- schedule ----


def n_steps(settings: Settings, n_cells: int) -> int:
    """Optimizer steps of a training: the epochs of the largest dataset, within the settings' bounds."""
    steps = max(settings.min_steps, settings.epochs * math.ceil(n_cells / settings.batch_size))
    return min(steps, settings.max_steps) if settings.max_steps else steps


def learning_rate_at(settings: Settings, step: int, steps: int) -> float:
    decay = 0.5 * (1 + math.cos(math.pi * step / steps)) if settings.cosine else 1.0
    return settings.learning_rate * decay


# ---- step ----


def update(state: TrainingState, minibatches: list[Minibatch], learning_rate: float, kl_weight: float) -> None:
    """One optimizer step of every member, and one of its adversary where kappa > 0."""
    state.model.train()
    terms = state.model(minibatches, state.noise)
    loss = terms.loss(kl_weight)
    accuracy = torch.zeros_like(loss)
    if state.adversary is not None:
        loss = loss + state.kappa * fooling_loss(state.adversary(terms.z, state.noise))
    state.optimizer.zero_grad()
    loss.sum().backward()  # members share no parameter, so each receives its own gradient
    _step(state, state.optimizer, learning_rate)
    if state.adversary is not None:
        log_probability = state.adversary(terms.z.detach(), state.noise)
        state.adversary_optimizer.zero_grad()
        adversary_loss(log_probability).sum().backward()
        _step(state, state.adversary_optimizer, learning_rate)
        accuracy = adversary_accuracy(log_probability)
    means = [term.detach().mean(1) for term in (terms.reconstruction, terms.kl_z, terms.kl_library)]
    state.sums += torch.stack([loss.detach(), *means, accuracy], dim=1)
    state.n_summed += 1


def _step(state: TrainingState, optimizer: Adam, learning_rate: float) -> None:
    """A step; of it, a member whose loss failed takes a smaller share, and one that was stopped none."""
    shares = np.where(state.stopped, 0, 0.5**state.halvings)
    if (shares == 1).all():
        optimizer.step(learning_rate)
        return
    before = [parameter.detach().clone() for parameter in optimizer.parameters]
    optimizer.step(learning_rate)
    shares = torch.tensor(shares, dtype=torch.float32, device=before[0].device)
    with torch.no_grad():
        for parameter, old in zip(optimizer.parameters, before, strict=True):
            share = shares.view(-1, *[1] * (old.dim() - 1))
            # lerp gives exactly the whole step where the share is 1; what a stopped member's gives may not be finite
            parameter.copy_(torch.where(share > 0, torch.lerp(old, parameter, share), old))


# ---- record ----


@torch.no_grad()
def held_out_loss(state: TrainingState, device_data: DeviceData) -> np.ndarray:
    """Negative ELBO of the held-out cells at the final KL weight, with z at its posterior mean, (M,)."""
    state.model.eval()
    terms = state.model(device_data.minibatches(state.model, device_data.held_out), None)
    return terms.loss(state.settings.kl_weight).cpu().numpy()


def _record(state: TrainingState, held_out: np.ndarray, learning_rate: float, epoch: float) -> None:
    """Append the mean loss terms since the last record, and the held-out loss, of every member in training."""
    means = (state.sums / max(state.n_summed, 1)).cpu().numpy()
    state.sums.zero_()
    state.n_summed = 0
    for m in np.flatnonzero(~state.stopped):
        member = state.members[m]
        loss, reconstruction, kl_z, kl_library, accuracy = means[m].tolist()
        state.history.append(
            {
                "member": int(m),
                "fold": member.fold,
                "kappa": member.kappa,
                "place": member.place,
                "step": state.step,
                "epoch": round(epoch, 3),
                "loss": loss,
                "reconstruction": reconstruction,
                "kl_z": kl_z,
                "kl_library": kl_library,
                "held_out_loss": float(held_out[m]),
                "disc_accuracy": accuracy if member.kappa > 0 else float("nan"),
                "learning_rate": learning_rate,
            }
        )


def _stop(state: TrainingState, held_out: np.ndarray) -> None:
    """Keep the weights of members that are better than ever, and stop those that have not been for PATIENCE records.

    A held-out loss that is not finite, as cells of extreme counts give although the training loss is finite, is no
    better than any other. A member that never had a finite one has nothing to go back to and is trained to the end.
    """
    better = np.isfinite(held_out) & (held_out < state.best_loss) & ~state.stopped
    state.keep_best(better)
    state.best_loss = np.where(better, held_out, state.best_loss)
    state.since_best = np.where(better | np.isinf(state.best_loss), 0, state.since_best + 1)
    state.stopped |= state.since_best >= PATIENCE


# ---- recovery ----


def _recover(state: TrainingState, good: dict) -> None:
    """Go back to the last good state with half the learning rate for the members that failed.

    The others repeat their steps with the same draws, so their result is what it would be without the failure.
    """
    failed = state.failed()
    halvings = state.halvings + failed
    names = ", ".join(member.name for member, bad in zip(state.members, failed, strict=True) if bad)
    if (halvings > MAX_HALVINGS).any():
        raise NonFiniteError(
            f"training did not stay finite for {names}, although its learning rate was halved {MAX_HALVINGS} times. "
            "Look for extreme counts in the input, or lower --learning_rate."
        )
    log.warning("loss not finite for %s at step %d: halving its learning rate", names, state.step)
    state.restore(good)
    state.halvings = halvings
