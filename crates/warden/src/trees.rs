//! The root-owned tree store, and which of its trees are runtimes.

use crate::WardenError;
use crate::config::RuntimeSource;
use crate::world::World;
use dockless_model::{Digest, RuntimeId};
use dockless_sandbox::protocol::{Answer, MAX_STORED, Refusal, Runtime};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Inside a runtime's root, under [`dockless_sandbox::LAUNCHER_ROOT`]: how its launcher is started. Written by the
/// capture, read by the warden only from trees it imported itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeFile {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Inserted after the program for small memory classes, `{mib}` replaced by the heap in MiB: interpreters that size
    /// their heap by the machine would outgrow their limit. Not for large classes, where the default fits and flags cost
    /// start time (V8 rejects its code cache when flags change).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_flag: Option<String>,
    /// Environment at process start.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
}

impl RuntimeFile {
    /// Where it lies in a runtime's root.
    pub const PATH: &str = "opt/dockless/runtime.json";
    /// At and above this many MiB the interpreter's own heap limit is left alone.
    const FREE_HEAP_MIB: u32 = 2048;

    /// Program and arguments for a memory class.
    pub(crate) fn argv_for(&self, memory: dockless_model::MemoryMib) -> Vec<String> {
        let mut argv = self.argv.clone();
        if let Some(flag) = &self.heap_flag
            && memory.get() < Self::FREE_HEAP_MIB
        {
            // A quarter stays for what is not heap: stacks, buffers, code.
            argv.insert(1.min(argv.len()), flag.replace("{mib}", &(memory.get() * 3 / 4).to_string()));
        }
        argv
    }
}

/// A runtime that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) runtime: Runtime,
    pub(crate) file: RuntimeFile,
    fingerprint: String,
}

/// One line of `trees/runtimes.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Registered {
    id: RuntimeId,
    tree: Digest,
    fingerprint: String,
}

/// All runtimes of this node, captured now or in a former life: deployments name them for as long as they live.
#[derive(Debug, Default)]
pub(crate) struct Runtimes {
    known: Vec<Known>,
}

impl Runtimes {
    /// Reads the register; entries whose tree is gone or unreadable are left out.
    pub(crate) fn load(world: &World) -> Result<Self, WardenError> {
        let trees = world.trees_path();
        // What an importer left behind when the power went.
        for entry in std::fs::read_dir(&trees).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let text = match std::fs::read(trees.join("runtimes.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(WardenError::at("read the register of runtimes")(error)),
        };
        let registered: Vec<Registered> = serde_json::from_slice(&text)
            .map_err(|error| WardenError::at("read the register of runtimes")(error.into()))?;
        let mut runtimes = Self::default();
        for Registered { id, tree, fingerprint } in registered {
            match read_file(&trees, &tree) {
                Ok(file) => {
                    runtimes.known.push(Known { runtime: Runtime { id, tree, current: false }, file, fingerprint });
                }
                Err(error) => tracing::warn!(runtime = %id, error = %error, "a captured runtime is unusable"),
            }
        }
        Ok(runtimes)
    }

    /// The tree of that fingerprint, marked as current, if it was captured before.
    pub(crate) fn recall(&mut self, source: &RuntimeSource) -> bool {
        let Some(found) = self.known.iter().position(|known| known.fingerprint == source.fingerprint) else {
            return false;
        };
        self.make_current(found, &source.language);
        true
    }

    /// Adds what was just captured.
    pub(crate) fn add(&mut self, world: &World, source: &RuntimeSource, tree: Digest) -> Result<(), WardenError> {
        let failed = |error: String| WardenError::Capture(format!("{source:?}"), error);
        let id =
            RuntimeId::compose(&source.language, &source.version, &tree).map_err(|error| failed(error.to_string()))?;
        let file = read_file(&world.trees_path(), &tree).map_err(|error| failed(error.to_string()))?;
        self.known.retain(|known| known.runtime.id != id);
        self.known.push(Known {
            runtime: Runtime { id, tree, current: false },
            file,
            fingerprint: source.fingerprint.clone(),
        });
        self.make_current(self.known.len() - 1, &source.language);
        self.save(&world.trees_path()).map_err(WardenError::at("write the register of runtimes"))
    }

    fn make_current(&mut self, chosen: usize, language: &str) {
        for (index, known) in self.known.iter_mut().enumerate() {
            if known.runtime.id.language() == language {
                known.runtime.current = index == chosen;
            }
        }
    }

    fn save(&self, trees: &Path) -> io::Result<()> {
        let register: Vec<_> = self
            .known
            .iter()
            .map(|known| Registered {
                id: known.runtime.id.clone(),
                tree: known.runtime.tree,
                fingerprint: known.fingerprint.clone(),
            })
            .collect();
        let fresh = trees.join("runtimes.json.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(&register)?)?;
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(fresh, trees.join("runtimes.json"))
    }

    pub(crate) fn get(&self, id: &RuntimeId) -> Option<&Known> {
        self.known.iter().find(|known| known.runtime.id == *id)
    }

    pub(crate) fn all(&self) -> Vec<Runtime> {
        self.known.iter().map(|known| known.runtime.clone()).collect()
    }

    /// Whether a tree is the root of a runtime.
    pub(crate) fn has_tree(&self, tree: &Digest) -> bool {
        self.known.iter().any(|known| known.runtime.tree == *tree)
    }
}

fn read_file(trees: &Path, tree: &Digest) -> io::Result<RuntimeFile> {
    let path = trees.join(tree.to_string()).join(RuntimeFile::PATH);
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The folder of a tree, if it exists.
pub(crate) fn folder(world: &World, tree: &Digest) -> Result<PathBuf, Refusal> {
    let path = world.trees_path().join(tree.to_string());
    if path.is_dir() { Ok(path) } else { Err(Refusal::Unknown(format!("tree {tree}"))) }
}

/// Trees and layers that nobody put in place for so long, those of runtimes apart: in their order, behind one.
pub(crate) fn stored(
    world: &World,
    runtimes: &Runtimes,
    age: Duration,
    after: Option<&Digest>,
) -> Result<Answer, Refusal> {
    let mut trees = Vec::new();
    for folder in [world.trees_path(), world.layers_path()] {
        let unlisted = |error| Refusal::Kernel(format!("cannot list {}: {error}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(unlisted)? {
            let entry = entry.map_err(unlisted)?;
            let Some(tree) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) else { continue };
            let old = || {
                let placed = entry.metadata().and_then(|meta| meta.modified()).ok()?;
                Some(SystemTime::now().duration_since(placed).ok()? >= age)
            };
            if after.is_none_or(|after| tree > *after) && !runtimes.has_tree(&tree) && old() == Some(true) {
                trees.push(tree);
            }
        }
    }
    trees.sort_unstable();
    trees.truncate(MAX_STORED);
    Ok(Answer::Stored { trees })
}

/// Makes a tree or layer young that is asked for again.
pub(crate) fn freshen(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.set_modified(SystemTime::now())
}

/// Deletes a tree: out of its name first, so that a cut leaves only a temporary folder.
pub(crate) fn delete(world: &World, tree: &Digest) -> Result<(), Refusal> {
    let path = folder(world, tree)?;
    let away = world.trees_path().join(format!("tmp-gone-{tree}"));
    std::fs::rename(&path, &away)
        .and_then(|()| std::fs::remove_dir_all(&away))
        .map_err(|error| Refusal::Kernel(format!("cannot delete tree {tree}: {error}")))
}
