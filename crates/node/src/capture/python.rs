//! Capturing Python: the interpreter, its own library and what that loads, compiled so that no start compiles anything.
//!
//! ```text
//! usr/bin/python3                        the interpreter: it finds its library from where it lies
//! usr/lib/python3.11/…                   the standard library without tests, its editor and Tk
//! usr/lib/python3.11/**/__pycache__/…    compiled, valid whatever the time of its source
//! lib/… usr/lib/…                        libraries that it and compiled packages are linked to
//! usr/share/zoneinfo/…                   what `TZ` and `zoneinfo` read
//! opt/dockless/python/…                  the launcher
//! ```

use super::{
    CaptureError, Captured, Content, RUNTIME_FILE, add_common, add_library, add_zones, certificates, fingerprint,
    installed, libraries_of, resolve, run,
};
use rustix::fs::MemfdFlags;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

macro_rules! launcher {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../runtimes/python/", $name)))),*]
    };
}

/// The launcher's files, as they stand in `runtimes/python`.
const LAUNCHER: &[(&str, &[u8])] = launcher!(
    "launcher.py",
    "_dockless/__init__.py",
    "_dockless/asgi.py",
    "_dockless/control.py",
    "_dockless/handler.py",
    "_dockless/instance.py",
    "_dockless/load.py",
    "_dockless/message.py",
    "_dockless/rehearsal.py",
    "_dockless/report.py",
    "_dockless/server.py",
    "_dockless/wsgi.py",
);

/// What an interpreter says of itself.
const QUESTION: &str = "import json,os,sys,sysconfig\n\
    path=sysconfig.get_path\n\
    try: import ssl; certificates=ssl.get_default_verify_paths().openssl_cafile\n\
    except ImportError: certificates=None\n\
    print(json.dumps({'program':os.path.realpath(getattr(sys,'_base_executable',None) or sys.executable),\
    'version':'.'.join(map(str,sys.version_info[:3])),'minor':list(sys.version_info[:2]),\
    'implementation':sys.implementation.name,'tag':sys.implementation.cache_tag,'folder':sys.platlibdir,\
    'library':path('stdlib'),'platform':path('platstdlib'),'certificates':certificates}))";

/// Compiles many files in one process: a JSON list of [name, path or null, text or null] comes in, for each a length of
/// four bytes and a compiled file go out. Of what this machine has compiled already only the head is replaced, by one
/// that says not to look at the source's time: a file's time is not kept in trees.
const COMPILER: &str = "import importlib.util,json,marshal,os,sys\n\
    out=sys.stdout.buffer\n\
    magic=importlib.util.MAGIC_NUMBER\n\
    def kept(path,stat):\n\
    \x20with open(importlib.util.cache_from_source(path),'rb') as file:\n\
    \x20 data=file.read()\n\
    \x20now=int(stat.st_mtime)&0xFFFFFFFF,stat.st_size&0xFFFFFFFF\n\
    \x20then=int.from_bytes(data[8:12],'little'),int.from_bytes(data[12:16],'little')\n\
    \x20return data[16:] if data[:8]==magic+bytes(4) and now==then else None\n\
    for name,path,text in json.load(sys.stdin.buffer):\n\
    \x20code=None\n\
    \x20try:\n\
    \x20 if path is not None:\n\
    \x20  try: code=kept(path,os.stat(path))\n\
    \x20  except OSError: pass\n\
    \x20  if code is None:\n\
    \x20   with open(path,'rb') as file: text=file.read()\n\
    \x20 if code is None: code=marshal.dumps(compile(text,name,'exec',dont_inherit=True))\n\
    \x20 made=magic+(1).to_bytes(4,'little')+bytes(8)+code\n\
    \x20except Exception: made=b''\n\
    \x20out.write(len(made).to_bytes(4,'little')+made)\n";

/// Oldest version: what the launcher and the frameworks of today ask for.
const OLDEST: [u32; 2] = [3, 10];
/// Folders of the library that no function needs: tests, editors, what is installed beside it, what it was built with.
const LEFT_OUT: [&str; 12] = [
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "__pycache__",
];
/// Most files of a library; there are some 800.
const MAX_FILES: usize = 20_000;
/// Libraries that compiled packages take for granted: the wheels of PyPI name them and bring all others along (PEP 599,
/// without those of a desktop; auditwheel's list of later policies for the last two).
const TAKEN_FOR_GRANTED: [&str; 11] = [
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libm.so.6",
    "libdl.so.2",
    "librt.so.1",
    "libpthread.so.0",
    "libutil.so.1",
    "libresolv.so.2",
    "libnsl.so.1",
    "libz.so.1",
    "libexpat.so.1",
];
/// What distributions add to a library for their own sake.
const ADDED: [&str; 3] = ["sitecustomize.py", "usercustomize.py", "EXTERNALLY-MANAGED"];

#[derive(Deserialize)]
struct Says {
    program: PathBuf,
    version: String,
    minor: [u32; 2],
    implementation: String,
    tag: String,
    /// `lib`, `lib64`
    folder: String,
    library: PathBuf,
    platform: PathBuf,
    /// Where its TLS looks for certificates.
    certificates: Option<String>,
}

/// A module whose compiled form is part of the tree.
#[derive(Debug, Clone)]
pub(super) enum Module {
    /// Of this machine.
    Host(PathBuf),
    /// Of ours.
    Text { name: String, text: &'static [u8] },
}

impl Captured {
    /// Finds Python: `program` may be a path or a name to be looked up in PATH, a shim, an interpreter of a virtual
    /// environment or the interpreter itself.
    ///
    /// # Errors
    /// See [`CaptureError`].
    pub fn python(program: &Path) -> Result<Self, CaptureError> {
        let said = run(Command::new(program).args(["-c", QUESTION]), program)?;
        let strange = || CaptureError::Strange { program: program.display().to_string(), answer: said.clone() };
        let says: Says = serde_json::from_str(&said).map_err(|_| strange())?;
        if says.implementation != "cpython" {
            return Err(strange());
        }
        if says.minor < OLDEST {
            return Err(CaptureError::TooOld { language: "python", found: says.version, needed: "3.10" });
        }
        let mut files = std::collections::BTreeMap::new();
        let mut add = |path: &str, content| {
            if let Ok(path) = path.trim_start_matches('/').parse() {
                files.insert(path, content);
            }
        };
        add_common(&mut add)?;
        if let (Some(target), Some(bundle)) = (&says.certificates, certificates()) {
            add(target, Content::Host { path: resolve(bundle)?, executable: false });
        }
        for (name, text) in LAUNCHER {
            let path = format!("opt/dockless/python/{name}");
            let module = Module::Text { name: format!("/{path}"), text };
            add(&path, Content::Bytes(text.to_vec()));
            if let Some(compiled) = compiled(&path, &says.tag) {
                add(&compiled, Content::Compiled(module));
            }
        }
        add(RUNTIME_FILE, Content::Bytes(runtime_file()));
        add("usr/bin/python3", Content::Host { path: resolve(&says.program)?, executable: true });
        let [major, minor] = says.minor;
        let home = format!("usr/{}/python{major}.{minor}", says.folder);
        let mut linked = vec![says.program.clone()];
        let mut library = walk(&says.library)?;
        if says.platform != says.library {
            library.extend(walk(&says.platform)?);
        }
        for (inside, path) in library {
            let name = inside.rsplit('/').next().unwrap_or_default();
            if ADDED.contains(&name) {
                continue;
            }
            let target = format!("{home}/{inside}");
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("py") => {
                    if let Some(compiled) = compiled(&target, &says.tag) {
                        add(&compiled, Content::Compiled(Module::Host(path.clone())));
                    }
                }
                Some("so") if is_for_tests(name) => continue,
                Some("so") => linked.push(path.clone()),
                _ => {}
            }
            add(&target, Content::Host { path, executable: false });
        }
        let granted = installed(&TAKEN_FOR_GRANTED);
        linked.extend(granted.iter().map(|(_, path)| path.clone()));
        for (name, library) in libraries_of(&linked)?.into_iter().chain(granted) {
            add_library(&name, &library, &mut add)?;
        }
        add_zones(&mut add)?;
        let fingerprint = fingerprint(&says.version, &files)?;
        let interpreter = Some(says.program);
        Ok(Self { language: "python", version: says.version, fingerprint, files, interpreter })
    }
}

/// Compiles modules, in their order; empty for one that cannot be.
pub(super) fn compile(interpreter: &Path, modules: &[&Module]) -> io::Result<Vec<Vec<u8>>> {
    let list: Vec<_> = modules
        .iter()
        .map(|module| match module {
            Module::Host(path) => (path.to_string_lossy().into_owned(), Some(path), None),
            Module::Text { name, text } => (name.clone(), None, Some(String::from_utf8_lossy(text))),
        })
        .collect();
    let mut orders = File::from(rustix::fs::memfd_create("modules", MemfdFlags::CLOEXEC)?);
    orders.write_all(&serde_json::to_vec(&list)?)?;
    orders.rewind()?;
    let output = Command::new(interpreter)
        .args(["-I", "-S", "-B", "-c", COMPILER])
        .env_clear()
        .stdin(Stdio::from(orders))
        .stderr(Stdio::piped())
        .output()?;
    let failed = || io::Error::other(format!("python: {}", String::from_utf8_lossy(&output.stderr).trim()));
    if !output.status.success() {
        return Err(failed());
    }
    let mut rest = output.stdout.as_slice();
    let mut next = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (made, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        rest = after;
        Some(made.to_vec())
    };
    modules.iter().map(|_| next().ok_or_else(failed)).collect()
}

fn runtime_file() -> Vec<u8> {
    // No home of packages outside of the bundle, and no attempt to write compiled files into it.
    let file = serde_json::json!({
        "argv": ["/usr/bin/python3", "-s", "-B", "/opt/dockless/python/launcher.py"],
        "env": { "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": ":UTC", "MALLOC_ARENA_MAX": "1" },
    });
    file.to_string().into_bytes()
}

/// Where the compiled form of a module is looked for: `a/b.py` → `a/__pycache__/b.cpython-311.pyc`.
pub(super) fn compiled(path: &str, tag: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    Some(format!("{folder}/__pycache__/{}.{tag}.pyc", name.strip_suffix(".py")?))
}

/// The part of compiled files' names that tells interpreters apart.
pub(super) fn tag(interpreter: &Path) -> Result<String, CaptureError> {
    run(Command::new(interpreter).args(["-I", "-c", "import sys; print(sys.implementation.cache_tag)"]), interpreter)
}

fn is_for_tests(name: &str) -> bool {
    ["_test", "_ctypes_test", "_xxtestfuzz", "xxlimited", "_tkinter"].iter().any(|begin| name.starts_with(begin))
}

/// Every file below a folder, by its path inside; links are followed to files, not to folders.
pub(super) fn walk(root: &Path) -> Result<Vec<(String, PathBuf)>, CaptureError> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| CaptureError::File { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, path, name) = (entry.file_type().map_err(failed)?, entry.path(), entry.file_name());
            let left_out = LEFT_OUT.iter().any(|known| name == *known) || name.to_string_lossy().starts_with("config-");
            if kind.is_dir() && !left_out {
                folders.push(path);
            } else if (kind.is_file() || (kind.is_symlink() && path.is_file())) && found.len() < MAX_FILES {
                let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((inside, path));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{files_of_launcher, manifest_of};

    #[test]
    fn the_whole_launcher_is_captured() {
        let mut listed: Vec<_> = LAUNCHER.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(listed, files_of_launcher("python", "py"));
    }

    #[test]
    fn this_machines_python_is_captured_with_everything_it_loads() {
        let captured = Captured::python(Path::new("python3")).unwrap();
        assert_eq!(captured.fingerprint, Captured::python(Path::new("python3")).unwrap().fingerprint);
        let (manifest, contents) = captured.write().unwrap();
        let manifest = manifest_of(&manifest);
        manifest.check().unwrap();
        assert_eq!(contents.metadata().unwrap().len(), manifest.content_bytes());
        let minor = captured.version.rsplit_once('.').unwrap().0;
        let names: Vec<_> = manifest.files.keys().map(|path| path.as_str()).collect();
        let has = |end: &str| names.iter().any(|name| name.ends_with(end));
        for end in [
            "usr/bin/python3",
            "bin/sh",
            "opt/dockless/python/launcher.py",
            "/json/__init__.py",
            "/sqlite3/__init__.py",
        ] {
            assert!(has(end), "{end} is missing");
        }
        let digits = minor.replace('.', "");
        assert!(has(&format!("python{minor}/json/__pycache__/decoder.cpython-{digits}.pyc")), "not compiled");
        assert!(has(&format!("_dockless/__pycache__/instance.cpython-{digits}.pyc")), "not compiled");
        for part in ["/test/", "/idlelib/", "site-packages", "EXTERNALLY-MANAGED"] {
            assert!(!names.iter().any(|name| name.contains(part)), "{part} is in it");
        }
        // Built in, or found with the library that it is linked to.
        for library in ["libssl", "libsqlite3"] {
            let module = if library == "libssl" { "/_ssl." } else { "/_sqlite3." };
            let is_module = names.iter().any(|name| name.contains(module));
            assert!(!is_module || names.iter().any(|name| name.contains(library)), "{library} is missing");
        }
    }

    #[test]
    fn what_is_no_python_is_refused() {
        assert!(matches!(Captured::python(Path::new("/nonexistent/python3")), Err(CaptureError::NotFound { .. })));
        assert!(Captured::python(Path::new("/bin/true")).is_err());
    }

    #[test]
    fn modules_are_compiled_and_mistakes_left_out() {
        let text = |text| Module::Text { name: "/x.py".into(), text };
        let made = compile(Path::new("python3"), &[&text(b"x = 1"), &text(b"x = (")]).unwrap();
        assert_eq!((made.len(), made[1].len()), (2, 0));
        assert_eq!(made[0][4..8], [1, 0, 0, 0], "valid whatever its source says");
    }
}
