//! Stories one after the other, and what to do with one that goes wrong.

use crate::bug::Bug;
use crate::promise::Broken;
use crate::world::{Tally, World};
use std::fmt::Write as _;

/// Events of one story before its traffic stops.
const STORY: u64 = 20_000;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The first story's; the next ones count on.
    pub seed: u64,
    /// Events altogether, those at the ends of stories not counted.
    pub steps: u64,
    /// A mistake to plant.
    pub bug: Option<Bug>,
}

/// Everything held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Stories.
    pub stories: u64,
    /// Events, those at the ends of stories included.
    pub events: u64,
    /// What they were made of.
    pub tally: Tally,
}

/// A story that went wrong, as short as it could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Its seed.
    pub seed: u64,
    /// Events until its traffic stops.
    pub steps: u64,
    /// Events after which it went wrong.
    pub found_after: u64,
    /// What was broken.
    pub broken: Broken,
}

/// Runs stories until the steps are used up or a promise is broken.
///
/// # Errors
/// The [`Story`] that broke one.
pub fn run(options: Options, mut progress: impl FnMut(&Report)) -> Result<Report, Story> {
    let mut report = Report::default();
    let mut left = options.steps;
    let mut seed = options.seed;
    while left > 0 {
        let steps = left.min(STORY);
        let (mut world, events, outcome) = play(seed, steps, options.bug);
        if let Err(broken) = outcome {
            return Err(shorten(Story { seed, steps, found_after: events, broken }, options.bug));
        }
        report.stories += 1;
        report.events += events;
        report.tally.add(&std::mem::take(&mut world.tally));
        progress(&report);
        left -= steps;
        seed += 1;
    }
    Ok(report)
}

/// Plays one story; says how many events it had.
fn play(seed: u64, steps: u64, bug: Option<Bug>) -> (World, u64, Result<(), Broken>) {
    let mut world = World::new(seed, bug);
    let mut events = 0;
    let outcome = (|| {
        while events < steps {
            events += 1;
            world.step(u64::MAX)?;
        }
        world.busy = false;
        world.keep_none()?;
        let end = world.now + World::patience_at_the_end();
        while world.step(end)? {
            events += 1;
        }
        world.check_end()
    })();
    (world, events, outcome)
}

/// Stops the traffic ever earlier, as long as the same promise is broken.
fn shorten(mut story: Story, bug: Option<Bug>) -> Story {
    let (mut low, mut high) = (0, story.steps.min(story.found_after));
    while low < high {
        let steps = low.midpoint(high);
        let (_, events, outcome) = play(story.seed, steps, bug);
        match outcome {
            Err(broken) if broken.promise == story.broken.promise => {
                story = Story { steps, found_after: events, broken, ..story };
                high = steps;
            }
            _ => low = steps + 1,
        }
    }
    story
}

/// Plays a story that went wrong again: its last events, and how to play it.
#[must_use]
pub fn tell(story: &Story, bug: Option<Bug>) -> String {
    let (world, _, outcome) = play(story.seed, story.steps, bug);
    let mut text = String::new();
    for (at, event) in &world.told {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>12.3} ms  {event:?}", std::time::Duration::from_micros(*at).as_secs_f64() * 1e3);
    }
    let broken = outcome.err().map_or_else(|| "it does not go wrong again".to_owned(), |broken| broken.to_string());
    let _ = writeln!(text, "{broken}\nafter {} events of seed {}; to play it again:", story.found_after, story.seed);
    let _ = match bug {
        None => writeln!(text, "  make simulate STEPS={} SEED={}", story.steps, story.seed),
        Some(bug) => {
            let name =
                clap::ValueEnum::to_possible_value(&bug).map(|value| value.get_name().to_owned()).unwrap_or_default();
            let program = "cargo run --package dockless-simulate --";
            writeln!(text, "  {program} --steps {} --seed {} --bug {name}", story.steps, story.seed)
        }
    };
    text
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.requests, other.requests),
            (&mut self.answered, other.answered),
            (&mut self.refused, other.refused),
            (&mut self.timed_out, other.timed_out),
            (&mut self.died, other.died),
            (&mut self.left, other.left),
            (&mut self.crashed, other.crashed),
            (&mut self.starts, other.starts),
            (&mut self.freezes, other.freezes),
            (&mut self.adopted, other.adopted),
            (&mut self.troubles, other.troubles),
        ] {
            *sum += more;
        }
    }
}
