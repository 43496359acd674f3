use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

fn limits() -> Limits {
    Limits {
        concurrency: 1,
        max_instances: 4,
        room: 100,
        kept: 0,
        yields: 0,
        start_after: None,
        grace: 50 * MS,
        idle_timeout: 1000 * MS,
        life: None,
        farewell: 300 * MS,
        freezes: true,
        settle: 10 * MS,
        draining: false,
    }
}

fn fleet(booting: usize, phases: &[Phase]) -> Fleet<()> {
    let born = Instant::now();
    Fleet { booting, members: (0..).zip(phases).map(|(key, phase)| member(key, *phase, born)).collect() }
}

fn member(key: u64, phase: Phase, born: Instant) -> Member<()> {
    Member { key, phase, loaded: true, born, replaced: false, leaving: None, with: () }
}

#[test]
fn each_situation_has_its_answer() {
    let now = Instant::now() + Duration::from_secs(100);
    let ago = |ms: u32| now - ms * MS;
    let idle = |ms| Phase::Idle { since: ago(ms), warmth: Warmth::Running };
    let frozen = |ms| Phase::Idle { since: ago(ms), warmth: Warmth::Frozen };
    let freezing = |ms| Phase::Idle { since: ago(ms), warmth: Warmth::Freezing };
    let busy = Phase::Busy { deadline: now + 10 * MS };
    let finishing = |ms| Phase::Finishing { serial: 1, since: ago(ms), deadline: now + 10 * MS };
    let gone = Phase::Abandoned { serial: 1, deadline: now + MS };
    let ended_late = Phase::Finishing { serial: 1, since: now, deadline: now };
    let late = Phase::Abandoned { serial: 1, deadline: now };
    use Action::{Expire, Freeze, Lease, Release, Retire, Start};
    type Row<'a> = (&'a str, usize, Fleet<()>, Limits, &'a [Action]);
    let rows: &[Row<'_>] = &[
        ("nothing to do", 0, fleet(0, &[]), limits(), &[]),
        ("the first request starts one", 1, fleet(0, &[]), limits(), &[Start]),
        ("a start under way counts", 1, fleet(1, &[]), limits(), &[]),
        ("one start for each that waits", 3, fleet(1, &[]), limits(), &[Start, Start]),
        ("concurrency divides", 5, fleet(0, &[]), Limits { concurrency: 2, ..limits() }, &[Start, Start, Start]),
        ("the function's cap", 9, fleet(1, &[busy, Phase::Draining]), limits(), &[Start]),
        ("the account's cap", 9, fleet(0, &[]), Limits { room: 2, ..limits() }, &[Start, Start]),
        ("not yet again", 1, fleet(0, &[]), Limits { start_after: Some(now + MS), ..limits() }, &[]),
        ("again", 1, fleet(0, &[]), Limits { start_after: Some(now), ..limits() }, &[Start]),
        ("most recent first", 1, fleet(0, &[idle(9), idle(3), idle(5)]), limits(), &[Lease(1)]),
        ("frozen ones too", 2, fleet(0, &[frozen(900), idle(3)]), limits(), &[Lease(1), Lease(0)]),
        ("a freeze is cancelled", 1, fleet(0, &[freezing(60)]), limits(), &[Lease(0)]),
        ("a lease goes before a freeze", 1, fleet(0, &[idle(60)]), limits(), &[Lease(0)]),
        ("busy ones are not shared", 1, fleet(0, &[busy]), limits(), &[Start]),
        ("abandoned ones neither", 1, fleet(0, &[gone]), limits(), &[Start]),
        ("an end is about to come", 1, fleet(0, &[finishing(9)]), limits(), &[]),
        ("an end is too late", 1, fleet(0, &[ended_late]), limits(), &[Start, Expire(0)]),
        ("an end does not come", 1, fleet(0, &[finishing(10)]), limits(), &[Start]),
        ("within grace", 0, fleet(0, &[idle(49)]), limits(), &[]),
        ("after grace", 0, fleet(0, &[idle(50), frozen(50), freezing(50)]), limits(), &[Freeze(0)]),
        ("too long idle", 0, fleet(0, &[frozen(1000), idle(1000)]), limits(), &[Retire(0), Retire(1)]),
        ("not in time", 0, fleet(0, &[gone, late]), limits(), &[Expire(1)]),
        ("its lease has time to say so", 0, fleet(0, &[Phase::Busy { deadline: now }]), limits(), &[]),
        ("its lease does not", 0, fleet(0, &[Phase::Busy { deadline: ago(1000) }]), limits(), &[Expire(0)]),
        (
            "handing over",
            0,
            fleet(0, &[idle(1), frozen(9), busy]),
            Limits { draining: true, ..limits() },
            &[Release(0), Release(1)],
        ),
        (
            "given up for others",
            1,
            fleet(0, &[idle(3), frozen(9), busy]),
            Limits { yields: 1, ..limits() },
            &[Retire(1), Lease(0)],
        ),
        ("nothing idle to give up", 1, fleet(0, &[busy]), Limits { yields: 1, room: 0, ..limits() }, &[]),
        ("handing over, still asked", 1, fleet(0, &[idle(1)]), Limits { draining: true, ..limits() }, &[Lease(0)]),
    ];
    for (name, waiting, fleet, limits, expected) in rows {
        assert_eq!(plan(Demand { waiting: *waiting }, fleet, limits, now), *expected, "{name}");
    }
}

#[test]
fn who_is_to_leave_gets_no_request_and_goes_when_idle() {
    let now = Instant::now();
    let mut fleet =
        fleet(0, &[Phase::Idle { since: now, warmth: Warmth::Running }, Phase::Busy { deadline: now + MS }]);
    for member in &mut fleet.members {
        member.leaving = Some(now);
    }
    assert_eq!(plan(Demand { waiting: 1 }, &fleet, &limits(), now), [Action::Start, Action::Retire(0)]);
}

#[test]
fn services_share_instances_and_replace_them() {
    let now = Instant::now() + Duration::from_secs(100);
    let (young, old) = (now - 10 * MS, now - 20_000 * MS);
    let rules = Limits { concurrency: 2, life: Some(5000 * MS), idle_timeout: 30_000 * MS, freezes: false, ..limits() };
    let idle = Phase::Idle { since: now - 12_000 * MS, warmth: Warmth::Running };
    let just = Phase::Idle { since: now - 20 * MS, warmth: Warmth::Running };
    let never = Phase::Idle { since: now - 5000 * MS, warmth: Warmth::Running };
    let serving = |active| Phase::Serving { active };
    let with = |booting, members: &[(Phase, Instant)]| Fleet {
        booting,
        members: (0..).zip(members).map(|(key, (phase, born))| member(key, *phase, *born)).collect(),
    };
    use Action::{Expire, Lease, Leave, Replace, Retire, Start};
    type Row<'a> = (&'a str, usize, Fleet<()>, &'a [Action]);
    let rows: &[Row<'_>] = &[
        ("twelve wait: six starts, four allowed", 12, with(0, &[]), &[Start; 4]),
        ("three wait: one of the two starts is under way", 3, with(1, &[]), &[Start]),
        ("a place beside another", 1, with(0, &[(serving(1), young)]), &[Lease(0)]),
        ("no place", 1, with(0, &[(serving(2), young)]), &[Start]),
        ("two places in one", 2, with(0, &[(idle, young)]), &[Lease(0), Lease(0)]),
        ("the emptier one first", 2, with(0, &[(serving(1), young), (idle, young)]), &[Lease(1), Lease(0)]),
        ("idle ones run on", 0, with(0, &[(idle, young)]), &[]),
        ("its life is over, idle", 0, with(0, &[(idle, old)]), &[Retire(0)]),
        ("its life is over, used a moment ago", 0, with(0, &[(just, old)]), &[Replace(0), Start]),
        ("its life is over, never used", 0, with(0, &[(never, now - 5000 * MS)]), &[Retire(0)]),
        ("its life is over, in use", 0, with(0, &[(serving(1), old)]), &[Replace(0), Start]),
        ("it serves until then", 1, with(0, &[(serving(1), old)]), &[Lease(0), Replace(0), Start]),
        ("idle, it serves until then", 1, with(0, &[(idle, old)]), &[Lease(0), Replace(0), Start]),
    ];
    for (name, waiting, fleet, expected) in rows {
        assert_eq!(plan(Demand { waiting: *waiting }, fleet, &rules, now), *expected, "{name}");
    }
    let mut fleet = with(0, &[(just, old)]);
    let full = Limits { max_instances: 1, ..rules };
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &full, now), [Retire(0)], "no room for another");
    let held_back = Limits { start_after: Some(now + 7 * MS), ..rules };
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &held_back, now), [], "no replacement may be started yet");
    assert_eq!(due(&fleet.members[0], &held_back), Some(now + 7 * MS));
    fleet.members[0].replaced = true;
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &rules, now), [], "its replacement boots");
    assert_eq!(due(&fleet.members[0], &rules), Some(now + 29_980 * MS));
    let mut fleet = with(0, &[(serving(1), old)]);
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &Limits { max_instances: 1, ..rules }, now), [Leave(0)]);
    // Found by the simulator: its keeper would have looked without end, for as long as the stream stayed open.
    let handing_over = Limits { draining: true, ..rules };
    assert_eq!(
        plan(Demand { waiting: 0 }, &fleet, &handing_over, now),
        [Leave(0)],
        "handing over, it ends all the same"
    );
    let held_back = Limits { start_after: Some(now + 7 * MS), ..rules };
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &held_back, now), [], "no replacement may be started yet");
    assert_eq!(due(&fleet.members[0], &held_back), Some(now + 7 * MS));
    fleet.members[0].replaced = true;
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &rules, now), [], "its replacement boots");
    fleet.members[0].leaving = Some(now - 299 * MS);
    assert_eq!(plan(Demand { waiting: 1 }, &fleet, &rules, now), [Start], "it takes no more");
    assert_eq!(due(&fleet.members[0], &rules), Some(now + MS));
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &rules, now + MS), [Expire(0)], "the farewell is over");
}

#[test]
fn as_many_as_wanted_are_kept() {
    let now = Instant::now() + Duration::from_secs(100);
    let idle = |ms: u32| Phase::Idle { since: now - ms * MS, warmth: Warmth::Frozen };
    let rules = Limits { kept: 2, life: Some(10_000 * MS), ..limits() };
    let with = |booting, phases: &[Phase]| {
        let mut fleet = fleet(booting, phases);
        fleet.members.iter_mut().for_each(|member| member.born = now - 5000 * MS);
        fleet
    };
    let look = |fleet: &Fleet<()>, rules: &Limits| plan(Demand { waiting: 0 }, fleet, rules, now);
    use Action::{Keep, Release, Replace, Retire, Start};
    assert_eq!(look(&with(0, &[]), &rules), [Start, Start], "nobody waits");
    assert_eq!(look(&with(1, &[]), &rules), [Start], "one is under way");
    assert_eq!(
        look(&with(0, &[Phase::Draining]), &Limits { room: 1, ..rules }),
        [Start],
        "as many as there is room for"
    );
    assert_eq!(look(&with(0, &[]), &Limits { start_after: Some(now + MS), ..rules }), [], "not yet again");
    assert_eq!(look(&with(0, &[idle(2000), idle(2000)]), &rules), [Keep(0), Keep(1)]);
    assert_eq!(look(&with(0, &[idle(2000), idle(2000), idle(3)]), &rules), [Retire(0), Keep(1)], "what is beyond goes");
    assert_eq!(look(&with(0, &[idle(9), idle(3), idle(5)]), &Limits { yields: 3, ..rules }), [Retire(0)]);
    assert_eq!(look(&with(0, &[idle(9)]), &Limits { draining: true, ..rules }), [Release(0)], "its heir keeps them");
    let mut old = with(0, &[idle(2000), idle(3)]);
    old.members[0].born = now - 10_000 * MS;
    assert_eq!(look(&old, &rules), [Keep(0), Replace(0), Start], "replaced at the end of its life, though nobody asks");
    assert_eq!(look(&old, &Limits { max_instances: 2, ..rules }), [Retire(0)], "where there is room for another");
    old.members[0].leaving = Some(now);
    assert_eq!(look(&old, &rules), [Start, Retire(0)], "what was sent away is followed by another");
    let wait = Demand { waiting: 3 };
    assert_eq!(plan(wait, &with(0, &[]), &rules, now), [Start; 3], "those who wait take them");
    assert_eq!(short(Demand { waiting: 0 }, &with(0, &[]), &Limits { room: 0, ..rules }, now), 0);
}

#[test]
fn what_has_not_loaded_is_not_frozen() {
    let now = Instant::now();
    let mut fleet = fleet(0, &[Phase::Idle { since: now, warmth: Warmth::Running }]);
    fleet.members[0].loaded = false;
    assert_eq!(plan(Demand { waiting: 0 }, &fleet, &limits(), now + 60 * MS), []);
    assert_eq!(due(&fleet.members[0], &limits()), Some(now + 1000 * MS));
    assert_eq!(plan(Demand { waiting: 1 }, &fleet, &limits(), now), [Action::Lease(0)]);
}

/// What may happen to a function, for the simulation below.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive,
    GiveUp,
    Boot,
    BootFails,
    Answer(usize),
    ClientLeaves(usize),
    End(usize),
    Confirm(usize),
    Die(usize),
    Wait(u32),
    Sleep,
    Block,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Arrive),
        1 => Just(Step::GiveUp),
        4 => Just(Step::Boot),
        1 => Just(Step::BootFails),
        4 => any::<usize>().prop_map(Step::Answer),
        1 => any::<usize>().prop_map(Step::ClientLeaves),
        4 => any::<usize>().prop_map(Step::End),
        2 => any::<usize>().prop_map(Step::Confirm),
        1 => any::<usize>().prop_map(Step::Die),
        4 => (0_u32..200).prop_map(Step::Wait),
        1 => Just(Step::Sleep),
        1 => Just(Step::Block),
    ]
}

/// A function's life without instances: actions are done by changing phases.
struct World {
    fleet: Fleet<()>,
    waiting: usize,
    limits: Limits,
    now: Instant,
    next: u64,
}

impl World {
    fn pick(&mut self, index: usize) -> Option<&mut Member<()>> {
        let count = self.fleet.members.len();
        (count > 0).then(|| &mut self.fleet.members[index % count])
    }

    fn happen(&mut self, step: Step) {
        let (now, deadline) = (self.now, self.now + 500 * MS);
        match step {
            Step::Arrive => self.waiting += 1,
            Step::GiveUp => self.waiting = self.waiting.saturating_sub(1),
            Step::Boot if self.fleet.booting > 0 => {
                self.fleet.booting -= 1;
                self.next += 1;
                let phase = Phase::Idle { since: now, warmth: Warmth::Running };
                self.fleet.members.push(member(self.next, phase, now));
            }
            Step::BootFails if self.fleet.booting > 0 => {
                self.fleet.booting -= 1;
                self.waiting = self.waiting.saturating_sub(1);
            }
            Step::Answer(index) => self.change(index, |phase| match phase {
                Phase::Busy { .. } => Phase::Finishing { serial: 1, since: now, deadline },
                other => other,
            }),
            Step::ClientLeaves(index) => self.change(index, |phase| match phase {
                Phase::Busy { .. } => Phase::Abandoned { serial: 1, deadline },
                other => other,
            }),
            Step::End(index) => self.change(index, |phase| match phase {
                Phase::Finishing { .. } | Phase::Abandoned { .. } => {
                    Phase::Idle { since: now, warmth: Warmth::Running }
                }
                other => other,
            }),
            Step::Confirm(index) => self.change(index, |phase| match phase {
                Phase::Idle { since, warmth: Warmth::Freezing } => Phase::Idle { since, warmth: Warmth::Frozen },
                other => other,
            }),
            Step::Die(index) if !self.fleet.members.is_empty() => {
                let count = self.fleet.members.len();
                self.fleet.members.remove(index % count);
            }
            Step::Wait(ms) => self.now += ms * MS,
            Step::Sleep => self.fleet.members.iter_mut().for_each(|member| member.leaving = Some(now)),
            Step::Block => self.limits.start_after = Some(now + 20 * MS),
            Step::Boot | Step::BootFails | Step::Die(_) => {}
        }
    }

    fn change(&mut self, index: usize, to: impl FnOnce(Phase) -> Phase) {
        if let Some(member) = self.pick(index) {
            member.phase = to(member.phase);
        }
    }

    /// Does one action, checking that it was allowed.
    fn perform(&mut self, action: Action) {
        let (now, limits) = (self.now, self.limits);
        let key = match action {
            Action::Replace(_) | Action::Leave(_) | Action::Keep(_) => unreachable!("neither replaced nor kept"),
            Action::Start => {
                self.fleet.booting += 1;
                assert!(self.fleet.booting <= self.waiting.div_ceil(limits.concurrency), "more starts than requests");
                assert!(self.fleet.booting + self.fleet.members.len() <= limits.max_instances, "over the cap");
                assert!(limits.start_after.is_none_or(|after| now >= after), "started while blocked");
                return;
            }
            Action::Lease(key)
            | Action::Freeze(key)
            | Action::Retire(key)
            | Action::Expire(key)
            | Action::Release(key) => key,
        };
        let newest = self.fleet.members.iter().filter(|member| member.leaving.is_none());
        let newest = newest.filter_map(|member| match member.phase {
            Phase::Idle { since, .. } => Some(since),
            _ => None,
        });
        let newest = newest.max();
        let member = self.fleet.members.iter_mut().find(|member| member.key == key).expect("a member");
        member.phase = match (action, member.phase) {
            (Action::Lease(_), Phase::Idle { since, .. }) => {
                assert!(member.leaving.is_none() && Some(since) == newest, "not the most recent");
                self.waiting = self.waiting.checked_sub(1).expect("somebody waits");
                Phase::Busy { deadline: now + 500 * MS }
            }
            (Action::Freeze(_), Phase::Idle { since, warmth: Warmth::Running }) => {
                assert!(now >= since + limits.grace, "frozen within grace");
                Phase::Idle { since, warmth: Warmth::Freezing }
            }
            (Action::Retire(_), Phase::Idle { since, .. }) => {
                assert!(member.leaving.is_some() || now >= since + limits.idle_timeout, "retired too early");
                Phase::Draining
            }
            (Action::Expire(_), Phase::Busy { .. } | Phase::Finishing { .. } | Phase::Abandoned { .. }) => {
                Phase::Draining
            }
            (action, phase) => panic!("{action:?} on {phase:?}"),
        };
    }
}

proptest! {
    #[test]
    fn no_story_breaks_the_rules(steps in prop::collection::vec(step(), 1..200)) {
        let fleet = Fleet { booting: 0, members: Vec::new() };
        let mut world = World { fleet, waiting: 0, limits: limits(), now: Instant::now(), next: 0 };
        for step in steps {
            world.happen(step);
            let demand = Demand { waiting: world.waiting };
            let actions = plan(demand, &world.fleet, &world.limits, world.now);
            // `perform` panics for two leases on one instance: the second finds it busy.
            for action in actions {
                world.perform(action);
            }
            let demand = Demand { waiting: world.waiting };
            prop_assert_eq!(plan(demand, &world.fleet, &world.limits, world.now), vec![]);
            for member in &world.fleet.members {
                let late = due(member, &world.limits).is_some_and(|due| due <= world.now);
                prop_assert!(!late, "{:?} is due and nothing is done", member.phase);
            }
        }
    }
}
