//! Blocks of user ids: every sandbox has ids that nothing else on the machine has.

use dockless_sys::userns::{Extent, choose_base};

/// Where blocks begin when the machine leaves the choice: far above users, services and other container engines.
const PREFERRED_BASE: u32 = 0x7000_0000;
/// Ids for pairs: the first is the server's.
const PAIRED: u32 = 65_536;
/// Ids of a wide block: what images expect to find.
const WIDE: u32 = 65_536;
/// Wide blocks asked of the machine, halved until it has so many.
const MOST_WIDE: u32 = 8192;
/// The user inside a function.
pub(crate) const FUNCTION_USER: u32 = 1000;

/// Hands out pairs of ids, and wide blocks above them.
#[derive(Debug)]
pub(crate) struct IdBlocks {
    base: u32,
    free: Vec<u32>,
    next: u32,
    wide: u32,
    wide_free: Vec<u32>,
    next_wide: u32,
}

/// One pair: its root and its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct IdBlock {
    first: u32,
}

/// 65,536 ids in a row, for programs of images, which have users of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct WideBlock {
    first: u32,
}

impl IdBlocks {
    /// The ids that these ranges leave us: `None` if there are not even enough for functions.
    pub(crate) fn choose(ranges: &[(u32, u32)]) -> Option<Self> {
        let mut wide = MOST_WIDE;
        loop {
            if let Some(base) = choose_base(ranges, PREFERRED_BASE, PAIRED + wide * WIDE) {
                return Some(Self::new(base, wide));
            }
            if wide == 0 {
                return None;
            }
            wide /= 2;
        }
    }

    /// Pairs from `base`, whose first id is the server's, then `wide` wide blocks.
    fn new(base: u32, wide: u32) -> Self {
        Self { base, free: Vec::new(), next: 1, wide, wide_free: Vec::new(), next_wide: 0 }
    }

    /// The pair that [`Self::take`] gives out last, for a probe beside a running platform.
    pub(crate) fn last(&self) -> IdBlock {
        IdBlock { first: self.base + PAIRED - 2 }
    }

    /// The user of server processes.
    pub(crate) fn server_user(&self) -> u32 {
        self.base
    }

    /// A block nobody has; `None` when all are out.
    pub(crate) fn take(&mut self) -> Option<IdBlock> {
        if let Some(first) = self.free.pop() {
            return Some(IdBlock { first });
        }
        (self.next * 2 + 1 < PAIRED).then(|| {
            let first = self.base + self.next * 2;
            self.next += 1;
            IdBlock { first }
        })
    }

    /// Only after every process of the block is reaped.
    pub(crate) fn give_back(&mut self, block: IdBlock) {
        self.free.push(block.first);
    }

    /// A wide block nobody has; `None` when all are out.
    pub(crate) fn take_wide(&mut self) -> Option<WideBlock> {
        if let Some(first) = self.wide_free.pop() {
            return Some(WideBlock { first });
        }
        (self.next_wide < self.wide).then(|| {
            let first = self.base + PAIRED + self.next_wide * WIDE;
            self.next_wide += 1;
            WideBlock { first }
        })
    }

    /// Only after every process of the block is reaped.
    pub(crate) fn give_back_wide(&mut self, block: WideBlock) {
        self.wide_free.push(block.first);
    }
}

impl WideBlock {
    /// The map of a user namespace that has users 0 to 65,535.
    pub(crate) fn map(self) -> [Extent; 1] {
        [Extent { inside: 0, outside: self.first, count: WIDE }]
    }
}

impl IdBlock {
    /// The map of a function's user namespace: root and one user.
    pub(crate) fn function_map(self) -> [Extent; 2] {
        [
            Extent { inside: 0, outside: self.first, count: 1 },
            Extent { inside: FUNCTION_USER, outside: self.first + 1, count: 1 },
        ]
    }

    /// The map of an importer: root alone.
    pub(crate) fn importer_map(self) -> [Extent; 1] {
        [Extent { inside: 0, outside: self.first, count: 1 }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_and_come_back() {
        let mut blocks = IdBlocks::new(PREFERRED_BASE, 3);
        let mut all = Vec::new();
        while let Some(block) = blocks.take() {
            all.push(block);
        }
        let mut ids: Vec<u32> =
            all.iter().flat_map(|block| block.function_map().map(|extent| extent.outside)).collect();
        ids.push(blocks.server_user());
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(ids.last().unwrap() - PREFERRED_BASE < PAIRED);
        blocks.give_back(all[7]);
        assert_eq!(blocks.take(), Some(all[7]));
        assert_eq!(blocks.take(), None);
    }

    #[test]
    fn wide_blocks_lie_above_the_pairs_and_come_back() {
        let mut blocks = IdBlocks::new(PREFERRED_BASE, 3);
        let all: Vec<_> = std::iter::from_fn(|| blocks.take_wide()).collect();
        let firsts: Vec<u32> = all.iter().map(|block| block.map()[0].outside - PREFERRED_BASE).collect();
        assert_eq!(firsts, [65_536, 131_072, 196_608]);
        blocks.give_back_wide(all[1]);
        assert_eq!(blocks.take_wide(), Some(all[1]));
        assert_eq!(blocks.take_wide(), None);
    }

    #[test]
    fn a_machine_with_few_ids_has_fewer_wide_blocks() {
        let has = |ids: u32| IdBlocks::choose(&[(0, 65_536), (65_536, ids)]).map(|blocks| blocks.wide);
        assert_eq!(IdBlocks::choose(&[(0, u32::MAX)]).map(|blocks| blocks.wide), Some(MOST_WIDE));
        assert_eq!(has(65_536 * 6), Some(4));
        assert_eq!(has(65_536), Some(0));
        assert_eq!(has(1000), None);
    }
}
