//! The stories that every build plays, and the proof that they would tell.

use dockless_simulate::{Bug, Options, Promise, run};

#[test]
fn a_million_events_break_no_promise() {
    let options = Options { seed: 1, steps: 1_000_000, bug: None };
    let report = match run(options, |_| {}) {
        Ok(report) => report,
        Err(story) => panic!("{}", dockless_simulate::tell(&story, None)),
    };
    // A quiet town would prove nothing.
    let tally = report.tally;
    let numbers = [
        ("answered", tally.answered, 30_000),
        ("refused", tally.refused, 1_000),
        ("timed out", tally.timed_out, 100),
        ("died", tally.died, 100),
        ("left", tally.left, 1_000),
        ("crashed", tally.crashed, 100),
        ("starts", tally.starts, 5_000),
        ("freezes", tally.freezes, 1_000),
        ("adopted", tally.adopted, 500),
        ("troubles", tally.troubles, 500),
    ];
    for (name, count, least) in numbers {
        assert!(count >= least, "{name}: {count}, at least {least} were expected: {report:#?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let options = Options { seed: 7, steps: 60_000, bug: None };
    assert_eq!(run(options, |_| {}), run(options, |_| {}));
}

#[test]
fn each_planted_mistake_is_found() {
    use Promise::{Books, Caps, Dates, Done, Ends, Farewell, NotFrozen, OneAtATime, Replay, Starts, Starvation, Whole};
    let rows: &[(Bug, &[Promise])] = &[
        (Bug::LeaseTwice, &[OneAtATime, Done, Books]),
        (Bug::FreezeInUse, &[NotFrozen]),
        (Bug::CapRace, &[Caps]),
        (Bug::FailureForgotten, &[Ends, Starts, Starvation]),
        (Bug::EndOfAnother, &[Done, OneAtATime]),
        (Bug::ReplayAlways, &[Replay]),
        (Bug::DeathUnheard, &[Ends, Books, Dates]),
        (Bug::ReleaseUnheard, &[Ends]),
        (Bug::PlaceFreedTwice, &[OneAtATime, Books, Farewell, Whole]),
    ];
    assert_eq!(rows.len(), Bug::ALL.len(), "each has its row");
    for (bug, promises) in rows {
        let story = run(Options { seed: 1, steps: 400_000, bug: Some(*bug) }, |_| {}).expect_err("a planted mistake");
        assert!(promises.contains(&story.broken.promise), "{bug:?}: {}", story.broken);
        let told = dockless_simulate::tell(&story, Some(*bug));
        assert!(told.contains(&story.broken.to_string()), "it goes wrong again: {told}");
        assert!(told.contains("--bug"), "the command plants the mistake again: {told}");
    }
}
