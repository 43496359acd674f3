//! Environments: variables of a project, and values that secrets give.
//!
//! A deployment takes its environment when it is created and keeps it: changing a variable or a secret changes what is
//! deployed next.

use crate::{Caller, Control, Error, Refusal, error::Invalid};
use dockless_model::{ProjectName, Secret, VariableId};
use dockless_store::{SealedColumn, Variable};
use dockless_wire::{CreateVariable, VariableList, VariableRemoved};
use std::collections::{BTreeMap, BTreeSet};

/// Names and values of an environment, summed: what fits into the start of a process beside its own.
pub(crate) const MAX_ENV_BYTES: usize = 64 * 1024;
/// Most variables of a project.
const MOST: usize = 500;
const TARGETS: [&str; 3] = ["production", "preview", "development"];

/// Names and values, and what gave them: the ids of variables and secrets, which change with the values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub(crate) values: BTreeMap<String, Secret>,
    pub(crate) givers: Vec<String>,
}

impl Environment {
    pub(crate) fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
        self.givers.extend(other.givers);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.iter().map(|(name, value)| name.len() + value.expose().len()).sum()
    }
}

/// A value as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// This one.
    Value(Secret),
    /// That of a secret, by name or id.
    Secret(String),
}

impl Wish {
    /// `@name` is a secret; `\@text` is the text with its first character.
    pub(crate) fn read(text: String) -> Self {
        match text.strip_prefix('@') {
            Some(name) => Self::Secret(name.to_lowercase()),
            None => match text.strip_prefix("\\@") {
                Some(rest) => Self::Value(Secret::new(format!("@{rest}"))),
                None => Self::Value(Secret::new(text)),
            },
        }
    }
}

/// # Errors
/// It is no name of a variable.
pub(crate) fn check_name(name: &str, field: &str) -> Result<(), Error> {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 256 {
        return Ok(());
    }
    Err(Error::Invalid(Invalid {
        code: "env_key_invalid_characters",
        message: format!("Invalid `{field}`: expected a name of letters, digits and _, no digit first"),
        field: Some(field.to_owned()),
        key: Some(name.to_owned()),
        size_limit: None,
    }))
}

impl Control {
    /// Values for what was asked.
    pub(crate) async fn grant(
        &self,
        caller: &Caller,
        wishes: &BTreeMap<String, Wish>,
        field: &str,
    ) -> Result<Environment, Error> {
        let mut env = Environment::default();
        for (name, wish) in wishes {
            let value = match wish {
                Wish::Value(value) => value.clone(),
                Wish::Secret(secret) => {
                    let (id, value) = self.secret_value(caller, secret, &format!("{field}.{name}")).await?;
                    env.givers.push(id.to_string());
                    value
                }
            };
            env.values.insert(name.clone(), value);
        }
        Ok(env)
    }

    /// The variables of a project for a target; none where there is no such project.
    pub(crate) async fn project_environment(
        &self,
        caller: &Caller,
        project: &ProjectName,
        target: &str,
    ) -> Result<Environment, Error> {
        let mut env = Environment::default();
        let Some(project) = self.db().project(caller.id(), project.as_str()).await? else { return Ok(env) };
        for variable in self.db().variables(caller.id(), &project.id).await? {
            if !variable.targets.contains(target) {
                continue;
            }
            let value = match (&variable.value, &variable.secret) {
                (Some(sealed), _) => self.unseal(SealedColumn::Variable, variable.id.as_str(), sealed)?,
                (None, Some((id, _))) => {
                    self.secret_value(caller, id.as_str(), &format!("env.{}", variable.name)).await?.1
                }
                (None, None) => return Err(Error::Damaged("a variable")),
            };
            env.givers.push(variable.id.to_string());
            env.values.insert(variable.name, value);
        }
        Ok(env)
    }

    /// The variables of a project, without their values.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn variables(&self, caller: &Caller, project: &str) -> Result<VariableList, Error> {
        let project = self.find_project(caller, project).await?;
        let variables = self.db().variables(caller.id(), &project.id).await?;
        Ok(VariableList { envs: variables.into_iter().map(view).collect() })
    }

    /// Sets a variable for the deployments that a project will have. `replace` what others of its name say for the same
    /// targets, or refuse.
    ///
    /// # Errors
    /// The project or secret is not there, name or targets are none, there is one already; the database fails.
    pub async fn set_variable(
        &self,
        caller: &Caller,
        project: &str,
        wish: &CreateVariable,
        replace: bool,
    ) -> Result<dockless_wire::Variable, Error> {
        let project = self.find_project(caller, project).await?;
        check_name(&wish.key, "key")?;
        if self.platform().is_reserved_variable(&wish.key) {
            return Err(Error::field("key", "is set by the platform: choose another name"));
        }
        let targets = targets(&wish.target)?;
        let (now, id) = (self.now(), VariableId::random(self.entropy()));
        let mut variable = Variable {
            id,
            name: wish.key.clone(),
            value: None,
            secret: None,
            targets,
            created_at: now,
            updated_at: now,
        };
        match Wish::read(wish.value.expose().to_owned()) {
            Wish::Secret(name) => {
                let (secret, _) = self.find_secret(caller, &name, "value").await?;
                variable.secret = Some((secret.id, secret.name));
            }
            Wish::Value(value) => {
                if value.expose().contains('\0') || value.expose().len() > MAX_ENV_BYTES {
                    let message = format!("expected at most {MAX_ENV_BYTES} bytes without a NUL character");
                    return Err(Error::field("value", message));
                }
                let sealed = self.seal(SealedColumn::Variable, variable.id.as_str(), value.expose());
                variable.value = Some(sealed);
            }
        }
        if self.db().variables(caller.id(), &project.id).await?.len() >= MOST {
            let message = format!("The project has {MOST} variables: remove some.");
            return Err(Error::refused(Refusal::NotYours, "too_many_variables", message));
        }
        if !self.db().set_variable(caller.id(), &project.id, &variable, replace, now).await? {
            let message = format!("There is a variable {} for one of these targets already.", variable.name);
            return Err(Error::refused(Refusal::Wrong, "env_already_exists", message));
        }
        tracing::info!(project = %project.name, variable = variable.name, "variable set");
        Ok(view(variable))
    }

    /// Removes a variable by id, or all of one name.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database fails.
    pub async fn remove_variable(&self, caller: &Caller, project: &str, name: &str) -> Result<VariableRemoved, Error> {
        let project = self.find_project(caller, project).await?;
        match self.db().remove_variable(caller.id(), &project.id, name, self.now()).await? {
            0 => Err(Error::NotFound("variable")),
            removed => Ok(VariableRemoved { key: name.to_owned(), removed }),
        }
    }
}

fn targets(wanted: &[String]) -> Result<BTreeSet<String>, Error> {
    let bad = || Error::field("target", "expected a list of production, preview and development");
    if wanted.is_empty() {
        return Err(bad());
    }
    let known = |target: &String| TARGETS.contains(&target.as_str()).then(|| target.clone());
    wanted.iter().map(known).collect::<Option<_>>().ok_or_else(bad)
}

fn view(variable: Variable) -> dockless_wire::Variable {
    let (kind, value) = match &variable.secret {
        Some((_, name)) => ("secret", format!("@{name}")),
        None => ("sensitive", String::new()),
    };
    dockless_wire::Variable {
        id: variable.id,
        key: variable.name,
        value,
        kind: kind.to_owned(),
        target: variable.targets.into_iter().collect(),
        created_at: variable.created_at,
        updated_at: variable.updated_at,
    }
}
