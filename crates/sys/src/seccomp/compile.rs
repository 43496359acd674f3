//! From verdicts to classic BPF.
//!
//! Neighbouring numbers with the same verdict become one range; a lone exception inside a range (`clone` between
//! allowed calls) is an equality test in front of it, which costs one instruction where two more ranges would cost two.
//! The ranges become a balanced tree of `>=` tests:
//!
//! ```text
//!   load arch · not ours → kill
//!   load number
//!   >= 240 ? ── no ── >= 101 ? ── …        leaves jump to shared tails:
//!      └─ yes ── == 272 ? … >= 424 ? ── …  return ALLOW | EPERM | ENOSYS | check arguments
//! ```
//!
//! BPF jumps forward only, and conditional ones by at most 255, so the program is built from its end: every target
//! exists before its jump, and one out of reach gets a stepping stone.

use super::Policy;
use super::table::{LAST, Verdict, verdict};

/// linux/audit.h: AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64.
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCH: u32 = 0xC000_00B7;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// The answer that fails a call with an error number.
pub(super) const fn errno(number: u16) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

pub(super) const EPERM: u32 = errno(1);
pub(super) const ENOSYS: u32 = errno(38);
pub(super) const EAFNOSUPPORT: u32 = errno(97);

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}. CLONE_NEWTIME is not expressible in clone(2).
pub(super) const NAMESPACES: u32 = 0x7E02_0000;
/// CLONE_NEWUSER.
pub(super) const USER_NAMESPACE: u32 = 0x1000_0000;
/// PER_LINUX, ADDR_NO_RANDOMIZE (harms only the caller), and the question what is set.
pub(super) const PERSONALITIES: [u32; 3] = [0, 0x0004_0000, 0xFFFF_FFFF];
/// TIOCSTI and TIOCLINUX put words into a terminal's input.
pub(super) const TYPING: [u32; 2] = [0x5412, 0x541C];
/// AF_UNIX, AF_INET, AF_INET6.
pub(super) const FAMILIES: [u32; 3] = [1, 2, 10];
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
const AF_UNIX: u32 = 1;
const S_IFMT: u32 = 0o170_000;
/// Unspecified (a regular file), regular file, FIFO, socket.
pub(super) const PLAIN_NODES: [u32; 4] = [0, 0o100_000, 0o010_000, 0o140_000];

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// The low word of an argument; the calls we check take 32-bit arguments, and clone reads the low word of its flags.
const fn argument(index: u8) -> u32 {
    16 + 8 * index as u32
}

pub(super) fn program(policy: Policy) -> Vec<libc::sock_filter> {
    let mut out = Assembler::default();
    let search = out.search(&regions(&ranges(policy)));
    let number = out.load(NUMBER, search);
    let kill = out.answer(KILL);
    let arch = out.jump(Test::Equal(ARCH), number, kill);
    out.load(ARCHITECTURE, arch);
    out.reversed.reverse();
    out.reversed
}

/// All numbers from `start` to the next range's start.
#[derive(Clone, Copy)]
struct Range {
    start: u32,
    verdict: Verdict,
}

fn ranges(policy: Policy) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    // One above the last: that range has no end, so x32 numbers and negative ones fall into it.
    for start in 0..=LAST + 1 {
        let verdict = verdict(policy, start);
        if ranges.last().is_none_or(|last| last.verdict != verdict) {
            ranges.push(Range { start, verdict });
        }
    }
    ranges
}

/// A range with single numbers in it that are judged differently.
struct Region {
    start: u32,
    verdict: Verdict,
    exceptions: Vec<Range>,
}

/// Exceptions are tested one after the other; more of them would make the way to the range long.
const MOST_EXCEPTIONS: usize = 4;

fn regions(mut ranges: &[Range]) -> Vec<Region> {
    let mut regions = Vec::new();
    while let [first, rest @ ..] = ranges {
        let mut region = Region { start: first.start, verdict: first.verdict, exceptions: Vec::new() };
        ranges = rest;
        while let [exception, again, rest @ ..] = ranges
            && again.start == exception.start + 1
            && again.verdict == region.verdict
            && region.exceptions.len() < MOST_EXCEPTIONS
        {
            region.exceptions.push(*exception);
            ranges = rest;
        }
        regions.push(region);
    }
    regions
}

/// An instruction, counted from the end of the program.
#[derive(Clone, Copy)]
struct Label(usize);

enum Test {
    Equal(u32),
    AtLeast(u32),
    AnyBit(u32),
}

/// Builds from the end to the beginning.
#[derive(Default)]
struct Assembler {
    reversed: Vec<libc::sock_filter>,
    answers: Vec<(u32, Label)>,
    checks: Vec<(Verdict, Label)>,
}

/// The farthest a conditional jump goes, less the stepping stones it may need itself.
const REACH: usize = 255 - 2;

impl Assembler {
    fn put(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Label {
        let code = u16::try_from(code).expect("BPF codes have 16 bits");
        self.reversed.push(libc::sock_filter { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// How far the instruction put next would jump to get to the target.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    fn is_next(&self, target: Label) -> bool {
        self.distance(target) == 0
    }

    /// The target itself, or an unconditional jump to it that is near.
    fn within_reach(&mut self, target: Label) -> Label {
        if self.distance(target) <= REACH {
            return target;
        }
        let far = u32::try_from(self.distance(target)).expect("programs are short");
        self.put(libc::BPF_JMP | libc::BPF_JA, 0, 0, far)
    }

    fn jump(&mut self, test: Test, yes: Label, no: Label) -> Label {
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let offset = |distance| u8::try_from(distance).expect("the target was brought within reach");
        let (jt, jf) = (offset(self.distance(yes)), offset(self.distance(no)));
        let (code, k) = match test {
            Test::Equal(k) => (libc::BPF_JEQ, k),
            Test::AtLeast(k) => (libc::BPF_JGE, k),
            Test::AnyBit(k) => (libc::BPF_JSET, k),
        };
        self.put(libc::BPF_JMP | code | libc::BPF_K, jt, jf, k)
    }

    /// Loads a word of `struct seccomp_data` and goes on at `next`.
    fn load(&mut self, offset: u32, next: Label) -> Label {
        self.go_on(next);
        self.put(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Makes `next` the following instruction.
    fn go_on(&mut self, next: Label) {
        if !self.is_next(next) {
            let far = u32::try_from(self.distance(next)).expect("programs are short");
            self.put(libc::BPF_JMP | libc::BPF_JA, 0, 0, far);
        }
    }

    /// A shared return; a fresh one once the last has fallen out of reach.
    fn answer(&mut self, value: u32) -> Label {
        let known = self.answers.iter().rev().find(|(v, _)| *v == value).map(|(_, label)| *label);
        if let Some(label) = known.filter(|label| self.distance(*label) <= REACH) {
            return label;
        }
        let label = self.put(libc::BPF_RET | libc::BPF_K, 0, 0, value);
        self.answers.push((value, label));
        label
    }

    /// Goes to `yes` if the word loaded is one of the values, else to `no`.
    fn one_of(&mut self, values: &[u32], yes: Label, no: Label) -> Label {
        values.iter().fold(no, |next, value| self.jump(Test::Equal(*value), yes, next))
    }

    fn tail(&mut self, verdict: Verdict) -> Label {
        let known = self.checks.iter().find(|(v, _)| *v == verdict).map(|(_, label)| *label);
        if let Some(label) = known {
            return label;
        }
        let label = match verdict {
            Verdict::Allow => return self.answer(ALLOW),
            Verdict::Deny => return self.answer(EPERM),
            Verdict::Absent => return self.answer(ENOSYS),
            Verdict::Clone => {
                let (deny, allow) = (self.answer(EPERM), self.answer(ALLOW));
                let test = self.jump(Test::AnyBit(NAMESPACES), deny, allow);
                self.load(argument(0), test)
            }
            Verdict::NoUserNamespace => {
                let (deny, allow) = (self.answer(EPERM), self.answer(ALLOW));
                let test = self.jump(Test::AnyBit(USER_NAMESPACE), deny, allow);
                self.load(argument(0), test)
            }
            Verdict::Personality => {
                let (deny, allow) = (self.answer(EPERM), self.answer(ALLOW));
                let test = self.one_of(&PERSONALITIES, allow, deny);
                self.load(argument(0), test)
            }
            Verdict::Ioctl => {
                let (deny, allow) = (self.answer(EPERM), self.answer(ALLOW));
                let test = self.one_of(&TYPING, deny, allow);
                self.load(argument(1), test)
            }
            Verdict::Socket => {
                let (deny, allow) = (self.answer(EAFNOSUPPORT), self.answer(ALLOW));
                let route = self.jump(Test::Equal(NETLINK_ROUTE), allow, deny);
                let protocol = self.load(argument(2), route);
                let netlink = self.jump(Test::Equal(AF_NETLINK), protocol, deny);
                let test = self.one_of(&FAMILIES, allow, netlink);
                self.load(argument(0), test)
            }
            Verdict::SocketPair => {
                let (deny, allow) = (self.answer(EAFNOSUPPORT), self.answer(ALLOW));
                let test = self.jump(Test::Equal(AF_UNIX), allow, deny);
                self.load(argument(0), test)
            }
            Verdict::MakeNode(mode) => {
                let (deny, allow) = (self.answer(EPERM), self.answer(ALLOW));
                let test = self.one_of(&PLAIN_NODES, allow, deny);
                self.go_on(test);
                let kind = self.put(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, S_IFMT);
                self.load(argument(mode), kind)
            }
        };
        self.checks.push((verdict, label));
        label
    }

    /// The binary search. The right half is put first, so that the left one follows its test.
    fn search(&mut self, regions: &[Region]) -> Label {
        match regions {
            [] => self.answer(ENOSYS),
            [only] => only.exceptions.iter().fold(self.tail(only.verdict), |next, exception| {
                let tail = self.tail(exception.verdict);
                self.jump(Test::Equal(exception.start), tail, next)
            }),
            more => {
                let (left, right) = more.split_at(more.len() / 2);
                let first = right[0].start;
                let right = self.search(right);
                let left = self.search(left);
                self.jump(Test::AtLeast(first), right, left)
            }
        }
    }
}
