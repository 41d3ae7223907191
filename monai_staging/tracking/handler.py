"""The MLflow handler of every bundle."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Trainer
from monai.handlers import MLFlowHandler
from monai.utils import flatten_dict, path_to_sqlite_uri

from monai_staging.errors import UsageError
from monai_staging.tracking.config import calling_parser, document, parameters
from monai_staging.tracking.environment import cohort_summary, git_state, start_tags, versions
from monai_staging.tracking.journal import Journal
from monai_staging.tracking.losses import EpochMeans
from monai_staging.tracking.run import PathLike, TrackedRun
from monai_staging.tracking.scrub import Scrubber
from monai_staging.tracking.servers import bound_http
from monai_staging.workflows.rank import is_main_process

logger = logging.getLogger("monai_staging.tracking")


class TrackingHandler(TrackedRun, MLFlowHandler):  # type: ignore[misc]
    """Tracks a bundle's run in MLflow. One instance serves the trainer and its evaluators, as one run.

    Logged: the config (parameters and ``config.json``), git commit, versions, cohort digest, per-epoch metrics of each
    engine it is attached to (``train/...``, ``val/...``), losses and learning rate, system metrics (``system/...``),
    and what the ``log_...`` methods are given. Everything goes to a journal in ``output_dir`` first and is delivered
    from there by a thread: a slow or dead server does not touch the training. The run ends FINISHED by ``finish()``
    (for the bundle's ``finalize``) or at the end of the program, KILLED by Ctrl-C or SIGTERM, FAILED with the traceback
    otherwise. On any rank but 0 it does nothing.

    Args:
        output_dir: folder of the journal ``tracking-spool.jsonl`` (``tracking-spool-test.jsonl`` of an evaluation).
        tracking_uri: server or database; ``MLFLOW_TRACKING_URI`` wins; ``sqlite:///mlruns.db`` in the current folder if
            neither is there.
        experiment_name: MLflow experiment.
        run_name: name of the run; by default the experiment's and the time.
        config: the config to log (a dict, or a JSON file); by default the one this handler is instantiated from.
        cohort: cohort folder or ``cohort.json``: its digest and sizes are logged, its patients never.
        resume: continue the run that trained last in ``output_dir``, if it holds one.
        system_metrics: whether CPU, memory, disk, network and GPU are sampled.
        system_interval_s: seconds between two samples.
        evaluator_prefix: what the metrics of an evaluator are called: ``val`` in training, ``test`` in an evaluation.
        scrub: one more replacement for every text logged, after the home folder and the cohort's patients.
        tags: more tags.
        iteration_log: also log the losses of iterations (True, or an Ignite event filter).
        drain_s: seconds ``finish()`` waits for the server.
        kwargs: more arguments of ``monai.handlers.MLFlowHandler``.

    Raises:
        UsageError: if ``tracking_uri`` is a folder (MLflow has given up its file store).
    """

    def __init__(
        self,
        output_dir: PathLike,
        tracking_uri: str | None = None,
        experiment_name: str = "monai_staging",
        run_name: str | None = None,
        config: Mapping[str, Any] | PathLike | None = None,
        cohort: PathLike | None = None,
        resume: bool = False,
        system_metrics: bool = True,
        system_interval_s: float = 10.0,
        evaluator_prefix: str = "val",
        scrub: Callable[[str], str] | None = None,
        tags: Mapping[str, Any] | None = None,
        iteration_log: bool | Callable[[Engine, int], bool] = False,
        drain_s: float = 30.0,
        **kwargs: Any,
    ) -> None:
        self._parser = calling_parser()
        self._config = config
        self._cohort = Path(cohort) if cohort else None
        self._evaluator_prefix = evaluator_prefix
        self._tags = dict(tags or {})
        self._means = EpochMeans()
        self._epoch_start_s = 0.0
        self._rate: dict[str, Any] = {}
        self._owner: Engine | None = None
        self._described: Journal | None = None
        active = is_main_process()
        if active:
            self._init_monai(tracking_uri=tracking_uri, iteration_log=iteration_log, **kwargs)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri
        uri = uri or path_to_sqlite_uri(str(Path.cwd() / "mlruns.db"))
        # A program may have set another URI for all of MLflow, which MONAI's client then has.
        own_client = active and self.client is not None and self.client.tracking_uri == uri
        TrackedRun.__init__(
            self,
            output_dir,
            uri,
            experiment_name,
            run_name,
            resume=resume,
            scrubber=Scrubber(self._cohort, scrub),
            system_interval_s=system_interval_s if system_metrics else None,
            drain_s=drain_s,
            artifact_location=self.artifact_location if active else None,
            client=self.client if own_client else None,
            active=active,
            # The evaluation in a training's folder must not take the place of the run that may be resumed.
            journal_name="tracking-spool.jsonl"
            if evaluator_prefix == "val"
            else f"tracking-spool-{evaluator_prefix}.jsonl",
        )

    def _init_monai(self, **arguments: Any) -> None:
        bound_http()
        try:
            MLFlowHandler.__init__(self, **arguments)
        except ValueError as error:
            raise UsageError(str(error)) from error
        except Exception as error:
            # A database that cannot be opened now: tried again, and told, by the delivery. The rest of MONAI's
            # constructor comes after its client.
            logger.debug("MLflow client not made: %s", error)
            self.client = None
            self.close_on_complete = bool(arguments.get("close_on_complete", False))

    def attach(self, engine: Engine) -> None:
        """Listens to ``engine``: a MONAI trainer's metrics are ``train/...``, any other engine's the evaluator's."""
        if not self.active:
            return
        engine.add_event_handler(Events.STARTED, self.start)
        if self.epoch_log:
            engine.add_event_handler(self._event(Events.EPOCH_COMPLETED, self.epoch_log), self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._exception_raised)
        if isinstance(engine, Trainer):
            engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
            engine.add_event_handler(Events.ITERATION_STARTED, self._remember_rate)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._means.update)
        if self.iteration_log:
            event = self._event(Events.ITERATION_COMPLETED, self.iteration_log)
            engine.add_event_handler(event, self.iteration_completed)

    @staticmethod
    def _event(event: Events, wanted: bool | Callable[[Engine, int], bool]) -> Any:
        return event(event_filter=wanted) if callable(wanted) else event

    def begin(self) -> None:
        """Opens the run before any engine starts, for a bundle's ``initialize``; a second call does nothing.

        What fails from here on, the making of datasets and networks included, ends the run FAILED with its traceback.
        The config is logged when an engine starts, since only then its references have come to something, or at the
        end of a run that never had one.
        """
        self.open()

    def start(self, engine: Engine | None = None) -> None:
        """Opens the run and logs (once) where it comes from. Called by the engine, or by hand where there is none."""
        if not self.active:
            return
        self.open()
        if self._owner is None:
            self._owner = engine
        if self._described is not self._journal:
            self._described = self._journal
            self._describe(engine)

    def _describe(self, engine: Engine | None) -> None:
        config, resolved = self._read_config()
        params = {name: getattr(engine.state, name, None) for name in self.default_tracking_params} if engine else {}
        params = {name: str(value) for name, value in params.items() if value is not None}
        params |= {str(name): str(value) for name, value in (self.experiment_param or {}).items()}
        if config is not None:
            params |= parameters(config, resolved)
        self.log_params(params)
        tags = {f"version.{name}": version for name, version in versions().items()}
        if isinstance(config, Mapping) and isinstance(config.get("_meta_"), Mapping):
            # A bundle's metadata.json, as MONAI puts it into the config: what the "Source" of the run is.
            tags |= {"mlflow.source.name": str(config["_meta_"].get("name", "bundle")), "mlflow.source.type": "LOCAL"}
        git = git_state()
        if git is not None:
            tags |= {"mlflow.source.git.commit": git.commit, "git.dirty": str(git.dirty).lower()}
        self.log_tags(tags | self._tags | start_tags(getattr(engine, "network", None)))
        trains = isinstance(engine, Trainer) or (engine is None and self._evaluator_prefix == "val")
        self._log_cohort("training" if trains else "evaluation")
        # Files last: they go another way than what a database holds, and the slower one.
        if config is not None:
            self.log_text(self.scrubber.setting(document(config)), "config.json")

    def _read_config(self) -> tuple[Any, Mapping[str, Any]]:
        if isinstance(self._config, Mapping):
            return self._config, {}
        if self._config is not None:
            return json.loads(Path(self._config).read_text(encoding="utf-8")), {}
        if self._parser is not None:
            return self._parser.get(), self._parser.ref_resolver.resolved_content
        return None, {}

    def _log_cohort(self, context: str) -> None:
        try:
            cohort = cohort_summary(self._cohort) if self._cohort else None
        except (OSError, ValueError, TypeError, AttributeError) as error:  # damaged; who needs it says how
            logger.warning("MLflow: the cohort cannot be read and is not logged (%s).", type(error).__name__)
            return
        if cohort is None:
            return
        self.log_tags({"cohort.name": cohort.name, "cohort.source": cohort.source, "cohort.digest": cohort.digest})
        self.record(
            "dataset",
            name=cohort.name or "cohort",
            digest=cohort.digest[:32],  # MLflow takes 36 characters; the tag has all of it
            source=json.dumps({"source": cohort.source}),
            profile=json.dumps(cohort.sizes),
            context=context,
        )

    def epoch_completed(self, engine: Engine) -> None:
        """Logs the engine's metrics; of a trainer also mean losses, learning rate and the epoch's seconds."""
        metrics = dict(flatten_dict(engine.state.metrics))
        prefix = self._evaluator_prefix
        if isinstance(engine, Trainer):
            prefix = "train"
            metrics |= self._means.take() | self._rate
            metrics["epoch_seconds"] = time.monotonic() - self._epoch_start_s
        if self.state_attributes is not None:
            metrics |= {name: getattr(engine.state, name, None) for name in self.state_attributes}
        epoch = int(self.global_epoch_transform(engine.state.epoch))
        self.step = max(self.step, epoch)
        self.log_metrics(metrics, step=epoch, prefix=prefix)

    def iteration_completed(self, engine: Engine) -> None:
        """Logs the iteration's losses (``train_iteration/loss``) where ``iteration_log`` asks for it."""
        kind = "train" if isinstance(engine, Trainer) else self._evaluator_prefix
        losses = EpochMeans.losses(engine.state.output)
        self.log_metrics(losses, step=engine.state.iteration, prefix=f"{kind}_iteration")

    def complete(self, engine: Engine | None = None) -> None:
        """Logs the ``artifacts`` the handler was given; the run stays open for what comes after the training."""
        if engine is not None and engine is not self._owner:
            return
        self.completed = True
        for path in self._parse_artifacts():  # type: ignore[no-untyped-call]
            self.log_artifact(path)
        if self.close_on_complete:
            self.finish()

    def finish(self, status: str = "FINISHED") -> None:
        """Ends the run, waits up to ``drain_s`` for the server, says where the run is. A second call does nothing."""
        if self._journal is not None and self._described is not self._journal:
            try:
                self.start()
            except Exception as error:  # it may be what the run fails of; how it ended is still to be said
                logger.warning("MLflow: config and cohort of the run are not logged: %s", error)
        super().finish(status)
        self._owner = None

    def close(self) -> None:
        """Ends the run as FINISHED."""
        self.finish()

    def _epoch_started(self, engine: Engine) -> None:
        # Not when the engine starts: a checkpoint handler that comes after this one first moves the claim of the
        # training before out of the way, with the checkpoints it belongs to.
        self.claim()
        self._epoch_start_s = time.monotonic()
        self._means.reset()

    def _remember_rate(self, engine: Any) -> None:
        # At the start of an iteration: the rate this iteration uses, whichever handler steps the schedule after.
        groups = engine.optimizer.param_groups
        for name in self.optimizer_param_names:
            if len(groups) == 1:
                self._rate[name] = groups[0][name]
            else:
                self._rate.update({f"{name}_group_{i}": group[name] for i, group in enumerate(groups)})

    def _exception_raised(self, engine: Engine, error: BaseException) -> None:
        self.fail(error)
        # Ignite takes a handled exception for a solved one.
        raise error

    def __enter__(self) -> TrackingHandler:
        self.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(error)
