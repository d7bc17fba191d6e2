"""The training loop: learning rate, micro-steps, clip, step, log, evaluate, checkpoint.

One process:        vesalius segment train DATA
Two on one machine: torchrun --nproc-per-node 2 -m vesalius segment train DATA --out RUN
Two machines:       torchrun --nnodes 2 --node-rank 0|1 --rdzv-endpoint HOST:29500 ... likewise

`fit` knows tasks, batches and steps; it does not know what a case is.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius import files
from vesalius.engine import checkpoint, distributed, run
from vesalius.engine.data import Batch, Loader
from vesalius.engine.device import autocast, choose_device, choose_precision
from vesalius.engine.interruption import interruptions
from vesalius.engine.pieces import Piece
from vesalius.engine.progress import Progress
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import History, Run
from vesalius.engine.steps import Passes, Terms
from vesalius.engine.task import Case, Scores, Task
from vesalius.errors import InterruptedRun, RecipeError, TrainingError


def fit(
    task: Task,
    train: Sequence[Case],
    valid: Sequence[Case],
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    quiet: bool = False,
    extra: dict[str, Any] | None = None,
) -> Run:
    """Train a task's model and leave a run folder.

    Args:
        task: what to train; see `vesalius.engine.task.Task`.
        train: cases to learn from.
        valid: cases to evaluate on; may be empty, then the last weights are kept.
        recipe: how to train.
        out: the run folder to make, or with `resume` to go on with.
        resume: go on from the last checkpoint; the result is bit for bit that of a run that was
            never stopped (same machine, same number of processes and threads).
        quiet: no progress.
        extra: JSON-ready facts to store in config.json (the data source, the split, ...).

    Raises:
        RecipeError: the recipe does not fit (batch size, device, folder that exists, ...).
        TrainingError: a loss or a gradient is not finite; names step and cases.
        StorageError: a result could not be written; the last good state is kept.
        InterruptedRun: SIGINT or SIGTERM came; the step was ended and a checkpoint written.
    """
    with distributed.process_group(choose_device(recipe.device)) as device:
        return _Fit(task, train, valid, recipe, Path(out), device, quiet).run(resume, extra or {})


class _Fit:
    """One training run. The attributes are its whole state."""

    def __init__(self, task, train, valid, recipe: Recipe, out: Path, device, quiet: bool):
        self.task, self.recipe, self.out, self.device = task, recipe, out, device
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.train_loader: Loader = task.loader(train, training=True)
        parts = recipe.accumulate * self.world
        if self.train_loader.batch_size % parts:
            raise RecipeError(
                f"batch_size {self.train_loader.batch_size} cannot be cut into {self.world} "
                f"process(es) x {recipe.accumulate} micro-step(s); choose a multiple of {parts}"
            )
        self.train_cases, self.valid_cases = list(train), list(valid)
        self.valid_loader: Loader | None = task.loader(valid, training=False) if valid else None
        self.per_epoch = recipe.batches_per_epoch or len(self.train_loader)
        self.total = recipe.epochs * self.per_epoch
        self.precision = choose_precision(recipe.precision, device)
        if recipe.sharding == "fsdp" and self.precision == "float16":
            raise RecipeError("sharding=fsdp trains in bfloat16 or float32, not float16")
        torch.manual_seed(recipe.seed)
        self.model = task.build().to(device)
        self.parallel = distributed.parallel(self.model, recipe.sharding, device)
        self.optimizer = recipe.optimizer.build(self.parallel)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "float16")
        self.take = recipe.step.build()
        self.pieces: list[Piece] = [block.build() for block in recipe.pieces]
        self.passes = Passes(self.parallel, self._loss(), self._backward, self._synchronise)
        self.best: float | None = None
        self.seconds = 0.0
        self.last_micro_step = True
        self.progress = Progress(self.total, label=out.name, quiet=quiet or self.rank > 0)

    # --- the loop -------------------------------------------------------------------------------

    def run(self, resume: bool, extra: dict[str, Any]) -> Run:
        """Train from the start, or from the last checkpoint."""
        recipe, first = self.recipe, self._begin(resume, extra)
        accumulate = recipe.accumulate
        stream = self.train_loader.steps(
            first, accumulate=accumulate, rank=self.rank, world=self.world
        )
        saved = clock = time.monotonic()
        with self.progress, interruptions() as interruption:
            for step in range(first, self.total):
                # learning rate
                rate = recipe.schedule.factor(step, self.total)
                for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                    group["lr"] = peak * rate

                # micro-steps: each adds its gradients
                self.parallel.train()
                self.optimizer.zero_grad(set_to_none=True)
                batches = next(stream)
                logged: list[Terms] = []
                for micro, batch in enumerate(batches):
                    self.last_micro_step = micro == accumulate - 1
                    batch = self._through_pieces(batch.to(self.device), step, micro)
                    logged.append(self.take(self.passes, batch))

                # clip
                terms = self._mean_terms(logged)
                self._check(sum(terms.values()), "loss", step, batches, terms)
                self.scaler.unscale_(self.optimizer)
                norm = float(self._clip())
                if self.precision != "float16":  # the scaler skips such a step by itself
                    self._check(norm, "gradient", step, batches, terms)

                # step
                self.scaler.step(self.optimizer)
                self.scaler.update()
                for piece in self.pieces:
                    piece.after_step(self.parallel, step)

                # log
                done = step + 1
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                self._log(done, terms, norm, rate)

                # evaluate, at the end of an epoch
                epoch, rest = divmod(done, self.per_epoch)
                if rest == 0 and (epoch % recipe.evaluate_every == 0 or done == self.total):
                    self._evaluate(done)

                # checkpoint; the first process decides, its clock is the one that counts
                due = time.monotonic() - saved >= 60 * recipe.checkpoint_minutes
                due, stop = distributed.from_first((due, interruption.asked))
                if due or stop or done == self.total:
                    self._checkpoint(done)
                    saved = time.monotonic()
                if stop and done < self.total:
                    raise InterruptedRun(self.out, done, self.total)
            if self.total == 0:
                self._evaluate(0)
        return self._end()

    # --- its parts, in the order of their use ---------------------------------------------------

    def _begin(self, resume: bool, extra: dict[str, Any]) -> int:
        for piece in self.pieces:
            piece.start(self.parallel, self.total)
        # From here on every process draws its own dropout.
        torch.manual_seed(
            int(np.random.SeedSequence((self.recipe.seed, self.rank)).generate_state(1)[0])
        )
        place = checkpoint.latest(self.out / "checkpoint") if resume and self.out.exists() else None
        state = self._full_state()
        self._on_first(lambda: self._prepare_folder(resume, extra, state))
        first = 0
        if place is not None:
            progress = checkpoint.load(
                place, model=self.parallel, optimizer=self.optimizer, pieces=self.pieces
            )
            first, self.best = progress["step"], progress["best"]
            self.seconds = progress["seconds"]
            self.scaler.load_state_dict(progress["scaler"])
            self.progress.done = first
            for piece in self.pieces:
                piece.resumed(first)
        if self.rank == 0:
            self.history = History(self.out / "history.jsonl", keep_until=first)
        return first

    def _prepare_folder(self, resume: bool, extra: dict[str, Any], state: dict) -> None:
        if not (resume and self.out.exists()):
            facts = run.circumstances(self.model, self.device, self.precision, self.world)
            run.create(self.out, self.task, self.recipe, self.model, facts | extra, state=state)
            return
        files.remove_leftovers(self.out)
        stored = type(self.recipe).load(self.out / "recipe.yaml")
        if _training_part(stored) != _training_part(self.recipe):
            raise RecipeError(
                f"{self.out} was started with another recipe; --resume goes on with the same one. "
                "Leave the overrides out, or start anew with another --out."
            )

    def _through_pieces(self, batch: Batch, step: int, micro: int) -> Batch:
        for index, piece in enumerate(self.pieces):
            key = (self.recipe.seed, 2, step, micro * self.world + self.rank, index)
            batch = piece.on_batch(batch, np.random.default_rng(key))
        return batch

    def _loss(self) -> Callable[[nn.Module, Batch], Terms]:
        def loss(model: nn.Module, batch: Batch) -> Terms:
            with autocast(self.precision, self.device):
                return self.task.loss(model, batch)

        for piece in self.pieces:
            loss = piece.on_loss(loss)
        return loss

    def _backward(self, terms: Terms) -> None:
        total = torch.stack([value.float() for value in terms.values()]).sum()
        self.scaler.scale(total / self.recipe.accumulate).backward()

    def _synchronise(self, last_pass: bool) -> Any:
        return distributed.synchronising(self.parallel, last_pass and self.last_micro_step)

    def _mean_terms(self, logged: list[Terms]) -> dict[str, float]:
        names = list(logged[0])
        rows = torch.stack(
            [torch.stack([row[name].detach().float() for name in names]) for row in logged]
        )
        means = distributed.mean(rows.mean(0)).tolist()  # the one point where a GPU is waited for
        return dict(zip(names, means, strict=True))

    def _clip(self) -> Tensor:
        limit = self.recipe.clip if self.recipe.clip is not None else math.inf
        norm = nn.utils.clip_grad_norm_(self.parallel.parameters(), limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def _check(self, value: float, what: str, step: int, batches: list[Batch], terms) -> None:
        if math.isfinite(value):
            return
        cases = [name for batch in batches for name in batch.ids]
        every = [name for part in distributed.gather(cases) for name in part]
        shown = ", ".join(f"{name}={number:.4g}" for name, number in terms.items())
        raise TrainingError(
            f"step {step + 1}: the {what} is not finite ({shown}). The weights of the last "
            "evaluation are kept. Look at these cases, lower optimizer.learning_rate, or set clip. "
            "Cases of the step:",
            every,
        )

    def _log(self, done: int, terms: dict[str, float], norm: float, rate: float) -> None:
        loss = sum(terms.values())
        self.progress.step(done, loss)
        if self.rank == 0:
            self.history.add(
                kind="train",
                step=done,
                epoch=done / self.per_epoch,
                loss=loss,
                terms=terms,
                learning_rate=self.peaks[0] * rate,
                gradient_norm=norm,
                seconds=round(self.seconds, 3),
            )

    def _evaluate(self, done: int) -> None:
        """Score the validation cases and keep the weights if they are the best so far."""
        with ExitStack() as stack:
            for piece in self.pieces:
                stack.enter_context(piece.evaluating(self.parallel))
            if done == self.total:
                self._finish()
            state = self._full_state()
            scores = self._scores(state)
            if self.rank == 0 and scores is not None:
                self._say(done, scores)
            self._on_first(lambda: self._keep(done, scores, state))

    def _finish(self) -> None:
        """Let a task that has one add its last stage; see `Task`."""
        finish = getattr(self.task, "finish", None)
        if finish is None:
            return
        model = distributed.unwrapped(self.parallel).eval()
        with torch.no_grad(), autocast(self.precision, self.device):
            finish(model, self.train_cases, quiet=self.progress.quiet)

    def _scores(self, state: dict) -> Scores | None:
        if self.valid_loader is None:
            return None
        model = self._evaluation_model(state).eval()
        kept = torch.get_rng_state()
        found = self._predictions(model)
        if self.world > 1:  # shares of the cases, put together on every process
            found = (item for part in distributed.gather(list(found)) for item in part)
        scores = self.task.score(self.valid_cases, found)
        torch.set_rng_state(kept)
        return scores

    def _predictions(self, model: nn.Module) -> Iterator:
        for batch in self.valid_loader.part(self.rank, self.world):
            # Not around the yield: the scoring code must not run in inference mode.
            with torch.inference_mode(), autocast(self.precision, self.device):
                found = self.task.predict(model, batch.to(self.device))
            yield from found

    def _evaluation_model(self, state: dict) -> nn.Module:
        if self.recipe.sharding != "fsdp":
            return distributed.unwrapped(self.parallel)
        # Cases differ in the number of forward passes; a sharded model would wait for ever.
        with torch.random.fork_rng(devices=[]):
            model = self.task.build()
        model.load_state_dict(state)
        return model.to(self.device)

    def _full_state(self) -> dict[str, Tensor]:
        if self.recipe.sharding != "fsdp":
            return distributed.unwrapped(self.parallel).state_dict()
        state = self.parallel.state_dict()
        return {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}

    def _say(self, done: int, scores: Scores) -> None:
        epoch = done // self.per_epoch
        shown = "  ".join(f"{k} {v:.4f}" for k, v in list(scores.values.items())[:4])
        self.progress.line(f"{self.out.name}  {epoch}/{self.recipe.epochs}  {shown}")
        self.history.add(
            kind="valid",
            step=done,
            epoch=done / self.per_epoch,
            headline=scores.headline,
            scores=scores.values,
            seconds=round(self.seconds, 3),
        )

    def _keep(self, done: int, scores: Scores | None, state: dict) -> None:
        if scores is not None and self.recipe.keep == "best" and not self._better(scores):
            return
        path = self.out / "model.safetensors"
        run.save_weights(path, self.model, step=done, scores=scores, state=state)
        if scores is not None:
            self.best = scores.best
            run.write_scores(self.out, scores, step=done, split="valid")

    def _better(self, scores: Scores) -> bool:
        if self.best is None or math.isnan(self.best):
            return True
        gain = scores.best - self.best
        return gain > 0 if scores.higher_is_better else gain < 0

    def _checkpoint(self, done: int) -> None:
        checkpoint.save(
            self.out / "checkpoint",
            step=done,
            model=self.parallel,
            optimizer=self.optimizer,
            pieces=self.pieces,
            progress={
                "step": done,
                "best": self.best,
                "seconds": self.seconds,
                "scaler": self.scaler.state_dict(),
            },
        )

    def _end(self) -> Run:
        def mark() -> None:
            rows = self.history
            rows.add(kind="end", step=self.total, epoch=self.recipe.epochs, seconds=self.seconds)

        self._on_first(mark)
        return Run(self.out)

    def _on_first(self, act: Callable[[], None]) -> None:
        """Do something on the first process; all processes fail if it fails."""
        problem = None
        if self.rank == 0:
            try:
                act()
            except Exception as error:
                problem = error
        problem = distributed.from_first(problem)
        if problem is not None:
            raise problem


def _training_part(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe without what may differ between the two halves of a resumed run."""
    free = {"device", "workers", "checkpoint_minutes"}
    return recipe.model_dump(mode="json", exclude=free)


__all__ = ["fit"]
