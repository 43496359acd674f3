//! Randomness as an argument, so that tests and the simulator choose it.

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The kernel's generator, getrandom(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Fails only before the pool is initialised or without the system call (Linux < 3.17): below our floor.
        getrandom::fill(buffer).expect("the kernel has getrandom(2)");
    }
}

/// `length` characters of `[a-z2-7]`, five bits each: safe in host names, ids and tokens of every client.
#[must_use]
pub fn base32(entropy: &dyn Entropy, length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0_u8; length];
    entropy.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}
