//! Why a build failed, in words for the owner of the source.

use crate::DockerfileError;
use dockless_blob::BlobError;
use dockless_image::PullError;
use dockless_model::{Digest, SourcePath};
use dockless_node::workshop::BuildSandboxError;
use dockless_node::{ImportError, UnpackError};
use dockless_routing::RouteError;
use std::borrow::Cow;
use std::fmt;

/// A failed build. The text says what, [`step`](Self::step) where, [`hint`](Self::hint) what to do.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No file would be served and no function made.
    #[error("nothing to deploy: no file and no function")]
    Empty,
    /// Functions in languages without a runtime here.
    #[error("no runtime for {}", Names(.files))]
    UnsupportedLanguage {
        /// All of them.
        files: Vec<SourcePath>,
    },
    /// `api/[id]/[id].js`
    #[error("the segment {segment:?} occurs more than once in {path}")]
    ConflictingSegment {
        /// The entrypoint.
        path: SourcePath,
        /// The parameter's name.
        segment: String,
    },
    /// Two entrypoints that answer the same paths.
    #[error("{first} and {second} have conflicting paths")]
    ConflictingPaths {
        /// One.
        first: SourcePath,
        /// The other.
        second: SourcePath,
    },
    /// `api/[...rest].js`, `api/[].js`
    #[error("{path} has a segment that is not a parameter name")]
    BadSegment {
        /// The entrypoint.
        path: SourcePath,
    },
    /// Two files for one output path, e.g. an entrypoint that is also a folder.
    #[error("{path} is a file and a folder at once")]
    FileAndFolder {
        /// The file.
        path: SourcePath,
    },
    /// A lock file of a package manager that this version does not run.
    #[error("{path} is of a newer Yarn")]
    Berry {
        /// The lock file.
        path: SourcePath,
    },
    /// A framework whose output is more than files.
    #[error("a project that is built by {name} needs more than this version can serve")]
    Framework {
        /// Its package.
        name: &'static str,
    },
    /// `engines.node` leaves this node's interpreter out.
    #[error("package.json wants Node.js {range:?}, this server runs {version}")]
    Engines {
        /// The range.
        range: String,
        /// What there is.
        version: String,
    },
    /// A value that cannot be obeyed.
    #[error("{path} sets {key}: {expected}")]
    Option {
        /// The file.
        path: SourcePath,
        /// The key.
        key: String,
        /// What would be right.
        expected: Cow<'static, str>,
    },
    /// A value that is not what its place asks for.
    #[error("{path} sets {key} to {value}: expected {expected}")]
    Wrong {
        /// The file.
        path: SourcePath,
        /// Where in it, as one would write it: `routes[3].src`.
        key: String,
        /// What is there.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Two files that say the same kind of thing.
    #[error("there are both {first} and {second}")]
    TwoConfigurations {
        /// One.
        first: SourcePath,
        /// The other.
        second: SourcePath,
    },
    /// All routes together, the configuration's and those of functions.
    #[error("the routes cannot be served: {source}")]
    Routes {
        /// Why; printed with it.
        source: RouteError,
    },
    /// A Dockerfile that cannot be used.
    #[error("{path}, {source}")]
    Dockerfile {
        /// The file.
        path: SourcePath,
        /// Where and why; printed with it.
        source: DockerfileError,
    },
    /// Configuration asks for a Dockerfile, and there is none.
    #[error("{path} wants a Dockerfile, and there is none at the root")]
    NoDockerfile {
        /// The configuration.
        path: SourcePath,
    },
    /// The builder of images is not installed.
    #[error("this server has no buildah, which builds Dockerfiles")]
    NoBuildah,
    /// The interpreter came without npm.
    #[error("this server has no npm")]
    NoNpm,
    /// A command of the build failed.
    #[error("{command} failed: {how}")]
    Command {
        /// `install`, `build`, `trace`
        step: String,
        /// As one would type it.
        command: String,
        /// Exit code or signal.
        how: String,
        /// The last lines it printed.
        tail: Vec<String>,
    },
    /// Files in TypeScript that are none, or whose errors of types the project does not want.
    #[error("the project does not compile")]
    TypeScript {
        /// What the compiler says.
        messages: Vec<String>,
    },
    /// The project names its output folder, and nothing is in it.
    #[error("the build left nothing in {}", .folders.join(", "))]
    NoOutput {
        /// Where it was looked for.
        folders: Vec<String>,
    },
    /// An entrypoint of a build by script that names none.
    #[error("{path} has no script \"vercel-build\", \"now-build\" or \"build\"")]
    NoScript {
        /// The entrypoint.
        path: SourcePath,
    },
    /// The build sandbox ended the build: quota, memory, or files that cannot be taken.
    #[error("{source}")]
    Stopped {
        /// What was being done.
        step: String,
        /// Why.
        source: BuildSandboxError,
    },
    /// Our side of a build failed.
    #[error("cannot {step}")]
    Internal {
        /// What was being done.
        step: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Configuration that would change the output.
    #[error("{path} sets {key:?}")]
    Configuration {
        /// The file.
        path: SourcePath,
        /// The first such key.
        key: String,
    },
    /// Not JSON, or no object.
    #[error("{path} is not a JSON object")]
    Malformed {
        /// The file.
        path: SourcePath,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A document beyond 1 MiB.
    #[error("{path} has {bytes} bytes, at most 1 MiB is read")]
    DocumentTooLarge {
        /// The file.
        path: SourcePath,
        /// Its size.
        bytes: u64,
    },
    /// The blob store failed.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: SourcePath,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// The blob store failed while files were compressed.
    #[error("cannot keep compressed files")]
    Encode {
        /// Why.
        #[source]
        source: BlobError,
    },
    /// Beyond [`crate::MAX_BUNDLE_BYTES`].
    #[error("the bundle of {entrypoint} would have {bytes} bytes, at most 50 MiB are allowed")]
    BundleTooLarge {
        /// The entrypoint.
        entrypoint: SourcePath,
        /// Size of all its files.
        bytes: u64,
        /// The largest, with their sizes.
        biggest: Vec<(SourcePath, u64)>,
    },
    /// A file that names packages of Python cannot be used.
    #[error("{path}: {reason}")]
    Requirements {
        /// Which.
        path: SourcePath,
        /// Why.
        reason: String,
    },
    /// A tree that a build elsewhere left, and that is not served.
    #[error("{path}: {reason}")]
    Prebuilt {
        /// The file that says so.
        path: SourcePath,
        /// What is not served.
        reason: String,
    },
    /// A file in Go that no program can be made of.
    #[error("{path}: {reason}")]
    Go {
        /// Which.
        path: SourcePath,
        /// Why.
        reason: String,
    },
    /// The server's machine has no compiler of this language.
    #[error("this server has no compiler of {language}")]
    NoToolchain {
        /// Which.
        language: &'static str,
        /// The package of distributions that has one.
        package: &'static str,
    },
    /// The interpreter came without an installer of packages.
    #[error("this server has no pip")]
    NoPip,
    /// Entries of `builds` that find very many Dockerfiles.
    #[error("more than {most} servers in one deployment")]
    TooManyServers {
        /// Most of them.
        most: usize,
    },
    /// Many functions, each with many files.
    #[error("{functions} functions with up to {files} files each are more than a deployment may hold")]
    TooManyFiles {
        /// How many.
        functions: usize,
        /// In the largest of their bundles.
        files: usize,
    },
    /// This node has no interpreter.
    #[error("this server has no {language} runtime")]
    NoRuntime {
        /// Which.
        language: &'static str,
    },
    /// An image could not be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// A layer could not be unpacked.
    #[error("cannot unpack layer sha256:{layer}: {source}")]
    Unpack {
        /// Its archive.
        layer: Digest,
        /// Why.
        source: UnpackError,
    },
    /// A bundle could not be put in place.
    #[error("cannot import the bundle of {entrypoint}")]
    Import {
        /// The entrypoint.
        entrypoint: SourcePath,
        /// Why.
        #[source]
        source: ImportError,
    },
}

impl BuildError {
    /// Stable name, for the API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "nothing_to_deploy",
            Self::UnsupportedLanguage { .. } => "unsupported_language",
            Self::ConflictingSegment { .. } => "conflicting_path_segment",
            Self::ConflictingPaths { .. } => "conflicting_file_path",
            Self::BadSegment { .. } => "bad_path_segment",
            Self::FileAndFolder { .. } => "file_and_folder",
            Self::Berry { .. } => "unsupported_lock_file",
            Self::Framework { .. } => "unsupported_framework",
            Self::Engines { .. } => "unsupported_node_version",
            Self::Option { .. } | Self::Wrong { .. } => "bad_option",
            Self::TwoConfigurations { .. } => "conflicting_configuration",
            Self::Routes { .. } => "invalid_routes",
            Self::NoNpm => "npm_missing",
            Self::Dockerfile { .. } => "bad_dockerfile",
            Self::NoDockerfile { .. } => "dockerfile_missing",
            Self::NoBuildah => "buildah_missing",
            Self::Command { .. } => "command_failed",
            Self::TypeScript { .. } => "typescript_failed",
            Self::NoOutput { .. } => "output_missing",
            Self::NoScript { .. } => "script_missing",
            Self::Stopped { .. } => "build_stopped",
            Self::Configuration { .. } => "unsupported_configuration",
            Self::Malformed { .. } => "malformed_document",
            Self::DocumentTooLarge { .. } => "document_too_large",
            Self::Unreadable { .. } | Self::Encode { .. } | Self::Import { .. } | Self::Internal { .. } => {
                "internal_build_error"
            }
            Self::Pull(error) if error.is_internal() => "internal_build_error",
            Self::Pull(_) => "image_pull_failed",
            Self::Unpack { source: UnpackError::Refused(_), .. } => "image_layer_refused",
            Self::Unpack { .. } => "internal_build_error",
            Self::BundleTooLarge { .. } => "lambda_size_exceeded",
            Self::Requirements { .. } => "bad_requirements",
            Self::Prebuilt { .. } => "unsupported_output",
            Self::Go { .. } => "bad_go_file",
            Self::NoToolchain { .. } => "compiler_missing",
            Self::TooManyFiles { .. } => "too_many_files",
            Self::TooManyServers { .. } => "too_many_services",
            Self::NoPip => "pip_missing",
            Self::NoRuntime { .. } => "runtime_missing",
        }
    }

    /// Where in the build it happened: `read`, `detect` `bundle PATH` or `compress`.
    #[must_use]
    pub fn step(&self) -> String {
        match self {
            Self::Unreadable { .. } | Self::DocumentTooLarge { .. } => "read".to_owned(),
            Self::BundleTooLarge { entrypoint, .. } | Self::Import { entrypoint, .. } => {
                format!("bundle {entrypoint}")
            }
            Self::NoRuntime { .. } => "bundle".to_owned(),
            Self::Go { .. } | Self::NoToolchain { .. } => "compile".to_owned(),
            Self::NoNpm | Self::NoPip => "install".to_owned(),
            Self::NoBuildah => "prepare".to_owned(),
            Self::NoOutput { .. } => "build".to_owned(),
            Self::TypeScript { .. } => "compile".to_owned(),
            Self::Command { step, .. } | Self::Stopped { step, .. } | Self::Internal { step, .. } => step.clone(),
            Self::Pull(_) => "pull".to_owned(),
            Self::Unpack { .. } => "unpack".to_owned(),
            Self::Encode { .. } => "compress".to_owned(),
            _ => "detect".to_owned(),
        }
    }

    /// What the owner of the source can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty => "add an index.html or a function such as api/date.js; a file in Python is \
                one if it defines `app` or `handler`"
                .to_owned(),
            Self::UnsupportedLanguage { .. } => {
                "this version runs Node.js (.js, .mjs, .cjs, .ts, .tsx), Python (.py), PHP (.php) and Go (.go) only; a file that is no \
                function can be kept out by a name that begins with an underscore"
                    .to_owned()
            }
            Self::ConflictingSegment { segment, .. } => {
                format!("give each parameter of a path a name of its own, not [{segment}] twice")
            }
            Self::ConflictingPaths { .. } => "rename one of them, or give their parameters the same name".to_owned(),
            Self::BadSegment { .. } => "a parameter is one segment: [name]; catch-alls are not supported".to_owned(),
            Self::FileAndFolder { .. } => "rename the file or the folder".to_owned(),
            Self::Berry { .. } => "use Yarn 1, npm or pnpm, or upload node_modules with the source".to_owned(),
            Self::Framework { .. } => "let it export plain files and name their folder in vercel.json \
                (\"outputDirectory\": \"out\")"
                .to_owned(),
            Self::Engines { .. } => "widen \"engines\".\"node\", or start the server with another interpreter \
                (dockless serve --node PATH)"
                .to_owned(),
            Self::Option { .. } | Self::Wrong { .. } => "correct or remove it".to_owned(),
            Self::TwoConfigurations { first, .. } => format!("move what {first} says into the other and delete it"),
            Self::Routes { .. } => "write fewer of them, or simpler ones".to_owned(),
            Self::Dockerfile { .. } => return None,
            Self::NoDockerfile { .. } => "add a Dockerfile, or remove \"type\" and \"features\"".to_owned(),
            Self::NoBuildah => "install it on the server: apt install buildah".to_owned(),
            Self::NoNpm => {
                "install Node.js with its npm on the server and restart it, or upload node_modules with the \
                source"
                    .to_owned()
            }
            Self::Command { tail, .. } if tail.is_empty() => return None,
            Self::Command { tail, .. } => format!("it said last:\n{}", tail.join("\n")),
            Self::TypeScript { messages } => {
                let more = messages.len().saturating_sub(10);
                let shown = messages[..messages.len() - more].join("\n");
                let rest = if more > 0 { format!("\nand {more} more, in the build log") } else { String::new() };
                format!("the compiler said:\n{shown}{rest}")
            }
            Self::NoOutput { .. } => {
                "name the folder that the build writes in vercel.json (\"outputDirectory\"; with \"builds\": \"distDir\" in the \
                entry's \"config\")"
                    .to_owned()
            }
            Self::NoScript { .. } => "add one to its \"scripts\", let \"src\" name a shell script (.sh), or write the command as \
                \"buildCommand\" into the entry's \"config\""
                .to_owned(),
            Self::Stopped { source: BuildSandboxError::OutOfMemory, .. } => {
                "a build has 3008 MB; build in smaller steps, or deploy what a larger machine has built".to_owned()
            }
            Self::Stopped { .. } => return None,
            Self::Configuration { key, .. } => {
                format!("this version does not read {key:?}: remove it to deploy without")
            }
            Self::BundleTooLarge { biggest, .. } => {
                let list: Vec<String> = biggest.iter().map(|(path, size)| format!("{path} ({size} bytes)")).collect();
                format!("the largest files are {}; what is served as it is belongs under public/", list.join(", "))
            }
            Self::Requirements { .. } => {
                "write it anew with its own tool, or name the packages in requirements.txt".to_owned()
            }
            Self::TooManyServers { .. } => {
                "name fewer Dockerfiles in \"builds\", or deploy some of them as projects of their own".to_owned()
            }
            Self::TooManyFiles { .. } => "keep files that are no function in folders whose names begin with an underscore, or \
                deploy the application as a server, with a Dockerfile"
                .to_owned(),
            Self::NoPip => {
                "install it on the server (apt install python3-pip) and restart the server, or upload the packages in _vendor/"
                    .to_owned()
            }
            Self::Prebuilt { .. } => "build without it; docs/prebuilt.md lists what is served".to_owned(),
            Self::Go { .. } => {
                "a function is exported and of any package but main: func Handler(w http.ResponseWriter, r *http.Request)"
                    .to_owned()
            }
            Self::NoToolchain { package, .. } => format!("install it on the server: apt install {package}"),
            Self::NoRuntime { language } => {
                format!("install {language} on the server, or name it with --{language} PATH, and restart the server")
            }
            Self::Pull(error) => return error.hint(),
            Self::Unpack { .. } => return None,
            Self::Malformed { source, .. } => source.to_string(),
            Self::DocumentTooLarge { .. }
            | Self::Unreadable { .. }
            | Self::Encode { .. }
            | Self::Import { .. }
            | Self::Internal { .. } => {
                return None;
            }
        })
    }
}

/// `a, b, c and 4 more`
struct Names<'a>(&'a [SourcePath]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(3)];
        for (index, path) in shown.iter().enumerate() {
            write!(f, "{}{path}", if index == 0 { "" } else { ", " })?;
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
