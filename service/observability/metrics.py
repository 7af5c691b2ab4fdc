"""What the service counts, for Prometheus. docs/service.md has the same table."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from detector.detections import Detections
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32)
STAGES = ("queue", "decode", "prepare", "network", "select", "draw")


class Metrics:
    """The counters of one application; each application has a registry of its own."""

    def __init__(self, registry: Registry) -> None:
        self.collected = collected = CollectorRegistry()
        self.requests = Counter("boxwright_requests", "Requests answered.", ["route", "method", "status"], registry=collected)
        self.request_seconds = Histogram(
            "boxwright_request_seconds", "From a request's head to its answer.", ["route"], buckets=SECONDS, registry=collected
        )
        self.requests_in_flight = Gauge("boxwright_requests_in_flight", "Requests that have no answer yet.", registry=collected)
        self.stage_seconds = Histogram(
            "boxwright_stage_seconds", "What photos spend in each stage.", ["stage"], buckets=SECONDS, registry=collected
        )
        self.batch_size = Histogram("boxwright_batch_size", "Photos in one run of the network.", buckets=BATCHES, registry=collected)
        self.rejected = Counter("boxwright_rejected", "Requests refused for lack of room.", ["reason"], registry=collected)
        self.deadline_missed = Counter("boxwright_deadline_missed", "Photos not answered in their time.", registry=collected)
        self.disconnected = Counter("boxwright_disconnected", "Requests whose client hung up.", registry=collected)
        self.slow_bodies = Counter("boxwright_slow_bodies", "Requests whose body took too long to arrive.", registry=collected)
        self.detections = Counter("boxwright_detections", "Things found.", ["model", "label"], registry=collected)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for reason in ("queue", "memory"):
            self.rejected.labels(reason)
        collected.register(_Models(registry))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=collected)

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, what, registry=self.collected).set_function(read)

    def answered(self, model: LoadedModel, found: Detections, stages: Mapping[str, float]) -> None:
        """One photo: what was found, and seconds by stage."""
        for name, seconds in stages.items():
            self.stage_seconds.labels(name).observe(seconds)
        labels = model.detector.spec.labels
        for one in found:
            self.detections.labels(model.name, labels[one.class_id]).inc()


class _Models(Collector):
    """What is served now, and what became of what lay in the folder of models."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        names = ["model", "version", "engine", "input_size", "labels", "parameters"]
        info = GaugeMetricFamily("boxwright_model_info", "A version that is loaded, told by its labels; always 1.", labels=names)
        memory = GaugeMetricFamily("boxwright_model_bytes", "What a loaded version takes in memory, about.", labels=names[:2])
        for model in self._registry.loaded:
            spec = model.detector.spec
            facts = [model.engine, str(spec.input_size), str(len(spec.labels)), str(model.parameters)]
            info.add_metric([model.name, model.version, *facts], 1)
            memory.add_metric([model.name, model.version], model.memory)
        yield info
        yield memory
        yield CounterMetricFamily("boxwright_model_loads", "Versions loaded from the folder of models.", self._registry.loads)
        yield CounterMetricFamily("boxwright_model_refusals", "Versions refused, each once for one reason.", self._registry.refusals)
        yield GaugeMetricFamily(
            "boxwright_models_refused", "Versions that are refused now; GET /models says why.", len(self._registry.refused)
        )
