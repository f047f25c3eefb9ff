"""What each way to run a model gives on this machine: latency, throughput, and the share of the machine's limit."""

from trm_deploy.benchmark.contestants import Contestant, contestants
from trm_deploy.benchmark.measure import Settings, benchmark
from trm_deploy.benchmark.report import Report, Row

__all__ = ["Contestant", "Report", "Row", "Settings", "benchmark", "contestants"]
