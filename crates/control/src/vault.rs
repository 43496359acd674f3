//! Sealing of values that must not lie in the clear: XChaCha20-Poly1305, under a key that is a file of root's.
//!
//! ```text
//! k1.KEYID.BASE64(nonce ‖ ciphertext ‖ tag)
//! ```
//! KEYID is the beginning of the key's own digest, so that it is known which key to take. What a value is for (its table
//! and row) is authenticated with it: a value that somebody moves to another row does not open.
//!
//! The first key seals, the others only open: a key is replaced by putting a new one before it. At the next start every
//! value is sealed anew, and the old key may go.

use crate::{Control, Error};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use data_encoding::BASE64;
use dockless_model::{Digest, Entropy, Secret};
use dockless_store::SealedColumn;
use std::{collections::BTreeMap, fmt, sync::Arc};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Characters of a key's name.
const NAME: usize = 12;

/// The keys of a platform, the one that seals first.
#[derive(Clone)]
pub struct SecretKeys(Arc<[Key]>);

struct Key {
    name: String,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.name)).finish()
    }
}

/// A file of keys that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeysError {
    /// There is no key in it.
    #[error("there is no key in it")]
    Empty,
    /// A line is no key. What it says is not repeated.
    #[error("line {0} is not the base64 of 32 bytes")]
    Line(usize),
}

impl SecretKeys {
    /// Reads a file of keys: one a line, in base64; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(text: &Secret) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.expose().lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = BASE64.decode(line.as_bytes()).map_err(|_| KeysError::Line(number))?;
            let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| KeysError::Line(number))?;
            let mut name = Digest::of(&bytes).to_string();
            name.truncate(NAME);
            keys.push(Key { name, cipher });
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys.into())) }
    }

    /// A new key, as a line of the file.
    #[must_use]
    pub fn random_line(entropy: &dyn Entropy) -> Secret {
        let mut key = [0; KEY_BYTES];
        entropy.fill(&mut key);
        Secret::new(BASE64.encode(&key))
    }

    /// What everything sealed by the first key begins with.
    fn prefix(&self) -> String {
        format!("k1.{}.", self.0[0].name)
    }

    /// Seals a value for one purpose.
    pub(crate) fn seal(&self, entropy: &dyn Entropy, purpose: &str, value: &str) -> String {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: value.as_bytes(), aad: purpose.as_bytes() };
        let sealed = self.0[0].cipher.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.expect("a value is shorter than the cipher's 256 GiB");
        format!("{}{}", self.prefix(), BASE64.encode(&[&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for this purpose.
    pub(crate) fn open(&self, purpose: &str, sealed: &str) -> Result<Secret, Error> {
        let open = || {
            let (name, text) = sealed.strip_prefix("k1.")?.split_once('.')?;
            let key = self.0.iter().find(|key| key.name == name)?;
            let bytes = BASE64.decode(text.as_bytes()).ok()?;
            let (nonce, text) = bytes.split_at_checked(NONCE_BYTES)?;
            let payload = Payload { msg: text, aad: purpose.as_bytes() };
            let value = key.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()?;
            String::from_utf8(value).ok().map(Secret::new)
        };
        open().ok_or(Error::Damaged("a sealed value, or its key,"))
    }

    /// Whether there is a key for it; what is in the clear needs none.
    fn knows(&self, sealed: &str) -> bool {
        let name = sealed.strip_prefix("k1.").and_then(|rest| rest.split_once('.'));
        name.is_none_or(|(name, _)| self.0.iter().any(|key| key.name == name))
    }
}

/// What a value is for.
pub(crate) fn purpose(column: SealedColumn, id: &str) -> String {
    let what = match column {
        SealedColumn::Environment => "env",
        SealedColumn::BuildEnvironment => "build env",
        SealedColumn::Secret => "secret",
        SealedColumn::Variable => "variable",
    };
    format!("{what} of {id}")
}

impl Control {
    pub(crate) fn seal(&self, column: SealedColumn, id: &str, value: &str) -> String {
        self.config().keys.seal(self.entropy(), &purpose(column, id), value)
    }

    pub(crate) fn unseal(&self, column: SealedColumn, id: &str, sealed: &str) -> Result<Secret, Error> {
        self.config().keys.open(&purpose(column, id), sealed)
    }

    /// An environment, sealed.
    pub(crate) fn seal_env(&self, column: SealedColumn, id: &str, env: &BTreeMap<String, Secret>) -> String {
        let json = serde_json::to_string(env).expect("a map of strings is JSON");
        self.seal(column, id, &json)
    }

    /// An environment, opened.
    pub(crate) fn open_env(
        &self,
        column: SealedColumn,
        id: &str,
        sealed: &str,
    ) -> Result<BTreeMap<String, Secret>, Error> {
        // An older program wrote it in the clear and may still do so during a hand-over.
        let json = if sealed.starts_with('{') { Secret::new(sealed) } else { self.unseal(column, id, sealed)? };
        serde_json::from_str(json.expose()).map_err(|_| Error::Damaged("an environment"))
    }

    /// Seals with the first key whatever is in the clear or sealed with another. Every step is whole by itself: broken
    /// off, it goes on at the next start.
    pub(crate) async fn seal_all(&self) -> Result<(), Error> {
        let prefix = self.config().keys.prefix();
        let mut count = 0;
        for column in SealedColumn::ALL {
            let mut after = String::new();
            loop {
                let found = self.db().sealed_otherwise(column, &prefix, &after).await?;
                let Some((last, _)) = found.last() else { break };
                after.clone_from(last);
                let mut anew = Vec::new();
                for (id, before) in found {
                    if !self.config().keys.knows(&before) {
                        return Err(Error::KeyMissing);
                    }
                    let value = match column {
                        SealedColumn::Environment if before.starts_with('{') => Secret::new(before.as_str()),
                        _ => self.unseal(column, &id, &before)?,
                    };
                    let now = self.seal(column, &id, value.expose());
                    anew.push((id, before, now));
                }
                count += anew.len();
                self.db().seal_again(column, &anew, self.now()).await?;
            }
        }
        if count > 0 {
            tracing::info!(count, "values sealed with the current key");
        }
        Ok(self.db().settle_seals(&prefix, count > 0, self.now()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    fn keys(lines: &[&Secret]) -> SecretKeys {
        let text = lines.iter().map(|line| line.expose()).collect::<Vec<_>>().join("\n");
        SecretKeys::parse(&Secret::new(text)).unwrap()
    }

    #[test]
    fn a_value_opens_with_its_key_for_its_purpose_and_no_other() {
        let (old, new) = (SecretKeys::random_line(&OsEntropy), SecretKeys::random_line(&OsEntropy));
        let before = keys(&[&old]);
        let sealed = before.seal(&OsEntropy, "secret of 1", "hush");
        assert!(!sealed.contains("hush") && sealed.starts_with(&before.prefix()));
        assert_ne!(sealed, before.seal(&OsEntropy, "secret of 1", "hush"), "two seals of one value look alike");
        let open =
            |keys: &SecretKeys, purpose, sealed: &str| keys.open(purpose, sealed).ok().map(|s| s.expose().to_owned());
        assert_eq!(open(&before, "secret of 1", &sealed).as_deref(), Some("hush"));
        assert_eq!(open(&keys(&[&new, &old]), "secret of 1", &sealed).as_deref(), Some("hush"));
        assert_eq!(open(&before, "secret of 2", &sealed), None);
        assert_eq!(open(&keys(&[&new]), "secret of 1", &sealed), None);
        assert!(keys(&[&new, &old]).knows(&sealed) && !keys(&[&new]).knows(&sealed));
        // One flipped bit anywhere behind the key's name.
        let (head, tail) = sealed.rsplit_once('.').unwrap();
        for index in [0, 24, tail.len() / 2] {
            let mut bytes = BASE64.decode(tail.as_bytes()).unwrap();
            let place = index.min(bytes.len() - 1);
            bytes[place] ^= 1;
            assert_eq!(open(&before, "secret of 1", &format!("{head}.{}", BASE64.encode(&bytes))), None, "{index}");
        }
        for bad in ["", "k1.", "k1.x.y", "{}", &sealed[..sealed.len() - 4]] {
            assert_eq!(open(&before, "secret of 1", bad), None, "{bad:?}");
        }
    }

    #[test]
    fn files_of_keys() {
        let key = SecretKeys::random_line(&OsEntropy);
        let parse = |text: &str| SecretKeys::parse(&Secret::new(text)).map(|keys| keys.0.len());
        assert_eq!(parse(&format!("# comment\n\n {} \n", key.expose())), Ok(1));
        assert_eq!(parse(&format!("{0}\n{0}", key.expose())), Ok(2));
        assert_eq!(parse(""), Err(KeysError::Empty));
        assert_eq!(parse("# only\n"), Err(KeysError::Empty));
        assert_eq!(parse("short"), Err(KeysError::Line(1)));
        assert_eq!(parse(&format!("{}\nAAAA", key.expose())), Err(KeysError::Line(2)));
        assert!(!format!("{:?}", keys(&[&key])).contains(key.expose()));
    }
}
