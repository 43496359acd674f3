//! Capturing PHP: `php-cgi`, the modules that this machine loads into it, and a configuration of our own.
//!
//! ```text
//! usr/bin/php-cgi                 the interpreter
//! usr/lib/php/…                   its modules, where they lie on this machine
//! opt/dockless/php/php.ini        which of them are loaded, and settings that fit a function
//! ```
//! Its launcher is the platform's own program: `dockless_fastcgi`.

use super::{
    CaptureError, Captured, Content, RUNTIME_FILE, add_common, add_library, add_zones, fingerprint, libraries_of,
    resolve, run_with,
};
use dockless_sandbox::FASTCGI;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an interpreter says of itself.
const QUESTION: &[u8] =
    b"<?php echo json_encode(['version' => PHP_MAJOR_VERSION.'.'.PHP_MINOR_VERSION.'.'.PHP_RELEASE_VERSION, \
    'sapi' => PHP_SAPI, 'modules' => ini_get('extension_dir'), 'files' => (string) php_ini_scanned_files()]);";

/// What fits a function: the platform bounds time and memory, errors go to the log and never to strangers, the one folder
/// that can be written is /tmp, and what is flushed leaves at once.
const SETTINGS: &str = "\
expose_php = 0
display_errors = 0
display_startup_errors = 0
log_errors = 1
html_errors = 0
error_reporting = E_ALL
memory_limit = -1
max_execution_time = 0
max_input_time = -1
post_max_size = 8M
upload_max_filesize = 8M
output_buffering = 0
variables_order = EGPCS
request_order = GP
cgi.force_redirect = 0
cgi.fix_pathinfo = 0
sys_temp_dir = /tmp
upload_tmp_dir = /tmp
session.save_path = /tmp
openssl.cafile = /etc/ssl/certs/ca-certificates.crt
opcache.enable = 1
opcache.memory_consumption = 64
opcache.validate_timestamps = 0
opcache.file_update_protection = 0
";

/// Oldest version.
const OLDEST: u32 = 8;

#[derive(Deserialize)]
struct Says {
    version: String,
    sapi: String,
    /// The folder of modules.
    modules: PathBuf,
    /// Configuration files that were read, separated by commas.
    files: String,
}

impl Captured {
    /// Finds PHP: `program` may be a path of `php-cgi` or a name to be looked up in PATH.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn php(program: &Path) -> Result<Self, CaptureError> {
        let said = run_with(Command::new(program).arg("-q"), program, QUESTION)?;
        let strange = || CaptureError::Strange { program: program.display().to_string(), answer: said.clone() };
        let says: Says = serde_json::from_str(&said).map_err(|_| strange())?;
        if says.sapi != "cgi-fcgi" {
            return Err(strange());
        }
        let major: u32 = says.version.split('.').next().and_then(|major| major.parse().ok()).ok_or_else(strange)?;
        if major < OLDEST {
            return Err(CaptureError::TooOld { language: "php", found: says.version, needed: "8" });
        }
        let path = found(program).ok_or_else(strange)?;
        let mut files = std::collections::BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.trim_start_matches('/').parse() {
                files.insert(path, content);
            }
        };
        add_common(&mut add)?;
        add_zones(&mut add)?;
        add(RUNTIME_FILE, Content::Bytes(runtime_file()));
        let rehearsal = include_bytes!("../../runtimes/php/rehearsal.php");
        add("opt/dockless/php/rehearsal.php", Content::Bytes(rehearsal.to_vec()));
        add("usr/bin/php-cgi", Content::Host { path: resolve(&path)?, executable: true });
        let mut linked = vec![path];
        // The launcher finds its libraries in here too.
        linked.extend(std::env::current_exe().ok());
        let mut settings = SETTINGS.to_owned();
        for file in says.files.split(',').map(str::trim).filter(|file| !file.is_empty()) {
            let text =
                std::fs::read_to_string(file).map_err(|source| CaptureError::File { path: file.into(), source })?;
            for (kind, module) in modules_of(&text, &says.modules) {
                // One that is configured and not there is told by PHP at each start, and is no reason to have none.
                if module.is_file() {
                    settings.push_str(&format!("{kind} = {}\n", module.display()));
                    add(&module.to_string_lossy(), Content::Host { path: resolve(&module)?, executable: true });
                    linked.push(module);
                }
            }
        }
        add("opt/dockless/php/php.ini", Content::Bytes(settings.into_bytes()));
        for (name, library) in libraries_of(&linked)? {
            add_library(&name, &library, &mut add)?;
        }
        let fingerprint = fingerprint(&says.version, &files)?;
        Ok(Self { language: "php", version: says.version, fingerprint, files, interpreter: None })
    }
}

fn runtime_file() -> Vec<u8> {
    let file = serde_json::json!({
        "argv": [FASTCGI, "/usr/bin/php-cgi", "-c", "/opt/dockless/php/php.ini"],
        "env": { "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": ":UTC", "PHP_INI_SCAN_DIR": "" },
    });
    file.to_string().into_bytes()
}

/// The file of a program.
fn found(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Modules that a configuration file loads, in its order: the setting and the module's file.
fn modules_of<'a>(text: &'a str, folder: &'a Path) -> impl Iterator<Item = (&'static str, PathBuf)> + 'a {
    text.lines().filter_map(|line| {
        let (key, value) = line.split(';').next()?.split_once('=')?;
        let kind = match key.trim() {
            "extension" => "extension",
            "zend_extension" => "zend_extension",
            _ => return None,
        };
        let name = value.trim().trim_matches('"');
        let name = if name.ends_with(".so") { name.to_owned() } else { format!("{name}.so") };
        Some((kind, folder.join(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::manifest_of;

    #[test]
    fn this_machines_php_is_captured_with_its_modules() {
        let captured = Captured::php(Path::new("php-cgi")).unwrap();
        assert_eq!(captured.fingerprint, Captured::php(Path::new("php-cgi")).unwrap().fingerprint);
        let (manifest, _) = captured.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        for end in ["usr/bin/php-cgi", "opt/dockless/php/php.ini", "/opcache.so", "libxml2.so.2"] {
            assert!(manifest.files.keys().any(|path| path.as_str().ends_with(end)), "{end} is missing");
        }
        assert!(Captured::php(Path::new("/bin/true")).is_err());
        assert!(matches!(
            Captured::php(Path::new("/no/such/php-cgi")),
            Err(CaptureError::NotFound { language: "php", .. })
        ));
    }

    #[test]
    fn modules_are_read_as_configuration_files_have_them() {
        let text =
            "; comment\nextension=pdo.so\nzend_extension = opcache ; always\nextension=\"/x/y.so\"\nmemory_limit=1\n";
        let found: Vec<_> =
            modules_of(text, Path::new("/m")).map(|(kind, path)| format!("{kind} {}", path.display())).collect();
        assert_eq!(found, ["extension /m/pdo.so", "zend_extension /m/opcache.so", "extension /x/y.so"]);
    }
}
