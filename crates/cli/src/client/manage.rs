//! Calls about aliases, projects, accounts and tokens.

use super::{CallError, Client, Name};
use dockless_wire as wire;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

impl Client {
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CallError> {
        self.ask(self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, CallError> {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, CallError> {
        self.ask(self.request(Method::DELETE, path)).await
    }

    /// Points an alias at a deployment.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn set_alias(&self, deployment: &Name, alias: &str) -> Result<wire::AliasSet, CallError> {
        let body = wire::SetAlias { alias: alias.to_owned() };
        self.post(&["v2", "deployments", deployment.as_str(), "aliases"], &body).await
    }

    /// Lists aliases.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn aliases(&self) -> Result<wire::AliasList, CallError> {
        self.get(&["v2", "aliases"]).await
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove_alias(&self, alias: &str) -> Result<wire::AliasRemoved, CallError> {
        self.delete(&["v2", "aliases", alias]).await
    }

    /// Points a project's alias at a deployment of it.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn promote(&self, deployment: &wire::Deployment) -> Result<wire::Promoted, CallError> {
        let (project, id) = (deployment.project_id.as_str(), deployment.id.as_str());
        self.post(&["v10", "projects", project, "promote", id], &serde_json::json!({})).await
    }

    /// Points a project's alias back, by one deployment unless one is named.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn roll_back(&self, project: &str, to: Option<&str>) -> Result<wire::Promoted, CallError> {
        let mut path = vec!["v9", "projects", project, "rollback"];
        path.extend(to);
        self.post(&path, &serde_json::json!({})).await
    }

    /// Lists a project's variables.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn variables(&self, project: &str) -> Result<wire::VariableList, CallError> {
        self.get(&["v10", "projects", project, "env"]).await
    }

    /// Sets a variable of a project, in place of what was said for the same targets.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn set_variable(
        &self,
        project: &str,
        wish: &wire::CreateVariable,
    ) -> Result<wire::Variable, CallError> {
        let request = self.request(Method::POST, &["v10", "projects", project, "env"]);
        self.ask(request.query(&[("upsert", "true")]).json(wish)).await
    }

    /// Removes a variable of a project.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove_variable(&self, project: &str, name: &str) -> Result<wire::VariableRemoved, CallError> {
        self.delete(&["v10", "projects", project, "env", name]).await
    }

    /// Makes a project without deployments.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn create_project(&self, name: &str) -> Result<wire::Project, CallError> {
        self.post(&["v9", "projects"], &wire::CreateProject { name: name.to_owned() }).await
    }

    /// Lists secrets.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn secrets(&self) -> Result<wire::SecretList, CallError> {
        self.get(&["v2", "secrets"]).await
    }

    /// Adds a secret.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn add_secret(&self, wish: &wire::CreateSecret) -> Result<wire::SecretInfo, CallError> {
        self.post(&["v2", "secrets"], wish).await
    }

    /// Gives a secret another name.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn rename_secret(&self, old: &str, new: &str) -> Result<wire::SecretRenamed, CallError> {
        let body = wire::RenameSecret { name: new.to_owned() };
        self.ask(self.request(Method::PATCH, &["v2", "secrets", old]).json(&body)).await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove_secret(&self, name: &str) -> Result<wire::SecretRemoved, CallError> {
        self.delete(&["v2", "secrets", name]).await
    }

    /// Scales a deployment.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn scale(&self, name: &Name, rules: &wire::ScaleRules) -> Result<wire::Deployment, CallError> {
        let path = ["v3", "deployments", name.as_str(), "instances"];
        self.ask(self.request(Method::PATCH, &path).json(rules)).await
    }

    /// Lists a deployment's builds with what they left.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn builds(&self, name: &Name) -> Result<wire::BuildList, CallError> {
        self.get(&["v11", "deployments", name.as_str(), "builds"]).await
    }

    /// What deployments cost.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn usage(&self, project: Option<&str>) -> Result<wire::UsageList, CallError> {
        let query: Vec<_> = project.map(|project| ("project", project)).into_iter().collect();
        self.ask(self.request(Method::GET, &["v1", "usage"]).query(&query)).await
    }

    /// Lists accounts.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn accounts(&self) -> Result<wire::AccountList, CallError> {
        self.get(&["v1", "accounts"]).await
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn add_account(&self, wish: &wire::CreateAccount) -> Result<wire::AccountCreated, CallError> {
        self.post(&["v1", "accounts"], wish).await
    }

    /// Removes an account with all that is its own.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove_account(&self, name: &str) -> Result<wire::AccountRemoved, CallError> {
        self.delete(&["v1", "accounts", name]).await
    }

    /// Lists tokens.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn tokens(&self) -> Result<wire::TokenList, CallError> {
        self.get(&["v1", "user", "tokens"]).await
    }

    /// Makes a token: of this account, or, for the owner of the platform, of another.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn add_token(
        &self,
        account: Option<&str>,
        wish: &wire::CreateToken,
    ) -> Result<wire::TokenCreated, CallError> {
        match account {
            None => self.post(&["v1", "user", "tokens"], wish).await,
            Some(account) => self.post(&["v1", "accounts", account, "tokens"], wish).await,
        }
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn remove_token(&self, name: &str) -> Result<wire::TokenRemoved, CallError> {
        self.delete(&["v1", "user", "tokens", name]).await
    }
}
