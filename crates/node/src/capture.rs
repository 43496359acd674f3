//! Capturing an interpreter of this machine into a root tree, so that what is deployed keeps running on exactly it.
//!
//! ```text
//! usr/bin/node                      the interpreter, resolved through shims and links
//! lib/… lib64/… usr/lib/…           the libraries it names, as the dynamic linker found them
//! bin/sh                            for child_process.exec
//! etc/…                             passwd, group, hosts, nsswitch.conf, CA certificates
//! opt/dockless/nodejs/*.cjs         the launcher
//! opt/dockless/runtime.json         how to start it
//! ```
//! Runs as the user who starts the platform, before any sandbox exists; only files end up in the tree, no link, no
//! set-user-id bit.

mod npm;
mod php;
mod pip;
mod program;
mod python;

pub use npm::CERTIFICATES as NPM_CERTIFICATES;
pub(crate) use npm::LANGUAGE as NPM;
pub use pip::FOLDER as PIP_FOLDER;
pub(crate) use pip::LANGUAGE as PIP;
pub use program::LANGUAGE as PROGRAM;

use dockless_model::{Digest, SourcePath};
use dockless_sandbox::bundle::{TreeFile, TreeManifest};
use rustix::fs::MemfdFlags;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

macro_rules! launcher {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../runtimes/nodejs/", $name)))),*]
    };
}

/// The launcher's files, as they stand in `runtimes/nodejs`.
const NODE_LAUNCHER: &[(&str, &[u8])] = launcher!(
    "aws.cjs",
    "capture.cjs",
    "control.cjs",
    "environment.cjs",
    "front.cjs",
    "helpers.cjs",
    "instance.cjs",
    "invocation.cjs",
    "launcher.cjs",
    "load.cjs",
    "rehearsal.cjs",
    "rehearsal/listener.js",
    "rehearsal/module.mjs",
    "report.cjs",
    "sha1.cjs",
    "shapes.cjs",
    "web.cjs",
);

/// Raised when the shape of the captured tree changes without any file of it changing.
const SHAPE: u32 = 2;

/// How to start the launcher, read by the warden: `dockless_warden::RuntimeFile`.
const RUNTIME_FILE: &str = "opt/dockless/runtime.json";

/// Names are asked of the gateway ([`dockless_sandbox::GATEWAY`]), where there is one.
const RESOLVER: &str = "nameserver 169.254.1.1\n";

/// Small files that programs look for in `/etc`.
const ETC: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nfunction:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
    ("etc/group", "root:x:0:\nfunction:x:1000:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost dockless\n::1 localhost ip6-localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ("etc/resolv.conf", RESOLVER),
];

/// Where distributions keep the bundle of CA certificates.
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Where time zones lie, and the copies of them there that nobody reads.
const ZONES: (&str, [&str; 2]) = ("/usr/share/zoneinfo", ["posix", "right"]);

/// Why an interpreter cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is none.
    #[error("no {program} was found: install it, or name it with --{language} PATH")]
    NotFound {
        /// `node`, `python`
        language: &'static str,
        /// What was looked for.
        program: String,
    },
    /// It does not run, or says nothing sensible.
    #[error("{program} does not answer as expected: {answer}")]
    Strange {
        /// What was run.
        program: String,
        /// What it said.
        answer: String,
    },
    /// Too old.
    #[error("{language} {found} is too old: {needed} or newer is needed")]
    TooOld {
        /// `node`, `python`
        language: &'static str,
        /// Its version.
        found: String,
        /// The oldest that is taken.
        needed: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An interpreter that was found, and the files that make its root.
#[derive(Debug, Clone)]
pub struct Captured {
    /// `node`
    pub language: &'static str,
    /// `20.20.2`
    pub version: String,
    /// Changes when the tree would.
    pub fingerprint: String,
    files: BTreeMap<SourcePath, Content>,
    /// The program of this machine that was captured.
    interpreter: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    /// Executable bytes.
    Program(Vec<u8>),
    Host {
        path: PathBuf,
        executable: bool,
    },
    /// What Python makes of a module.
    Compiled(python::Module),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSays {
    exec_path: PathBuf,
    version: String,
    /// Whether parts of its own library are read from files when it runs.
    #[serde(default)]
    parts_outside: bool,
}

impl Captured {
    /// Finds Node.js: `program` may be a path or a name to be looked up in PATH, a shim or the interpreter itself.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn node(program: &Path) -> Result<Self, CaptureError> {
        // Distributions that keep such parts out of the program leave the list of what could be kept out empty.
        let script = "process.stdout.write(JSON.stringify({execPath:process.execPath,version:process.versions.node,\
            partsOutside:!(process.config.variables.node_builtin_shareable_builtins??[0]).length}))";
        let said = run(Command::new(program).args(["-e", script]), program)?;
        let strange = || CaptureError::Strange { program: program.display().to_string(), answer: said.clone() };
        let NodeSays { exec_path, version, parts_outside } = serde_json::from_str(&said).map_err(|_| strange())?;
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).ok_or_else(strange)?;
        if major < 18 {
            return Err(CaptureError::TooOld { language: "node", found: version, needed: "18" });
        }
        let mut files = BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.trim_start_matches('/').parse() {
                files.insert(path, content);
            }
        };
        add_common(&mut add)?;
        for (name, bytes) in NODE_LAUNCHER {
            add(&format!("opt/dockless/nodejs/{name}"), Content::Bytes(bytes.to_vec()));
        }
        add(RUNTIME_FILE, Content::Bytes(node_runtime_file()));
        add("usr/bin/node", Content::Host { path: resolve(&exec_path)?, executable: true });
        for (name, library) in libraries_of(std::slice::from_ref(&exec_path))? {
            if parts_outside && name.starts_with("libnode") {
                add_parts(&library, &mut add)?;
            }
            add_library(&name, &library, &mut add)?;
        }
        if parts_outside {
            add_parts(&exec_path, &mut add)?;
        }
        let fingerprint = fingerprint(&version, &files)?;
        Ok(Self { language: "node", version, fingerprint, files, interpreter: Some(exec_path) })
    }

    /// Reads everything: the manifest as JSON and the contents in its order, each in memory without a name.
    ///
    /// # Errors
    /// A file changed or vanished meanwhile, or memory ran out.
    pub fn write(&self) -> io::Result<(File, File)> {
        let mut contents = File::from(rustix::fs::memfd_create("runtime-contents", MemfdFlags::CLOEXEC)?);
        let mut manifest = TreeManifest { files: BTreeMap::new() };
        let mut compiled = self.compile()?.into_iter();
        for (path, content) in &self.files {
            let (bytes, executable) = match content {
                Content::Compiled(_) => match compiled.next() {
                    Some(bytes) if !bytes.is_empty() => (bytes, false),
                    // A template, or of another version: it is compiled by whoever needs it.
                    _ => continue,
                },
                Content::Bytes(bytes) => (bytes.clone(), false),
                Content::Program(bytes) => (bytes.clone(), true),
                Content::Host { path, executable } => (std::fs::read(path)?, *executable),
            };
            contents.write_all(&bytes)?;
            let file = TreeFile { digest: Digest::of(&bytes), size: bytes.len() as u64, executable };
            manifest.files.insert(path.clone(), file);
        }
        contents.rewind()?;
        let mut text = File::from(rustix::fs::memfd_create("runtime-manifest", MemfdFlags::CLOEXEC)?);
        text.write_all(&serde_json::to_vec(&manifest)?)?;
        text.rewind()?;
        Ok((text, contents))
    }

    /// The interpreter's file on this machine.
    #[must_use]
    pub fn interpreter(&self) -> Option<&Path> {
        self.interpreter.as_deref()
    }

    /// The compiled form of each module that has one, in the order of the files.
    fn compile(&self) -> io::Result<Vec<Vec<u8>>> {
        let modules: Vec<_> = self
            .files
            .values()
            .filter_map(|content| if let Content::Compiled(module) = content { Some(module) } else { None })
            .collect();
        match &self.interpreter {
            Some(interpreter) if !modules.is_empty() => python::compile(interpreter, &modules),
            _ => Ok(Vec::new()),
        }
    }
}

/// What every root has, whatever the language.
fn add_common(add: &mut impl FnMut(&str, Content)) -> Result<(), CaptureError> {
    for (path, text) in ETC {
        add(path, Content::Bytes(text.as_bytes().to_vec()));
    }
    if let Some(bundle) = certificates() {
        add("etc/ssl/certs/ca-certificates.crt", Content::Host { path: bundle.into(), executable: false });
    }
    let shell = PathBuf::from("/bin/sh");
    add("bin/sh", Content::Host { path: resolve(&shell)?, executable: true });
    for (name, library) in libraries_of(&[shell])? {
        add_library(&name, &library, add)?;
    }
    Ok(())
}

/// What `TZ` and libraries of time zones read.
fn add_zones(add: &mut impl FnMut(&str, Content)) -> Result<(), CaptureError> {
    for (inside, path) in python::walk(Path::new(ZONES.0)).unwrap_or_default() {
        if !ZONES.1.iter().any(|copy| inside.starts_with(&format!("{copy}/"))) {
            add(&format!("{}/{inside}", ZONES.0), Content::Host { path: resolve(&path)?, executable: false });
        }
    }
    Ok(())
}

/// The bundle of CA certificates of this machine.
#[must_use]
pub fn certificates() -> Option<&'static Path> {
    CERTIFICATES.iter().map(Path::new).find(|path| path.is_file())
}

/// A library where programs look for it.
fn add_library(name: &str, library: &Path, add: &mut impl FnMut(&str, Content)) -> Result<(), CaptureError> {
    let content = Content::Host { path: resolve(library)?, executable: true };
    let standard = ["/lib", "/usr/lib"]
        .iter()
        .any(|folder| library.starts_with(folder) || library.starts_with(format!("{folder}64")));
    if !standard {
        // Found by a path relative to the interpreter, which moves to /usr/bin: the linker looks here too.
        add(&format!("usr/lib/{name}"), content.clone());
    }
    add(&library.to_string_lossy(), content);
    Ok(())
}

fn node_runtime_file() -> Vec<u8> {
    // One thread for V8's background work and one arena of malloc: four threads and 0.3 MB less in every instance, and
    // fewer threads to freeze and thaw. Neither is a flag of V8 itself: those make Node start slower.
    let file = serde_json::json!({
        "argv": ["/usr/bin/node", "--v8-pool-size=1", "/opt/dockless/nodejs/launcher.cjs"],
        "heap_flag": "--max-old-space-size={mib}",
        "env": { "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": ":UTC", "MALLOC_ARENA_MAX": "1" },
    });
    file.to_string().into_bytes()
}

/// Runs a program with a clean environment but PATH and HOME, which shims need.
fn run(command: &mut Command, program: &Path) -> Result<String, CaptureError> {
    run_with(command, program, b"")
}

/// The same, with something to read.
fn run_with(command: &mut Command, program: &Path, input: &[u8]) -> Result<String, CaptureError> {
    let kept = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let output = stdin_of(input).and_then(|stdin| command.env_clear().envs(kept).stdin(stdin).output());
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            CaptureError::NotFound { language: language_of(program), program: program.display().to_string() }
        }
        _ => CaptureError::File { path: program.into(), source: error },
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(CaptureError::Strange { program: program.display().to_string(), answer: text(&output.stderr) })
    }
}

/// A file without a name that holds this.
fn stdin_of(input: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

fn resolve(path: &Path) -> Result<PathBuf, CaptureError> {
    path.canonicalize().map_err(|source| CaptureError::File { path: path.into(), source })
}

/// The flag that names such a program.
fn language_of(program: &Path) -> &'static str {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        name if name.starts_with("py") => "python",
        name if name.starts_with("php") => "php",
        _ => "node",
    }
}

/// Name and path of each library the dynamic linker loads for programs and modules, the linker included (ldd(1)).
fn libraries_of(programs: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>, CaptureError> {
    let text = run(Command::new("ldd").args(programs), Path::new("ldd"))?;
    Ok(parse_ldd(&text).into_iter().collect())
}

/// Those of these libraries that the machine has, by the dynamic linker's own list (ldconfig(8)).
fn installed(names: &[&str]) -> Vec<(String, PathBuf)> {
    // Outside of PATH for everybody but root. Without it there are none, as on a machine without the libraries.
    let listed = run(Command::new("/sbin/ldconfig").arg("-p"), Path::new("ldconfig")).unwrap_or_default();
    let is_ours = |line: &&str| line.contains(if cfg!(target_arch = "aarch64") { "AArch64" } else { "x86-64" });
    let mut found = parse_ldd(&listed.lines().filter(is_ours).collect::<Vec<_>>().join("\n"));
    found.retain(|(name, _)| names.contains(&name.as_str()));
    found
}

fn parse_ldd(text: &str) -> Vec<(String, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            // Of several programs each is named before its libraries.
            let line = line.trim();
            if line.ends_with(':') {
                return None;
            }
            let place = line.split_once(" => ").map_or(line, |(_, place)| place);
            let path = place.split(" (").next().map(str::trim).filter(|path| path.starts_with('/'))?;
            let name = Path::new(path).file_name()?.to_string_lossy().into_owned();
            Some((name, PathBuf::from(path)))
        })
        .collect()
}

fn fingerprint(version: &str, files: &BTreeMap<SourcePath, Content>) -> Result<String, CaptureError> {
    let mut list = format!("{SHAPE} {version}\n");
    for (path, content) in files {
        use std::fmt::Write as _;
        let _ = match content {
            Content::Bytes(bytes) | Content::Program(bytes) => writeln!(list, "{path} {}", Digest::of(bytes)),
            Content::Compiled(python::Module::Text { text, .. }) => writeln!(list, "{path} {}", Digest::of(text)),
            Content::Host { path: host, .. } | Content::Compiled(python::Module::Host(host)) => {
                let found =
                    std::fs::metadata(host).map_err(|source| CaptureError::File { path: host.clone(), source })?;
                let stamp = (found.len(), found.mtime(), found.mtime_nsec(), found.ino());
                writeln!(list, "{path} {} {stamp:?}", host.display())
            }
        };
    }
    Ok(Digest::of(list.as_bytes()).to_string())
}

/// Adds the files that a program names as parts of its library (Debian: `/usr/share/nodejs/undici/undici-fetch.js` and a
/// few more). Without them it crashes when it comes to need one.
fn add_parts(program: &Path, add: &mut impl FnMut(&str, Content)) -> Result<(), CaptureError> {
    let program = resolve(program)?;
    let bytes = std::fs::read(&program).map_err(|source| CaptureError::File { path: program, source })?;
    for path in named_scripts(&bytes) {
        if Path::new(path).is_file() {
            add(path, Content::Host { path: resolve(Path::new(path))?, executable: false });
        }
    }
    Ok(())
}

/// Strings of a program that are absolute paths of scripts.
fn named_scripts(bytes: &[u8]) -> Vec<&str> {
    let strings = bytes.split(|byte| *byte == 0).filter(|text| text.first() == Some(&b'/'));
    strings.filter(|text| text.ends_with(b".js")).filter_map(|text| std::str::from_utf8(text).ok()).collect()
}

/// Reads a file descriptor that was written by [`Captured::write`]; for tests.
#[cfg(test)]
fn manifest_of(mut file: &File) -> TreeManifest {
    use std::io::Read as _;
    let mut text = String::new();
    file.read_to_string(&mut text).expect("a memfd can be read");
    serde_json::from_str(&text).expect("it was written as JSON")
}

/// The files of a launcher that are part of it, by the end of their names; for tests.
#[cfg(test)]
fn files_of_launcher(folder: &str, end: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes").join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the launcher").map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
            if path.is_dir() {
                if !["test", "testkit", "bench"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(end) {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_launcher_is_captured() {
        let mut listed: Vec<_> = NODE_LAUNCHER.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, files_of_launcher("nodejs", "js"));
    }

    #[test]
    fn libraries_are_read_as_ldd_prints_them() {
        let text = "\tlinux-vdso.so.1 (0x7ff)\n\tlibdl.so.2 => /lib/x86_64-linux-gnu/libdl.so.2 (0x7f)\n\tlibx.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let paths: Vec<_> = parse_ldd(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(paths, ["libdl.so.2", "ld-linux-x86-64.so.2"]);
        assert!(parse_ldd("\tstatically linked\n").is_empty());
    }

    #[test]
    fn scripts_that_a_program_names_are_found() {
        let bytes = b"\x7fELF\0/usr/share/nodejs/acorn/dist/acorn.js\0not/absolute.js\0/usr/lib/x\0/a\xff.js\0/b.js";
        assert_eq!(named_scripts(bytes), ["/usr/share/nodejs/acorn/dist/acorn.js", "/b.js"]);
    }

    #[test]
    fn this_machines_node_is_captured_with_everything_it_loads() {
        let captured = Captured::node(Path::new("node")).unwrap();
        assert_eq!(captured.fingerprint, Captured::node(Path::new("node")).unwrap().fingerprint);
        let (manifest, contents) = captured.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        assert_eq!(contents.metadata().unwrap().len(), manifest.content_bytes());
        for path in
            ["usr/bin/node", "bin/sh", "opt/dockless/nodejs/launcher.cjs", "opt/dockless/runtime.json", "etc/passwd"]
        {
            assert!(manifest.files.contains_key(&path.parse::<SourcePath>().unwrap()), "{path} is missing");
        }
    }

    #[test]
    fn a_missing_interpreter_is_named_with_its_cure() {
        let error = Captured::node(Path::new("/nonexistent/node")).unwrap_err();
        assert!(error.to_string().contains("--node"), "{error}");
    }
}
