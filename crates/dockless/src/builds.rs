//! What `dockless serve` says about builds: the machine's npm, and which way to the registries its settings mean.

use anyhow::Context as _;
use dockless_build::BuildSettings;
use dockless_node::capture::{Captured, certificates};
use dockless_node::workshop::{Allowed, NpmSettings};
use std::path::Path;

/// Flags about builds.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BuildArgs {
    /// Registry that builds install from; default: what the machine's npm is configured to use
    #[arg(long, value_name = "URL", env = "DOCKLESS_NPM_REGISTRY")]
    npm_registry: Option<String>,
    /// Index that builds install Python packages from; default: PIP_INDEX_URL, or the public one
    #[arg(long, value_name = "URL", env = "DOCKLESS_PIP_INDEX")]
    pip_index: Option<String>,
    /// Another host that builds may connect to, HOST or HOST:PORT; may be repeated. The registries of npm, yarn and pip always are
    #[arg(long, value_name = "HOST", env = "DOCKLESS_BUILD_ALLOW", value_delimiter = ',')]
    build_allow: Vec<Allowed>,
    /// HTTP proxy through which builds reach registries; default: that of the machine's npm. "none" for none
    #[arg(long, value_name = "URL", env = "DOCKLESS_BUILD_PROXY")]
    build_proxy: Option<String>,
    /// MiB of build results that are kept for later builds
    #[arg(long, value_name = "MIB", env = "DOCKLESS_BUILD_CACHE", default_value_t = 4096)]
    build_cache: u64,
}

/// The npm to capture, if there is one, and what builds are told.
pub(crate) fn prepare(args: &BuildArgs, node: &Captured) -> anyhow::Result<(Option<Captured>, BuildSettings)> {
    let interpreter = node.interpreter().context("the captured tree has no interpreter")?;
    let mut machine = NpmSettings::of_machine(interpreter, |name| std::env::var(name).ok());
    if let Some(file) = machine.certificates.take_if(|file| !file.is_file()) {
        tracing::warn!(file = %file.display(), "the certificates that npm is told to trust are not there");
    }
    let npm = Captured::npm(interpreter, machine.certificates.as_deref())?;
    if npm.is_none() {
        tracing::warn!("no npm beside {}: projects with packages cannot be built", interpreter.display());
    }
    let mut settings = BuildSettings {
        certificates: machine.certificates.is_some(),
        headers: headers(interpreter, &node.version),
        cache_bytes: args.build_cache.saturating_mul(1 << 20),
        pip_index: args
            .pip_index
            .clone()
            .or_else(|| std::env::var("PIP_INDEX_URL").ok().filter(|url| !url.is_empty() && !url.contains('@'))),
        system_certificates: certificates().is_some(),
        ..BuildSettings::default()
    };
    if let Some(index) = &settings.pip_index {
        let host: Allowed = index.parse().with_context(|| format!("cannot use the index {index}"))?;
        if !settings.egress.allowed.iter().any(|known| known.host == host.host) {
            settings.egress.allow(host);
        }
    }
    let registry = args.npm_registry.clone().or(machine.registry);
    if let Some(registry) = registry {
        let host: Allowed = registry.parse().with_context(|| format!("cannot use the registry {registry}"))?;
        // The public ones are listed already, and are not trusted to lie in a private network.
        if !settings.egress.allowed.iter().any(|known| known.host == host.host) {
            settings.egress.allow(host);
        }
        settings.registry = Some(registry);
    }
    for host in &args.build_allow {
        settings.egress.allow(host.clone());
    }
    let proxy = args.build_proxy.clone().or(machine.proxy).filter(|proxy| proxy != "none");
    if let Some(proxy) = proxy {
        let proxy: Allowed = proxy.parse().with_context(|| format!("cannot use the proxy {proxy}"))?;
        settings.egress.upstream = Some(proxy);
    }
    Ok((npm, settings))
}

/// The prefix of an interpreter that came with its headers where builds can see them: below /usr, and of its version.
fn headers(interpreter: &Path, version: &str) -> Option<String> {
    let prefix = interpreter.parent()?.parent()?;
    let text = std::fs::read_to_string(prefix.join("include/node/node_version.h")).ok()?;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name))?;
        line.trim().parse::<u32>().ok()
    };
    let [major, minor, patch] = ["NODE_MAJOR_VERSION", "NODE_MINOR_VERSION", "NODE_PATCH_VERSION"].map(number);
    let found = format!("{}.{}.{}", major?, minor?, patch?);
    (prefix.starts_with("/usr") && found == version).then(|| prefix.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_must_be_visible_to_builds_and_of_the_same_version() {
        assert_eq!(headers(Path::new("/nonexistent/bin/node"), "20.0.0"), None);
        let base = std::env::temp_dir().join(format!("dockless-headers-{}", std::process::id()));
        std::fs::create_dir_all(base.join("include/node")).expect("a folder");
        let text = "#define NODE_MAJOR_VERSION 20\n#define NODE_MINOR_VERSION 1\n#define NODE_PATCH_VERSION 2\n";
        std::fs::write(base.join("include/node/node_version.h"), text).expect("a file");
        // Outside of /usr: no build sees it.
        assert_eq!(headers(&base.join("bin/node"), "20.1.2"), None);
        std::fs::remove_dir_all(&base).expect("it is ours");
        let real = Path::new("/usr/include/node/node_version.h");
        let node = std::process::Command::new("/usr/bin/node").args(["-p", "process.versions.node"]).output();
        if let (true, Ok(node)) = (real.is_file(), node) {
            let version = String::from_utf8_lossy(&node.stdout).trim().to_owned();
            assert_eq!(headers(Path::new("/usr/bin/node"), &version).as_deref(), Some("/usr"));
            assert_eq!(headers(Path::new("/usr/bin/node"), "1.0.0"), None);
        }
    }
}
