//! What the gateway knows of a deployment, and the port through which it learns it.

use crate::{BoxFuture, Counters};
use dockless_model::{
    AccountId, DeploymentId, Host, Output, ProjectName, Scale, SourcePath,
    output::{Service, StaticFile},
};
use dockless_pool::Spec;
use dockless_routing::Table;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// One deployment, ready to be served. Immutable save for `disabled` and `scale`: a change of
/// those is published anew.
#[derive(Debug)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Its owner.
    pub account: AccountId,
    /// Its project.
    pub project: ProjectName,
    /// Its own immutable host; aliases lead to the same deployment.
    pub host: Host,
    /// Files and functions.
    pub output: Arc<Output>,
    /// The output's routes, compiled.
    pub routes: Arc<Table>,
    /// Output path → function or service.
    pub programs: BTreeMap<SourcePath, Arc<Spec>>,
    /// Scaled to zero by its owner: every request is refused.
    pub disabled: bool,
    /// What its visitors cost: filled by the gateway.
    pub counters: Arc<Counters>,
    /// Bounds on the instances of each of its programs, as its owner wants them.
    pub scale: Scale,
}

/// What stands at an output path.
#[derive(Debug, Clone)]
pub(crate) enum Found<'a> {
    File(&'a StaticFile),
    Program(&'a Arc<Spec>),
}

impl Deployment {
    /// The service that everything leads to, where there is nothing beside it: its paths are its own business.
    pub(crate) fn only_service(&self) -> Option<&Arc<Spec>> {
        let mut programs = self.programs.values();
        match (programs.next(), programs.next()) {
            // Its own route leads there; others come first. One that `builds` name has the paths of its folder alone.
            (Some(spec), None)
                if spec.service().is_some()
                    && spec.name.as_str() == Service::ROOT
                    && self.output.files.is_empty()
                    && self.output.routes.len() <= 1 =>
            {
                Some(spec)
            }
            _ => None,
        }
    }

    /// A file goes before a function of the same name, the path itself before an index file in it.
    pub(crate) fn look_up(&self, output: &str) -> Option<Found<'_>> {
        let file = |path: &str| self.output.files.get(path).map(Found::File);
        let program = |path: &str| self.programs.get(path).map(Found::Program);
        let inside = |name: &str| if output.is_empty() { name.to_owned() } else { format!("{output}/{name}") };
        file(output)
            .or_else(|| program(output))
            .or_else(|| file(&inside("index.html")))
            .or_else(|| program(&inside("index")))
            .or_else(|| self.output.listing.then(|| self.index_of(output)).flatten())
    }

    /// Of a folder with names and extensions as in 2019: the shortest `index.…`.
    fn index_of(&self, folder: &str) -> Option<Found<'_>> {
        let prefix = if folder.is_empty() { "index.".to_owned() } else { format!("{folder}/index.") };
        let rest_of = |path: &SourcePath| path.as_str().strip_prefix(&prefix).map(str::to_owned);
        let is_name =
            |rest: &str| !rest.is_empty() && !rest.contains('/') && !rest.ends_with('.') && !rest.contains("..");
        let start: SourcePath = format!("{prefix}!").parse().ok()?;
        let files = self.output.files.range(start.clone()..).map(|(path, file)| (path, Found::File(file)));
        let programs = self.programs.range(start..).map(|(path, spec)| (path, Found::Program(spec)));
        let near = |found: &(&SourcePath, Found<'_>)| found.0.as_str().starts_with(&prefix);
        files
            .take_while(near)
            .chain(programs.take_while(near))
            .filter(|(path, _)| rest_of(path).is_some_and(|rest| is_name(&rest)))
            .min_by_key(|(path, _)| path.as_str().len())
            .map(|(_, found)| found)
    }
}

/// The port: where deployments come from when the gateway does not hold them.
pub trait Directory: Send + Sync + 'static {
    /// The deployment that a host leads to; `None` if none does. Called once for concurrent requests of one host.
    ///
    /// # Errors
    /// [`LoadError`] where it cannot be told: the request is answered 500 and the next one asks again.
    fn load<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Option<Arc<Deployment>>, LoadError>>;

    /// Whose sandbox has this address, for requests from inside; `None` if nobody's.
    fn account_at(&self, _address: IpAddr) -> BoxFuture<'_, Option<AccountId>> {
        Box::pin(std::future::ready(None))
    }
}

/// A host could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the deployment of a host")]
pub struct LoadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
