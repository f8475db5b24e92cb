"""Tables over all finished runs of a study, which workers write once its runs are measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftlens.io.progress import say
from peftlens.results.configurations import configurations_table
from peftlens.results.outcomes import DiskError, Done, Failed, Problem
from peftlens.results.table_cache import TableCache
from peftlens.runs.run import Run
from peftlens.studies.job_queue import Job, JobQueue
from peftlens.studies.plan import StudyPlan
from peftlens.studies.scheduler import JobResult, Signals, WorkerPool, run_jobs
from peftlens.studies.study_failures import StudyFailures
from peftlens.studies.worker_protocol import TableRequest


@dataclass(frozen=True)
class FinalTables:
    """Writer of a study's tables.

    Attributes:
        tables: tables on disk.
        plan: plan of the study.
        failures: failures of the study's runs and probes.
        trust_remote_code: whether to run Python from the base model's folder.
    """

    tables: TableCache
    plan: StudyPlan
    failures: StudyFailures
    trust_remote_code: bool

    def write(self, runs: Sequence[Run], pool: WorkerPool, signals: Signals) -> float:
        """Write the tables that are missing or out of date.

        Args:
            runs: all finished runs, in the study's order.
            pool: workers that write the tables.
            signals: handler of Ctrl-C and SIGTERM.

        Returns:
            Seconds of work, over all workers.

        Raises:
            OSError: the disk is full or may not be written to.
        """
        names = self.plan.labels
        labels = {run.path.name: names[run.path.name] for run in runs}
        self.tables.write(configurations_table(runs, labels))
        requests = [
            TableRequest(
                probe=probe,
                runs=tuple(run.path for run in runs),
                labels=labels,
                probe_options=self.plan.probe_options,
                unmeasured=self.failures.unmeasured,
                file=file,
                trust_remote_code=self.trust_remote_code,
            )
            for probe, file in self.tables.stale(labels)
        ]
        jobs = JobQueue(
            Job.from_request(request, request.probe, f"probe {request.probe}")
            for request in requests
        )
        for result in run_jobs(jobs, pool, signals, "Tables"):
            self._record(result)
        return jobs.worked

    def _record(self, result: JobResult) -> None:
        """Record the failures in the outcome of a table's job."""
        probe = result.job.key.target
        unmeasured = self.failures.unmeasured.get(probe, {})
        match result.outcome:
            case DiskError() as problem:
                raise problem.to_error()
            case Problem() as problem:
                self.tables.drop([probe])  # an old table may lack runs
                if not unmeasured:  # the record of a measurement says more
                    self.failures.record(probe, result.job.description, problem)
                say(self.failures.summaries[probe])
            case Done(result=reasons):
                for run in reasons.keys() - unmeasured.keys():
                    summary = reasons[run]
                    problem = Failed(
                        error_summary=summary, error=summary, traceback="", is_input_error=False
                    )
                    say(self.failures.record_probe(run, probe, problem))
