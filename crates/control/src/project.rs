//! Projects, and which of their deployments their own alias leads to.

use crate::{Caller, Control, Error, Refusal, alias::refusal};
use dockless_model::{DeploymentId, ProjectId, ProjectName};
use dockless_store::{Pointed, Project, StoreError, Target};
use dockless_wire::{AliasRequest, Production, ProjectRemoved, Promoted, Targets};

/// Most projects in a listing.
const PAGE: u32 = 1000;

impl Control {
    /// The caller's projects, the one changed last first.
    ///
    /// # Errors
    /// The database fails.
    pub async fn projects(&self, caller: &Caller, limit: Option<u32>) -> Result<Vec<dockless_wire::Project>, Error> {
        let mut projects = Vec::new();
        for row in self.db().projects(caller.id(), limit.unwrap_or(PAGE).clamp(1, PAGE)).await? {
            projects.push(self.project_view(caller, row).await?);
        }
        Ok(projects)
    }

    /// One project, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn project(&self, caller: &Caller, name: &str) -> Result<dockless_wire::Project, Error> {
        let project = self.find_project(caller, name).await?;
        self.project_view(caller, project).await
    }

    /// Makes a project without deployments.
    ///
    /// # Errors
    /// The name is none, or the account has such a project; the database fails.
    pub async fn create_project(&self, caller: &Caller, name: &str) -> Result<dockless_wire::Project, Error> {
        let name: ProjectName = name.parse().map_err(Error::parse("name"))?;
        let id = ProjectId::random(self.entropy());
        match self.db().create_project(caller.id(), &id, &name, self.now()).await {
            Err(StoreError::Taken(_)) => {
                let message = format!("There is a project {name} already.");
                Err(Error::refused(Refusal::Conflict, "conflict", message))
            }
            Err(error) => Err(error.into()),
            Ok(()) => self.project(caller, id.as_str()).await,
        }
    }

    /// Removes a project with all its deployments, aliases and variables, in one step.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails and nothing is removed.
    pub async fn remove_project(&self, caller: &Caller, name: &str) -> Result<ProjectRemoved, Error> {
        let id = self.find_project(caller, name).await?.id;
        let removed = self.db().remove_project(caller.id(), &id, &self.config().node, self.now()).await?;
        let Some(deployments) = removed else { return Err(Error::NotFound("project")) };
        tracing::info!(project = %id, deployments, "project removed");
        self.poll().await?;
        self.removed().notify_one();
        Ok(ProjectRemoved { id, deployments })
    }

    /// Points a project's alias at one of its deployments.
    ///
    /// # Errors
    /// The project or deployment is not there, or not ready; the alias is another's; the database fails.
    pub async fn promote(&self, caller: &Caller, project: &str, deployment: &str) -> Result<Promoted, Error> {
        let project = self.find_project(caller, project).await?;
        let to = self.find(caller, deployment).await?.id;
        self.move_alias(caller, &project, Some(&to), "promote").await
    }

    /// Points a project's alias back: at one of its deployments, or at the newest READY one created before the one it
    /// leads to.
    ///
    /// # Errors
    /// As [`Self::promote`]; there is nothing to go back to.
    pub async fn roll_back(&self, caller: &Caller, project: &str, to: Option<&str>) -> Result<Promoted, Error> {
        let project = self.find_project(caller, project).await?;
        let to = match to {
            Some(name) => Some(self.find(caller, name).await?.id),
            None => None,
        };
        self.move_alias(caller, &project, to.as_ref(), "rollback").await
    }

    async fn move_alias(
        &self,
        caller: &Caller,
        project: &Project,
        to: Option<&DeploymentId>,
        kind: &str,
    ) -> Result<Promoted, Error> {
        let own = self.own_alias(&project.name)?;
        let target = to.map_or(Target::Previous, Target::Deployment);
        let pointed = self.db().move_project(caller.id(), &project.id, &own, target, kind, self.now()).await?;
        let (before, now) = match pointed {
            Pointed::Here { before, now, .. } => (before, now),
            Pointed::NoDeployment if to.is_none() => {
                let message = format!("The project {} has no earlier deployment to go back to.", project.name);
                return Err(Error::refused(Refusal::Conflict, "nothing_to_roll_back", message));
            }
            other => return Err(refusal(&other, &own)),
        };
        tracing::info!(project = %project.name, deployment = %now, kind, "project's alias moved");
        self.poll().await?;
        let deployment = self.find(caller, now.as_str()).await?;
        Ok(Promoted {
            project: project.name.clone(),
            href: self.config().public.href(&own),
            alias: own,
            from_deployment_id: before.filter(|before| *before != now),
            to_deployment_id: now,
            url: deployment.host,
        })
    }

    pub(crate) async fn find_project(&self, caller: &Caller, name: &str) -> Result<Project, Error> {
        self.db().project(caller.id(), name).await?.ok_or(Error::NotFound("project"))
    }

    async fn project_view(&self, caller: &Caller, project: Project) -> Result<dockless_wire::Project, Error> {
        let own = self.own_alias(&project.name)?;
        let alias = self.db().alias(caller.id(), &own).await?.filter(|alias| alias.project == project.id);
        let production =
            alias.map(|alias| Production { id: alias.deployment, url: alias.target, alias: vec![alias.host] });
        Ok(dockless_wire::Project {
            id: project.id,
            name: project.name,
            account_id: project.account,
            created_at: project.created_at,
            updated_at: project.updated_at,
            targets: Targets { production },
            last_alias_request: project.moved.map(|moved| AliasRequest {
                kind: moved.kind,
                from_deployment_id: moved.from,
                to_deployment_id: moved.to,
                job_status: "succeeded".to_owned(),
                requested_at: moved.at,
            }),
        })
    }
}
