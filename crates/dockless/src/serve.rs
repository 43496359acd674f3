//! `dockless serve`: what is checked and made before the warden takes over.

use crate::builds::{self, BuildArgs};
use crate::listen::{Listen, Role};
use crate::log::{self, LogFormat};
use crate::server::{self, ServerConfig};
use crate::tls::{self, TlsConfig};
use anyhow::{Context as _, anyhow, bail};
use dockless_model::entropy::base32;
use dockless_model::{Host, OsEntropy};
use dockless_node::capture::{CaptureError, Captured};
use dockless_warden::{AddressRange, EgressPlan, RuntimeSource, WardenConfig, WardenError, run_folder};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod keys;
mod services;

/// The data folder where none is chosen.
pub(crate) const DEFAULT_DATA: &str = "/var/lib/dockless";
/// Characters of a token: 5 bits each.
const TOKEN_LENGTH: usize = 40;

/// What `dockless serve --help` begins with.
pub(crate) const ABOUT: &str = "Run the platform on this machine, in the foreground, until SIGINT, SIGTERM or SIGHUP: \
    requests in flight are finished first; a second signal ends at once.";
/// What it ends with.
pub(crate) const EXAMPLES: &str = "Examples:
  sudo dockless serve
  sudo dockless serve --listen 127.0.0.1:8080 --data ./data
  sudo dockless serve --listen 0.0.0.0:80=apps --listen 127.0.0.1:3000 --domain apps.example.org
  sudo dockless serve --tls-dev
  sudo dockless serve --listen 3000 --listen 0.0.0.0:443+tls --tls-cert chain.pem --tls-key key.pem";

/// Flags of `dockless serve`; the data folder is the global `--data`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// File with settings: each flag of this command is a key there
    #[arg(long, value_name = "FILE", env = "DOCKLESS_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen: ADDRESS or ADDRESS=ROLE, with +tls behind; may be repeated. ROLE is api, apps or both; both on the
    /// loopback, apps elsewhere if not given. With a certificate the listeners marked +tls speak HTTPS, or all if none is marked
    #[arg(long, value_name = "ADDR", env = "DOCKLESS_LISTEN", value_delimiter = ',', default_value = "127.0.0.1:3000")]
    listen: Vec<Listen>,
    #[command(flatten)]
    tls: tls::Flags,
    /// Domain of which deployments get names
    #[arg(long, value_name = "DOMAIN", env = "DOCKLESS_DOMAIN", default_value = "localhost")]
    domain: Host,
    /// Domain outside --domain below which aliases may be set, by any account; may be repeated. `*` is any
    #[arg(long, value_name = "DOMAIN", env = "DOCKLESS_ALIAS_DOMAIN", value_delimiter = ',', value_parser = alias_domain)]
    alias_domain: Vec<String>,
    /// Node.js interpreter that functions get: a path, or a name to be found in PATH
    #[arg(long, value_name = "PATH", env = "DOCKLESS_NODE", default_value = "node")]
    node: PathBuf,
    /// Python interpreter that functions get: a path, or a name to be found in PATH; default: python3, if there is one
    #[arg(long, value_name = "PATH", env = "DOCKLESS_PYTHON")]
    python: Option<PathBuf>,
    /// PHP interpreter (php-cgi) that functions get: a path, or a name to be found in PATH; default: php-cgi, if there is one
    #[arg(long, value_name = "PATH", env = "DOCKLESS_PHP")]
    php: Option<PathBuf>,
    /// Seconds for requests in flight when the platform stops
    #[arg(long, value_name = "SECONDS", env = "DOCKLESS_GRACE", default_value_t = 10)]
    grace: u64,
    /// Prewarmed sandboxes kept per runtime and memory class; 0 keeps none
    #[arg(long, value_name = "N", env = "DOCKLESS_SHELF", default_value_t = 4)]
    shelf: usize,
    /// Leave the Server-Timing header out of answers of functions
    #[arg(long, env = "DOCKLESS_NO_SERVER_TIMING")]
    no_server_timing: bool,
    /// Whether functions and services reach the internet: on, off, or auto, which is on where this machine can
    #[arg(long, value_name = "WHEN", env = "DOCKLESS_EGRESS", default_value = "auto")]
    egress: Egress,
    /// Private range that functions and services reach all the same, as ADDRESS/BITS; may be repeated
    #[arg(long, value_name = "RANGE", env = "DOCKLESS_EGRESS_ALLOW", value_delimiter = ',')]
    egress_allow: Vec<AddressRange>,
    /// Who resolves names for them, as ADDRESS or ADDRESS:PORT instead of this machine's resolvers; may be repeated
    #[arg(long, value_name = "ADDR", env = "DOCKLESS_EGRESS_RESOLVER", value_delimiter = ',', value_parser = resolver)]
    egress_resolver: Vec<SocketAddr>,
    #[command(flatten)]
    builds: BuildArgs,
    #[command(flatten)]
    services: services::ServiceFlags,
    /// What to log, as `level` or `target=level,…` (error, warn, info, debug, trace)
    #[arg(long, value_name = "FILTER", env = "DOCKLESS_LOG", default_value = "info")]
    log: String,
    /// How lines of the log look: text, or json with one object a line
    #[arg(long, value_name = "FORMAT", env = "DOCKLESS_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Whether there is a way out of sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Egress {
    // Where this machine can; else a warning says what is missing.
    Auto,
    // Or the platform does not start.
    On,
    // Sandboxes have their loopback alone.
    Off,
}

fn resolver(text: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok((address, 53).into()),
        Err(_) => text.parse(),
    }
}

fn alias_domain(text: &str) -> Result<String, dockless_model::ParseError> {
    if text == "*" { Ok(text.to_owned()) } else { Ok(text.parse::<Host>()?.to_string()) }
}

pub(crate) fn main(global: &dockless_cli::Global, args: Args) -> ExitCode {
    log::to_stderr(&args.log, args.log_format);
    match serve(global, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            if let Some(hint) = error.downcast_ref::<WardenError>().and_then(WardenError::hint) {
                let _ = writeln!(std::io::stderr(), "hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(global: &dockless_cli::Global, args: Args) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "sandboxes need root on this machine (namespaces with ids of their own, control groups, id-mapped mounts)\n\
             hint: sudo dockless serve"
        );
    }
    let owner = calling_user()?;
    let chosen = global.data.clone().unwrap_or_else(|| DEFAULT_DATA.into());
    let data = data_folder(&chosen)?;
    let token = token(&data, owner)?;
    let certificates = tls::prepare(&args.tls, &data, &args.domain)?;
    if certificates.is_none() && args.listen.iter().any(|listen| listen.tls) {
        bail!("a listener is marked +tls and there is no certificate: add --tls-cert and --tls-key, or --tls-dev");
    }
    let all_tls = certificates.is_some() && !args.listen.iter().any(|listen| listen.tls);
    let secret_keys = keys::read(&data)?;
    // Everything that can be wrong is found before a port is bound.
    let node = Captured::node(&args.node)?;
    let (npm, builds) = builds::prepare(&args.builds, &node)?;
    let python = optional("Python", args.python.as_deref(), "python3", Captured::python)?;
    let program = Captured::program()?;
    let php = optional("PHP", args.php.as_deref(), "php-cgi", Captured::php)?;
    let pip = python.as_ref().map(Captured::pip).transpose()?.flatten();
    if python.is_some() && pip.is_none() {
        tracing::warn!("no pip beside python: packages of functions in Python cannot be installed");
    }
    let mut listeners: Vec<OwnedFd> = Vec::new();
    let mut bound = Vec::new();
    for listen in &args.listen {
        let listener = TcpListener::bind(listen.address).with_context(|| format!("cannot listen on {listen}"))?;
        listener.set_nonblocking(true)?;
        bound.push(Listen { address: listener.local_addr()?, role: listen.role, tls: listen.tls || all_tls });
        listeners.push(listener.into());
    }
    let authority = certificates.as_ref().and_then(|certificates| certificates.authority.clone());
    // For this machine's own commands: one that they can trust, so plain before a certificate of somebody else's names.
    let for_api = || bound.iter().filter(|listen| listen.role != Role::Apps);
    let api = for_api().find(|listen| !listen.tls || authority.is_some()).or_else(|| for_api().next());
    // For browsers: HTTPS where there is a choice.
    let for_apps = || bound.iter().filter(|listen| listen.role != Role::Api);
    let apps = for_apps().find(|listen| listen.tls).or_else(|| for_apps().next());
    let (Some(api), Some(apps)) = (api, apps) else {
        bail!("no listener answers for {}: add --listen ADDRESS={0}", if api.is_none() { "api" } else { "apps" });
    };
    let mut api_address = api.address;
    if api_address.ip().is_unspecified() {
        api_address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let url = match (api.tls, &authority) {
        (false, _) => format!("http://{api_address}"),
        (true, Some(_)) => format!("https://{api_address}"),
        // The certificate speaks for the domain; the address is told beside it.
        (true, None) => format!("https://api.{}:{}", args.domain, api_address.port()),
    };
    let token_file = data.join("token");
    let announcement = serde_json::json!({
        "version": 1,
        "url": url,
        "token_file": token_file,
        "pid": std::process::id(),
        "domain": args.domain.as_str(),
        "data": data,
        "connect": api_address,
        "authority": authority,
    });
    if let Some(authority) = &authority {
        let _ = writeln!(
            std::io::stderr(),
            "certificates are made by a development authority of this machine's own, {0}\n\
             hint: try it with curl --cacert {0}; to trust it in general: sudo cp {0} \
             /usr/local/share/ca-certificates/dockless.crt && sudo update-ca-certificates",
            authority.display()
        );
    }
    let config = ServerConfig {
        data: run_folder(&data).join("data"),
        token: token.clone(),
        domain: args.domain.clone(),
        secret_keys,
        alias_domains: args.alias_domain.clone(),
        port: apps.address.port(),
        https: apps.tls,
        roles: bound.iter().map(|listen| listen.role).collect(),
        tls: certificates.as_ref().map(|certificates| TlsConfig {
            listeners: bound.iter().map(|listen| listen.tls).collect(),
            dev: certificates.authority.is_some().then(|| bound.iter().map(|listen| listen.address.ip()).collect()),
        }),
        resolvers: args.egress_resolver.clone(),
        destinations: (args.egress != Egress::Off).then(|| args.egress_allow.clone()),
        server_timing: !args.no_server_timing,
        shelf: args.shelf,
        log: args.log.clone(),
        log_format: args.log_format,
        grace_ms: args.grace.saturating_mul(1000),
        builds,
        services: args.services.rules(),
    };
    let warden = WardenConfig {
        binary: std::env::current_exe().context("cannot find the path of this program")?,
        server_args: vec![server::NAME.to_owned()],
        server_config: serde_json::to_vec(&config)?,
        listeners,
        files: certificates.map(|certificates| certificates.files).unwrap_or_default(),
        owner,
        announcement: announcement.to_string(),
        ready_line: format!("dockless is ready on {url} (domain {}, data {})", args.domain, data.display()),
        notify: std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()),
        runtimes: [node, program]
            .into_iter()
            .chain(npm)
            .chain(python)
            .chain(pip)
            .chain(php)
            .map(captured_source)
            .collect(),
        grace: Duration::from_secs(args.grace),
        egress: (args.egress != Egress::Off).then(|| EgressPlan {
            allow: args.egress_allow.clone(),
            port: apps.address.port(),
            required: args.egress == Egress::On,
        }),
        data,
    };
    Ok(dockless_warden::run(warden)?)
}

/// An interpreter of this machine. One that was not asked for may be missing: then functions in its language are refused.
fn optional(
    language: &str,
    named: Option<&Path>,
    usual: &str,
    capture: impl FnOnce(&Path) -> Result<Captured, CaptureError>,
) -> anyhow::Result<Option<Captured>> {
    match (capture(named.unwrap_or(Path::new(usual))), named) {
        (Ok(captured), _) => Ok(Some(captured)),
        (Err(error), Some(_)) => Err(error.into()),
        // Nobody needs to be told of what nobody installed.
        (Err(error @ CaptureError::NotFound { .. }), None) => {
            tracing::info!(language, %error, "functions cannot be deployed in this language");
            Ok(None)
        }
        (Err(error), None) => {
            let error = anyhow::Error::from(error);
            tracing::warn!(language, error = format!("{error:#}"), "functions cannot be deployed in this language");
            Ok(None)
        }
    }
}

fn captured_source(captured: Captured) -> RuntimeSource {
    RuntimeSource {
        language: captured.language.to_owned(),
        version: captured.version.clone(),
        fingerprint: captured.fingerprint.clone(),
        capture: Box::new(move || captured.write()),
    }
}

/// Who types: behind sudo the one who called it.
fn calling_user() -> anyhow::Result<(u32, u32)> {
    let of = |name: &str| {
        std::env::var(name).ok().map(|text| text.parse::<u32>().with_context(|| format!("{name} is not a number")))
    };
    match (of("SUDO_UID"), of("SUDO_GID")) {
        (Some(uid), Some(gid)) => Ok((uid?, gid?)),
        _ => Ok((0, 0)),
    }
}

fn data_folder(path: &Path) -> anyhow::Result<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .with_context(|| format!("cannot make the data folder {}", path.display()))?;
    path.canonicalize().with_context(|| format!("cannot find the data folder {}", path.display()))
}

/// The administrator's token: read, or made at the first start.
fn token(data: &Path, owner: (u32, u32)) -> anyhow::Result<dockless_model::Secret> {
    let path = data.join("token");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let token = text.trim();
            if token.is_empty() || !token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                bail!("{} does not hold a token (letters, digits and _); remove it to get a new one", path.display());
            }
            Ok(dockless_model::Secret::new(token))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = base32(&OsEntropy, TOKEN_LENGTH);
            let fresh = data.join("token.new");
            let _ = std::fs::remove_file(&fresh);
            let mut file = std::fs::File::options()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&fresh)
                .with_context(|| format!("cannot write {}", fresh.display()))?;
            file.write_all(format!("{token}\n").as_bytes())?;
            file.sync_all()?;
            std::os::unix::fs::chown(&fresh, Some(owner.0), Some(owner.1))?;
            std::fs::rename(&fresh, &path)?;
            Ok(dockless_model::Secret::new(token))
        }
        Err(error) => Err(anyhow!(error).context(format!("cannot read {}", path.display()))),
    }
}
