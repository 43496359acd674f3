//! The file of keys: `secret.key` in the data folder, of root, mode 0600. The server gets its lines from the warden and
//! cannot read the file; nor can a backup of the database alone.

use anyhow::{Context as _, bail};
use dockless_control::SecretKeys;
use dockless_model::{OsEntropy, Secret};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

const NAME: &str = "secret.key";
/// Room for many keys and words about them.
const MOST_BYTES: u64 = 64 * 1024;
const HEAD: &str = "# Values in the database are sealed with the first key; the others only open what was sealed with them.\n\
    # To replace it: put a line of `head -c 32 /dev/urandom | base64` before it and restart the platform.\n";

/// Reads the keys, or makes the first one.
pub(super) fn read(data: &Path) -> anyhow::Result<Secret> {
    let path = data.join(NAME);
    let options = || {
        let mut options = File::options();
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        options
    };
    let text = match options().read(true).open(&path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            if !metadata.is_file() || metadata.uid() != 0 || metadata.mode() & 0o077 != 0 {
                bail!(
                    "{0} must be a file that root alone can read\nhint: chown root {0} && chmod 600 {0}",
                    path.display()
                );
            }
            let mut text = String::new();
            file.take(MOST_BYTES)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read {}", path.display()))?;
            text
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{HEAD}{}\n", SecretKeys::random_line(&OsEntropy).expose());
            let fresh = data.join("secret.key.new");
            let _ = std::fs::remove_file(&fresh);
            let mut file = options()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&fresh)
                .with_context(|| format!("cannot write {}", fresh.display()))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            // Values sealed with a key that a power cut takes are lost.
            File::open(data)?.sync_all()?;
            text
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let keys = Secret::new(text);
    SecretKeys::parse(&keys).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(keys)
}
