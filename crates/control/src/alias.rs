//! Aliases: which hosts one may have, and where they lead.

use crate::{Caller, Control, Error, Refusal};
use dockless_model::{Host, ProjectName, Timestamp};
use dockless_store::{Alias, Pointed};
use dockless_wire::{AliasList, AliasRemoved, AliasSet, AliasTarget, Pagination};
use std::net::IpAddr;

/// Rows of a page unless the client says otherwise, and at most.
const PAGE: u32 = 1000;

impl Control {
    /// Points an alias at a READY deployment, in one step: requests go to the old one or to the new one, never to
    /// neither.
    ///
    /// # Errors
    /// [`Error::Refused`] says by its code whose the host is or what is wrong with it; the deployment is not there or
    /// not ready; the database fails.
    pub async fn set_alias(&self, caller: &Caller, deployment: &str, alias: &str) -> Result<AliasSet, Error> {
        let host = self.alias_host(alias)?;
        let deployment = self.find(caller, deployment).await?;
        let own = self.own_alias(&deployment.name)?;
        let pointed = self.db().point_alias(caller.id(), &host, &own, &deployment.id, self.now()).await?;
        let (before, created) = match pointed {
            Pointed::Here { before, created_at, .. } => (before, created_at),
            other => return Err(refusal(&other, &host)),
        };
        tracing::info!(%host, deployment = %deployment.id, "alias set");
        self.poll().await?;
        Ok(AliasSet {
            uid: host.clone(),
            href: Some(self.config().public.href(&host)),
            alias: host,
            created,
            old_deployment_id: before.filter(|before| *before != deployment.id),
        })
    }

    /// The caller's aliases, newest first: at most 1,000.
    ///
    /// # Errors
    /// The database fails.
    pub async fn aliases(
        &self,
        caller: &Caller,
        until: Option<Timestamp>,
        limit: Option<u32>,
    ) -> Result<AliasList, Error> {
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let rows = self.db().aliases(caller.id(), until, limit).await?;
        let full = u32::try_from(rows.len()).is_ok_and(|count| count == limit);
        let pagination = Pagination {
            count: rows.len(),
            next: rows.last().filter(|_| full).map(|row| row.created_at),
            prev: rows.first().map(|row| row.created_at),
        };
        Ok(AliasList { aliases: rows.iter().map(|row| self.alias_view(caller, row)).collect(), pagination })
    }

    /// The aliases of one deployment.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn aliases_of(&self, caller: &Caller, deployment: &str) -> Result<AliasList, Error> {
        let deployment = self.find(caller, deployment).await?;
        let mut aliases = Vec::new();
        for host in &deployment.aliases {
            aliases.extend(self.db().alias(caller.id(), host).await?.map(|row| self.alias_view(caller, &row)));
        }
        let pagination = Pagination { count: aliases.len(), next: None, prev: None };
        Ok(AliasList { aliases, pagination })
    }

    /// One alias; `None` if the caller has none of that name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn alias(&self, caller: &Caller, name: &str) -> Result<Option<dockless_wire::Alias>, Error> {
        let Some(host) = self.host_named(name) else { return Ok(None) };
        Ok(self.db().alias(caller.id(), &host).await?.map(|row| self.alias_view(caller, &row)))
    }

    /// Removes an alias; what it led to stays.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn remove_alias(&self, caller: &Caller, name: &str) -> Result<AliasRemoved, Error> {
        let missing = Error::NotFound("alias");
        let Some(host) = self.host_named(name) else { return Err(missing) };
        if !self.db().remove_alias(caller.id(), &host, self.now()).await? {
            return Err(missing);
        }
        tracing::info!(%host, "alias removed");
        self.poll().await?;
        Ok(AliasRemoved { uid: host, status: "SUCCESS".to_owned() })
    }

    /// Whether an alias of this name could be had, by anybody.
    #[must_use]
    pub fn may_be_alias(&self, name: &str) -> bool {
        self.alias_host(name).is_ok() || name.parse::<Host>().is_ok_and(|host| host == self.config().domain)
    }

    /// The alias of a project's own.
    pub(crate) fn own_alias(&self, project: &ProjectName) -> Result<Host, Error> {
        self.config().host(project.alias_label()).ok_or(Error::Damaged("a project's name"))
    }

    /// A host, or a label under the domain; a port is ignored.
    pub(crate) fn host_named(&self, name: &str) -> Option<Host> {
        if name.contains('.') { Host::from_authority(name).ok() } else { self.config().host(name) }
    }

    /// The host that an alias is to have.
    fn alias_host(&self, name: &str) -> Result<Host, Error> {
        let domain = &self.config().domain;
        let invalid = |why: String| {
            let message = format!("The alias {name:?} is not possible: {why}.");
            Err(Error::refused(Refusal::Wrong, "invalid_alias", message))
        };
        if name.contains('*') {
            return invalid("wildcards lead nowhere in particular; set one alias for each name".to_owned());
        }
        let Some(host) = self.host_named(name) else {
            return invalid(format!("expected a host name, or a label that becomes LABEL.{domain}"));
        };
        if let Some(label) = host.label_under(domain) {
            if ProjectName::RESERVED.contains(&label) {
                return invalid(format!("{host} is the platform's own"));
            }
            return Ok(host);
        }
        if host == *domain || host.as_str().parse::<IpAddr>().is_ok() || host.as_str() == "localhost" {
            return invalid(format!("{host} is the platform's own"));
        }
        if host.as_str().ends_with(&format!(".{domain}")) {
            return invalid(format!("exactly one label may stand before .{domain}"));
        }
        if !self.config().foreign_hosts.allow(&host) {
            let message = format!(
                "The alias {host} is outside {domain}, and this platform allows no such name: its operator can, with \
                 --alias-domain."
            );
            return Err(Error::refused(Refusal::NotYours, "forbidden", message));
        }
        Ok(host)
    }

    fn alias_view(&self, caller: &Caller, row: &Alias) -> dockless_wire::Alias {
        dockless_wire::Alias {
            uid: row.host.clone(),
            href: Some(self.config().public.href(&row.host)),
            alias: row.host.clone(),
            created: row.created_at,
            created_at: row.created_at,
            deployment_id: row.deployment.clone(),
            deployment: AliasTarget { id: row.deployment.clone(), url: row.target.clone() },
            project_id: row.project.clone(),
            creator: caller.creator(),
        }
    }
}

/// Why an alias was not pointed.
pub(crate) fn refusal(pointed: &Pointed, host: &Host) -> Error {
    match pointed {
        Pointed::Here { .. } | Pointed::NoDeployment => Error::NotFound("deployment"),
        Pointed::NotReady(state) if state.is_final() => {
            Error::refused(Refusal::Gone, "gone", "The deployment's build has failed: it cannot have an alias.")
        }
        Pointed::NotReady(_) => {
            Error::refused(Refusal::Wrong, "deployment_not_ready", "The deployment is not ready yet.")
        }
        Pointed::Taken => {
            let message = format!("The alias {host} is a deployment's own host, or another account's.");
            Error::refused(Refusal::NotYours, "alias_in_use", message)
        }
        Pointed::TooMany => {
            Error::refused(Refusal::NotYours, "too_many_aliases", "The account has 1,000 aliases: remove some.")
        }
    }
}
