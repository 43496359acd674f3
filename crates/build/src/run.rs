//! Bundles become trees, and trees functions.

use crate::go::GO;
use crate::{BuildError, BuildLog, Level, SourceFile, Step};
use dockless_model::{SourcePath, output::Function};
use dockless_node::{Node, capture::PROGRAM};
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::{collections::BTreeMap, num::NonZero, thread::available_parallelism, time::Instant};

/// A step and the files of its bundle.
pub(crate) struct Made<'a> {
    pub(crate) step: &'a Step,
    pub(crate) files: BTreeMap<SourcePath, SourceFile>,
    /// What is loaded, if it is not the entrypoint.
    pub(crate) main: Option<SourcePath>,
}

/// Imports the bundle of each step, as many side by side as there are cores.
///
/// Dropping the future stops it; bundles that are in place already stay, named by their content, until garbage
/// collection finds that no deployment has them.
///
/// # Errors
/// No runtime for a step, or a bundle that could not be imported.
pub(crate) async fn import_all(
    made: Vec<Made<'_>>,
    node: &Node,
    log: &dyn BuildLog,
) -> Result<BTreeMap<SourcePath, Function>, BuildError> {
    let side_by_side = available_parallelism().map_or(1, NonZero::get);
    // Made before they are streamed: a closure inside the stream would keep this future from being boxed as `Send`.
    let imports: Vec<_> = made.into_iter().map(|made| import(made, node, log)).collect();
    futures_util::stream::iter(imports).buffer_unordered(side_by_side).try_collect().await
}

async fn import(made: Made<'_>, node: &Node, log: &dyn BuildLog) -> Result<(SourcePath, Function), BuildError> {
    let Made { step, files, main } = made;
    let begin = Instant::now();
    let runtime = if step.language == GO { PROGRAM } else { step.language };
    let runtime = node.current_runtime(runtime).ok_or(BuildError::NoRuntime { language: step.language })?;
    let bundle = node
        .import_bundle(&files)
        .await
        .map_err(|source| BuildError::Import { entrypoint: step.entrypoint.clone(), source })?;
    let bundle_bytes = files.values().map(|file| file.size).sum();
    log.line(
        Level::Info,
        &format!(
            "{} → /{} ({} {}, {}, {bundle_bytes} bytes) in {} ms",
            step.entrypoint,
            step.output,
            step.language,
            runtime.version(),
            count(files.len(), "file"),
            begin.elapsed().as_millis()
        ),
    );
    let function = Function {
        entrypoint: step.entrypoint.clone(),
        main,
        bundle,
        bundle_bytes,
        files,
        runtime,
        limits: step.limits,
        helpers: step.helpers,
    };
    Ok((step.output.clone(), function))
}

/// `1 file`, `2 files`
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
