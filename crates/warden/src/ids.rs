//! Blocks of user ids: every sandbox has ids that nothing else on the machine has.

use dockless_sys::userns::Extent;

/// Where blocks begin when the machine leaves the choice: far above users, services and other container engines.
pub(crate) const PREFERRED_BASE: u32 = 0x7000_0000;
/// Ids asked of the machine: one for the server, the rest in pairs.
pub(crate) const WANTED: u32 = 65_536;
/// The user inside a function.
pub(crate) const FUNCTION_USER: u32 = 1000;

/// Hands out pairs of ids.
#[derive(Debug)]
pub(crate) struct IdBlocks {
    base: u32,
    free: Vec<u32>,
    next: u32,
}

/// One pair: its root and its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct IdBlock {
    first: u32,
}

impl IdBlocks {
    /// Blocks from `base`, whose first id is the server's.
    pub(crate) fn new(base: u32) -> Self {
        Self { base, free: Vec::new(), next: 1 }
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
        (self.next * 2 + 1 < WANTED).then(|| {
            let first = self.base + self.next * 2;
            self.next += 1;
            IdBlock { first }
        })
    }

    /// Only after every process of the block is reaped.
    pub(crate) fn give_back(&mut self, block: IdBlock) {
        self.free.push(block.first);
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
        let mut blocks = IdBlocks::new(PREFERRED_BASE);
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
        assert!(ids.last().unwrap() - PREFERRED_BASE < WANTED);
        blocks.give_back(all[7]);
        assert_eq!(blocks.take(), Some(all[7]));
        assert_eq!(blocks.take(), None);
    }
}
