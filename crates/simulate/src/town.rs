//! Who lives here: accounts, their deployments, and functions and services with limits small enough to be met.

use crate::random::Random;
use dockless_model::image::Process;
use dockless_model::output::{Function, Service};
use dockless_model::{
    AccountId, DeploymentId, Digest, FunctionLimits, Host, Image, MemoryMib, ProjectName, RuntimeId, ServiceLimits,
    Slot,
};
use dockless_node::{Program, Spec};
use dockless_sandbox::protocol::GroupCap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A function or service.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) spec: Arc<Spec>,
    pub(crate) account: usize,
    pub(crate) deployment: usize,
    pub(crate) groups: Vec<GroupCap>,
    /// Mean time between arrivals in microseconds.
    pub(crate) pause: u64,
    /// Longest of the usual answers in microseconds.
    pub(crate) work: u64,
    /// One boot in so many fails; 0 for never.
    pub(crate) broken: u64,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) shops: Vec<Shop>,
    pub(crate) accounts: usize,
    pub(crate) deployments: usize,
    /// Most instances of an account.
    pub(crate) account_instances: u32,
}

impl Town {
    pub(crate) fn build(random: &mut Random) -> Self {
        let accounts = 1 + random.index(3);
        let account_instances = u32::try_from(random.within(2, 14)).unwrap_or(2);
        let mut town = Self { shops: Vec::new(), accounts, deployments: 0, account_instances };
        for account in 0..accounts {
            for _ in 0..=random.index(2) {
                let deployment = town.deployments;
                town.deployments += 1;
                for index in 0..=random.index(3) {
                    town.shops.push(shop(random, account, deployment, index, account_instances));
                }
            }
        }
        town
    }

    pub(crate) fn account(&self, number: usize) -> AccountId {
        id::<AccountId>(AccountId::PREFIX, number)
    }
}

fn shop(random: &mut Random, account: usize, deployment: usize, index: usize, account_instances: u32) -> Shop {
    let max_instances = u32::try_from(random.within(1, 8)).unwrap_or(1);
    let boot_ms = random.within(200, 1500);
    let idle_timeout_ms = random.pick(&[300, 1000, 3000, 8000]);
    let program = if random.once_in(3) {
        let concurrency = random.pick(&[1, 2, 10, 256]);
        let limits = ServiceLimits {
            concurrency,
            duration_ms: random.pick(&[1500, 4000, 20_000]),
            idle_timeout_ms,
            boot_ms,
            max_instances: random.pick(&[None, Some(max_instances)]),
        };
        Program::Service(Arc::new(Service { image: image(), slot: Slot::default(), limits }))
    } else {
        let limits = FunctionLimits {
            memory: MemoryMib::default(),
            duration_ms: random.within(100, 3000),
            idle_timeout_ms,
            boot_ms,
            body_bytes: 0,
            max_instances,
        };
        Program::Function(Arc::new(Function {
            entrypoint: "api/x.js".parse().expect("a path"),
            main: None,
            bundle: Digest::of(b""),
            bundle_bytes: 0,
            files: BTreeMap::new(),
            runtime: RuntimeId::compose("node", "20", &Digest::of(b"")).expect("a runtime"),
            limits,
            helpers: false,
        }))
    };
    let spec = Spec {
        deployment: id::<DeploymentId>(DeploymentId::PREFIX, deployment),
        account: id::<AccountId>(AccountId::PREFIX, account),
        project: ProjectName::from_any("town"),
        name: format!("api/x{index}").parse().expect("a path"),
        program,
        env: Arc::default(),
        egress: true,
        region: "sim1",
        url: "town.localhost".parse::<Host>().expect("a host"),
        scale: dockless_model::Scale::default(),
    };
    let own = GroupCap { name: format!("function:{deployment}/{index}"), max: spec.max_instances() };
    let groups = vec![GroupCap { name: format!("account:{account}"), max: account_instances }, own];
    Shop {
        spec: Arc::new(spec),
        account,
        deployment,
        groups,
        pause: random.pick(&[500, 2_000, 10_000, 50_000, 300_000]),
        work: random.pick(&[500, 5_000, 50_000]),
        broken: random.pick(&[0, 0, 0, 12, 3]),
    }
}

fn image() -> Image {
    let process = Process {
        argv: vec!["/app".into()],
        env: BTreeMap::new(),
        user: String::new(),
        working_dir: String::new(),
        stop_signal: Process::default_stop_signal(),
        ports: Vec::new(),
    };
    Image { id: Digest::of(b""), layers: Vec::new(), process }
}

/// Not random: the books compare them, and a seed tells the same story for ever.
fn id<T: std::str::FromStr>(prefix: &str, number: usize) -> T
where
    T::Err: std::fmt::Debug,
{
    let digits = format!("{number:020}");
    let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("{prefix}{letters}").parse().expect("an id")
}
