//! Everything that is counted, in one registry, and its exposition: what the parts count themselves, and what is looked up
//! when somebody asks.

use dockless_control::MetricsFormat;
use dockless_gateway::Gateway;
use dockless_model::{Clock as _, InstanceState, SystemClock, Timestamp};
use dockless_node::{Exit, Node, ShelfClass};
use dockless_pool::Pool;
use dockless_sandbox::protocol::ExitStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bounds of builds' times in seconds, to their limit.
const BUILD_SECONDS: [f64; 11] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    source: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

/// The registry and the numbers of this program's own parts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    exits: Family<EndLabel, Counter>,
    cpu: Counter<f64, AtomicU64>,
    builds: Family<BuildLabels, Counter>,
    build_seconds: Family<SourceLabel, Histogram, fn() -> Histogram>,
    building: Gauge,
    disk: Gauge,
}

/// A build that goes on; dropped before its end, it was given up.
#[derive(Debug)]
pub(crate) struct Building<'a> {
    metrics: &'a Metrics,
    source: &'static str,
    result: &'static str,
    began: tokio::time::Instant,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            exits: Family::default(),
            cpu: Counter::default(),
            builds: Family::default(),
            build_seconds: Family::new_with_constructor(|| Histogram::new(BUILD_SECONDS)),
            building: Gauge::default(),
            disk: Gauge::default(),
        };
        for end in ["exit_0", "exit_other", "signal", "out_of_memory"] {
            drop(metrics.exits.get_or_create(&EndLabel { end }));
        }
        for source in ["folder", "image"] {
            for result in ["ready", "failed", "internal", "given_up"] {
                drop(metrics.builds.get_or_create(&BuildLabels { source, result }));
            }
        }
        metrics
    }

    /// Fills the registry, once everything is there.
    pub(crate) fn watch(&self, gateway: &Gateway, pool: &Pool, node: &Node) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Process { started: SystemClock.now() }));
        let ours = registry.sub_registry_with_prefix("dockless");
        ours.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        gateway.register_metrics(ours);
        pool.register_metrics(ours);
        node.register_metrics(ours);
        ours.register_collector(Box::new(Live { gateway: gateway.clone(), pool: pool.clone(), node: node.clone() }));
        ours.register("instance_exits", "Instances that ended, by how their first process did", self.exits.clone());
        ours.register_with_unit(
            "instances_cpu",
            "Processor time of instances, told when they end",
            Unit::Seconds,
            self.cpu.clone(),
        );
        ours.register("builds", "Builds that ended: of a folder, or of an image of a registry", self.builds.clone());
        ours.register_with_unit("build_duration", "How long builds took", Unit::Seconds, self.build_seconds.clone());
        ours.register("builds_running", "Builds that go on", self.building.clone());
        ours.register_with_unit("disk_free", "Free on the disk of the data folder", Unit::Bytes, self.disk.clone());
    }

    /// An instance has ended.
    pub(crate) fn ended(&self, exit: &Exit) {
        let end = match exit.status {
            _ if exit.usage.oom_kills > 0 => "out_of_memory",
            ExitStatus::Code(0) => "exit_0",
            ExitStatus::Code(_) => "exit_other",
            ExitStatus::Signal(_) => "signal",
        };
        self.exits.get_or_create(&EndLabel { end }).inc();
        self.cpu.inc_by(Duration::from_micros(exit.usage.cpu_us).as_secs_f64());
    }

    /// A build begins.
    pub(crate) fn build(&self, source: &'static str) -> Building<'_> {
        self.building.inc();
        Building { metrics: self, source, result: "given_up", began: tokio::time::Instant::now() }
    }

    /// The text.
    pub(crate) fn expose(&self, format: MetricsFormat, free_disk: u64) -> Result<String, fmt::Error> {
        self.disk.set(i64::try_from(free_disk).unwrap_or(i64::MAX));
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        match format {
            MetricsFormat::OpenMetrics => text::encode(&mut text, &registry)?,
            MetricsFormat::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Building<'_> {
    pub(crate) fn ends(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        let Self { metrics, source, result, began } = self;
        metrics.building.dec();
        metrics.builds.get_or_create(&BuildLabels { source, result }).inc();
        metrics.build_seconds.get_or_create(&SourceLabel { source }).observe(began.elapsed().as_secs_f64());
    }
}

/// What is looked up when somebody asks.
#[derive(Debug)]
struct Live {
    gateway: Gateway,
    pool: Pool,
    node: Node,
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let population = self.pool.population();
        gauge(&mut encoder, "queue_length", "Requests that wait for an instance", None, population.waiting)?;
        gauge(
            &mut encoder,
            "queue_longest_wait",
            "How long the first of them has waited",
            Some(&Unit::Seconds),
            population.longest_wait.as_secs_f64(),
        )?;
        gauge(&mut encoder, "connections_open", "Open connections", None, self.gateway.open_connections())?;
        gauge(
            &mut encoder,
            "memory_available",
            "Memory of this machine that can still be used",
            Some(&Unit::Bytes),
            self.node.available_memory(),
        )?;
        let mut family =
            encoder.encode_descriptor("instances", "Instances by kind and state", None, MetricType::Gauge)?;
        for kind in ["function", "service"] {
            for state in InstanceState::ALIVE {
                let count = population.instances.get(&(kind, state.label())).copied().unwrap_or_default();
                let labels = [("kind", kind), ("state", state.label())];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut shelf: BTreeMap<String, usize> =
            self.node.runtimes().iter().map(|runtime| (runtime.id.to_string(), 0)).collect();
        shelf.insert("service".to_owned(), 0);
        for (class, count) in self.node.shelf() {
            let name = match class {
                ShelfClass::Runtime(runtime, _) => runtime.to_string(),
                ShelfClass::Service => "service".to_owned(),
            };
            *shelf.entry(name).or_default() += count;
        }
        let mut family =
            encoder.encode_descriptor("shelf", "Sandboxes that wait prewarmed, by runtime", None, MetricType::Gauge)?;
        for (runtime, count) in &shelf {
            ConstGauge::new(*count).encode(family.encode_family(&[("runtime", runtime.as_str())])?)?;
        }
        Ok(())
    }
}

/// This process, under the names that all programs use.
#[derive(Debug)]
struct Process {
    started: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let started = Duration::from_millis(u64::try_from(self.started.0).unwrap_or_default()).as_secs_f64();
        gauge(&mut encoder, "process_start_time", "When it began, since 1970", Some(&Unit::Seconds), started)?;
        // What the kernel does not say is left out.
        if let Some(bytes) = resident() {
            gauge(&mut encoder, "process_resident_memory", "Resident memory", Some(&Unit::Bytes), bytes)?;
        }
        if let Ok(folder) = std::fs::read_dir("/proc/self/fd") {
            // Without the one that reads the folder.
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, folder.count().saturating_sub(1))?;
        }
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        if let Ok(spent) = Duration::try_from(spent) {
            let metric = ConstCounter::new(spent.as_secs_f64());
            let unit = Some(&Unit::Seconds);
            let help = "User and system time";
            metric.encode(encoder.encode_descriptor("process_cpu", help, unit, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: impl EncodeGaugeValue,
) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

/// Resident memory of this process in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
