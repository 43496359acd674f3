//! The order of the measurement.

use crate::awake::Awake;
use crate::bare::{Bare, Resident};
use crate::density::{self, Group};
use crate::deploys;
use crate::docker::{Docker, Image};
use crate::files;
use crate::machine::Machine;
use crate::platform::{Platform, Site};
use crate::proxy;
use crate::sample::{Row, Rows};
use crate::start::{Start, Told};
use crate::stop;
use anyhow::{Context as _, bail};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Prewarmed sandboxes of the platform with a shelf: its default.
const SHELF: usize = 4;
/// So many failures of one row, and there is nothing to measure.
const HOPELESS: usize = 10;
/// An instance that runs but has had nothing to do for so long: within the platform's grace of 50 ms.
const IDLE: Duration = Duration::from_millis(30);
const HANDLER: &[u8] = include_bytes!("../peer/date.js");

/// What to measure.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) rounds: u16,
    /// Rows of the table.
    pub(crate) wanted: &'a BTreeSet<String>,
    pub(crate) binary: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) docker: bool,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) machine: Machine,
    pub(crate) rows: Rows,
}

/// A deployment that is put to sleep before each sample, and where.
struct Cold<'a> {
    row: &'static str,
    /// Row of what the server says the start took.
    part: &'static str,
    platform: &'a Platform,
    site: Site,
    path: &'static str,
    expected: Start,
    /// Row of how long the shelf takes to be full again.
    refill: Option<&'static str>,
}

/// Starts the peers and the platform, measures, stops them.
///
/// # Errors
/// Something cannot be started, a row fails again and again, or Ctrl-C.
pub(crate) fn measure(plan: &Plan<'_>) -> anyhow::Result<Measured> {
    let wants = |row: &str| plan.wanted.contains(row);
    let images = ["docker", "docker-compiled", "cold-compiled", "bare-compiled", "cold-node-image", "proxy"];
    let docker = if images.into_iter().any(wants) && plan.docker {
        crate::say("starting a Docker daemon");
        Some(Docker::start(&plan.folder.join("docker"))?)
    } else {
        None
    };
    let bare = if wants("bare") { Some(Bare::find()?) } else { None };
    crate::say("starting the platform");
    let shelf = Platform::start(plan.binary, &plan.folder.join("shelf"), SHELF)?;
    let miss = if wants("cold-miss") || wants("density") {
        Some(Platform::start(plan.binary, &plan.folder.join("miss"), 0)?)
    } else {
        None
    };

    let mut machine = Machine::look(plan.binary, docker.as_ref().map(Docker::description));
    let mut rows = Rows::new();
    let sources = [("api/date.js".to_owned(), HANDLER.to_vec())];
    let mut cold = Vec::new();
    if wants("cold-shelf") {
        let site = shelf.deploy("bench-shelf", &sources)?;
        let (path, expected) = ("/api/date", Start::Shelf);
        let (row, part, refill) = ("cold-shelf", "cold-shelf-boot", Some("refill"));
        cold.push(Cold { row, part, platform: &shelf, site, path, expected, refill });
    }
    if let Some(platform) = miss.as_ref().filter(|_| wants("cold-miss")) {
        let site = platform.deploy("bench-miss", &sources)?;
        let (path, expected) = ("/api/date", Start::New);
        let (row, part, refill) = ("cold-miss", "cold-miss-boot", None);
        cold.push(Cold { row, part, platform, site, path, expected, refill });
    }
    let bare_compiled = docker.as_ref().filter(|_| wants("bare-compiled")).map(|docker| Bare::of(docker.program()));
    let services = [
        ("cold-compiled", "cold-compiled-boot", Image::Compiled, Some("cold-compiled-refill")),
        ("cold-node-image", "cold-node-image-boot", Image::Node, None),
    ];
    for (row, part, image, refill) in services {
        if let Some(docker) = docker.as_ref().filter(|_| wants(row)) {
            let site = shelf.deploy_image(row, &docker.reference(image), &[])?;
            cold.push(Cold { row, part, platform: &shelf, site, path: "/", expected: Start::Shelf, refill });
        }
    }
    let frozen =
        if wants("frozen") { Some((shelf.deploy("bench-frozen", &sources)?, Bare::find()?.stay()?)) } else { None };

    let elsewhere = |row: &str| files::is_row(row) || proxy::is_row(row) || deploys::is_row(row);
    let timed = plan.wanted.iter().any(|row| row != "density" && !elsewhere(row));
    // Round 0 fills the page cache and counts for nothing.
    for round in 0..=if timed { plan.rounds } else { 0 } {
        if timed && round % 10 == 0 {
            crate::say(&format!("round {round} of {}", plan.rounds));
        }
        if round == 1 {
            rows.clear();
            machine.noisy = 0;
        }
        if let Some(docker) = &docker {
            machine.quiet()?;
            if wants("docker") {
                keep(&mut rows, "docker", docker.sample(Image::Node))?;
            }
            if wants("docker-compiled") {
                machine.quiet()?;
                keep(&mut rows, "docker-compiled", docker.sample(Image::Compiled))?;
            }
        }
        if let Some(bare) = &bare {
            machine.quiet()?;
            keep(&mut rows, "bare", bare.sample())?;
        }
        if let Some(bare) = &bare_compiled {
            machine.quiet()?;
            keep(&mut rows, "bare-compiled", bare.sample())?;
        }
        for cold in &cold {
            cold.round(&mut rows, &mut machine)?;
        }
        if let Some((site, resident)) = &frozen {
            frozen_and_warm(&shelf, site, resident, round == 0, &mut rows, &mut machine)?;
        }
    }
    if !timed {
        rows.clear();
    }
    if wants("density") {
        crate::say("200 frozen instances from the shelf");
        rows.insert("density", density::measure(&shelf, HANDLER, Start::Shelf)?);
        if let Some(miss) = &miss {
            crate::say("200 frozen instances from nothing");
            rows.insert("density-new", density::measure(miss, HANDLER, Start::New)?);
        }
    }
    // From here on nothing else may want the processors.
    drop(cold);
    drop((shelf, miss));
    if plan.wanted.iter().any(|row| deploys::is_row(row)) {
        deploys::measure(plan.binary, plan.folder, plan.wanted, &mut rows)?;
    }
    if let Some(docker) = docker.as_ref().filter(|_| plan.wanted.iter().any(|row| proxy::is_row(row))) {
        proxy::measure(plan.binary, plan.folder, docker, &mut rows)?;
    }
    if plan.wanted.iter().any(|row| files::is_row(row)) {
        files::measure(plan.binary, plan.folder, &mut rows)?;
    }
    crate::say("stopping");
    Ok(Measured { machine, rows })
}

impl Cold<'_> {
    /// No instance, a full shelf, one request; then how long the shelf takes to be full again.
    fn round(&self, rows: &mut Rows, machine: &mut Machine) -> anyhow::Result<()> {
        self.platform.put_to_sleep(&self.site)?;
        self.platform.shelf_is_full()?;
        machine.quiet()?;
        self.platform.expect_none(&self.site)?;
        let sample = self.platform.request(&self.site, self.path);
        let answered = Instant::now();
        keep_told(rows, self.row, Some(self.part), self.expected, sample)?;
        if let Some(refill) = self.refill {
            let full = self.platform.shelf_is_full();
            keep(rows, refill, full.map(|()| answered.elapsed()))?;
        }
        Ok(())
    }
}

/// Rows of one way to measure: frozen, of which the thaw, warm, warm after idling.
const ASLEEP: [&str; 6] = ["frozen", "frozen-thaw", "warm", "warm-idle", "bare-warm", "bare-idle"];
const AWAKE: [&str; 6] =
    ["frozen-awake", "frozen-awake-thaw", "warm-awake", "warm-idle-awake", "bare-warm-awake", "bare-idle-awake"];

/// A request to a frozen instance, then two to the same while it still runs: at once, and after some idling; and the last
/// two to a bare process. First as the machine is, then with its processors kept from sleeping.
fn frozen_and_warm(
    platform: &Platform,
    site: &Site,
    bare: &Resident,
    first: bool,
    rows: &mut Rows,
    machine: &mut Machine,
) -> anyhow::Result<()> {
    if first {
        platform.request(site, "/api/date")?;
    }
    for names in [ASLEEP, AWAKE] {
        let [frozen, thaw, warm, warm_idle, bare_warm, bare_idle] = names;
        let instances = platform.all_frozen(site, 1)?;
        let pid = instances.first().and_then(|instance| instance.pid).context("ps shows no process")?;
        machine.quiet()?;
        let awake = if names == AWAKE { Some(Awake::keep()?) } else { None };
        Group::of(pid)?.expect_frozen()?;
        let thawed = platform.request(site, "/api/date");
        let at_once = platform.request(site, "/api/date");
        std::thread::sleep(IDLE);
        let idle = platform.request(site, "/api/date");
        let bare_at_once = bare.request().and_then(|_| bare.request());
        std::thread::sleep(IDLE);
        let bare_after_idling = bare.request();
        drop(awake);
        keep(rows, bare_warm, bare_at_once)?;
        keep(rows, bare_idle, bare_after_idling)?;
        keep_told(rows, frozen, Some(thaw), Start::Thaw, thawed)?;
        keep_told(rows, warm, None, Start::Warm, at_once)?;
        keep_told(rows, warm_idle, None, Start::Warm, idle)?;
    }
    Ok(())
}

/// Writes down an answer that came about as expected, and beside it what the server says its start took.
fn keep_told(
    rows: &mut Rows,
    name: &'static str,
    part: Option<&'static str>,
    expected: Start,
    answer: anyhow::Result<(Duration, Told)>,
) -> anyhow::Result<()> {
    let answer = answer.and_then(|(took, told)| {
        anyhow::ensure!(told.start == expected, "the answer came from {:?}, not {expected:?}", told.start);
        Ok((took, told.took_ms))
    });
    if let (Some(part), Ok((_, part_ms))) = (part, &answer) {
        keep(rows, part, Duration::try_from_secs_f64(part_ms / 1000.0).map_err(Into::into))?;
    }
    keep(rows, name, answer.map(|(took, _)| took))
}

/// Writes down a sample, or why it is none.
fn keep(rows: &mut Rows, name: &'static str, sample: anyhow::Result<Duration>) -> anyhow::Result<()> {
    let row = rows.entry(name).or_insert_with(|| Row { unit: "ms", ..Row::default() });
    match sample {
        Ok(took) => row.samples.push(took.as_secs_f64() * 1000.0),
        Err(error) => {
            stop::check()?;
            row.error(format!("{error:#}"));
            if row.lost() >= HOPELESS {
                bail!("{name}: {} samples failed, the last one: {error:#}", row.lost());
            }
        }
    }
    Ok(())
}
