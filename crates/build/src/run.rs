//! From a plan to an output.

use crate::{BuildError, BuildLog, Level, Plan, Step};
use dockless_model::{Output, SourcePath, output::Function};
use dockless_node::Node;
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::{collections::BTreeMap, num::NonZero, thread::available_parallelism, time::Instant};

/// Carries a plan out: imports the bundle of each step, as many side by side as there are cores.
///
/// Dropping the future stops it; bundles that are in place already stay, named by their content, until garbage
/// collection finds that no deployment has them.
///
/// # Errors
/// No runtime for a step, or a bundle that could not be imported.
pub async fn run(plan: Plan, node: &Node, log: &dyn BuildLog) -> Result<Output, BuildError> {
    let begin = Instant::now();
    for warning in &plan.warnings {
        log.line(Level::Warn, warning);
    }
    let side_by_side = available_parallelism().map_or(1, NonZero::get);
    // Made before they are streamed: a closure inside the stream would keep this future from being boxed as `Send`.
    let imports: Vec<_> = plan.steps.iter().map(|step| import(&plan, step, node, log)).collect();
    let functions: BTreeMap<SourcePath, Function> =
        futures_util::stream::iter(imports).buffer_unordered(side_by_side).try_collect().await?;
    log.line(
        Level::Info,
        &format!(
            "built {} and {} in {} ms",
            count(functions.len(), "function"),
            count(plan.files.len(), "file"),
            begin.elapsed().as_millis()
        ),
    );
    Ok(Output {
        version: Output::VERSION,
        routes: plan.routes,
        files: plan.files,
        functions,
        services: BTreeMap::new(),
    })
}

async fn import(
    plan: &Plan,
    step: &Step,
    node: &Node,
    log: &dyn BuildLog,
) -> Result<(SourcePath, Function), BuildError> {
    let begin = Instant::now();
    let runtime = node.current_runtime(step.language).ok_or(BuildError::NoRuntime { language: step.language })?;
    let files = plan.bundle(step);
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
            runtime.language(),
            runtime.version(),
            count(files.len(), "file"),
            begin.elapsed().as_millis()
        ),
    );
    let function = Function {
        entrypoint: step.entrypoint.clone(),
        bundle,
        bundle_bytes,
        files,
        runtime,
        limits: step.limits,
        helpers: true,
    };
    Ok((step.output.clone(), function))
}

/// `1 file`, `2 files`
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
