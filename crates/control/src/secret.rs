//! Secrets of an account: named values that environments refer to. No method gives one out.

use crate::{Caller, Control, Error, Refusal, variable::MAX_ENV_BYTES};
use dockless_model::{Secret, SecretId};
use dockless_store::{SealedColumn, SecretRemoval, SecretRow, StoreError};
use dockless_wire::{CreateSecret, SecretList, SecretRemoved, SecretRenamed};

/// Most secrets of an account.
const MOST: usize = 1000;
/// Longest name.
const MAX_NAME: usize = 100;

impl Control {
    /// The caller's secrets, without their values.
    ///
    /// # Errors
    /// The database fails.
    pub async fn secrets(&self, caller: &Caller) -> Result<SecretList, Error> {
        let secrets = self.db().secrets(caller.id()).await?;
        Ok(SecretList { secrets: secrets.into_iter().map(view).collect() })
    }

    /// Adds a secret.
    ///
    /// # Errors
    /// The name is none or taken, the value too long; the database fails.
    pub async fn add_secret(&self, caller: &Caller, wish: &CreateSecret) -> Result<dockless_wire::SecretInfo, Error> {
        let name = secret_name(&wish.name, "name")?;
        let value = wish.value.expose();
        if value.contains('\0') || value.len() > MAX_ENV_BYTES {
            let message = format!("expected at most {MAX_ENV_BYTES} bytes without a NUL character");
            return Err(Error::field("value", message));
        }
        if self.db().secrets(caller.id()).await?.len() >= MOST {
            let message = format!("The account has {MOST} secrets: remove some.");
            return Err(Error::refused(Refusal::NotYours, "too_many_secrets", message));
        }
        let (id, now) = (SecretId::random(self.entropy()), self.now());
        let sealed = self.seal(SealedColumn::Secret, id.as_str(), value);
        let row = SecretRow { id, name, created_at: now };
        match self.db().create_secret(caller.id(), &row, &sealed, now).await {
            Err(StoreError::Taken(_)) => Err(taken(&row.name)),
            Err(error) => Err(error.into()),
            Ok(()) => {
                tracing::info!(secret = %row.id, account = %caller.id(), "secret added");
                Ok(view(row))
            }
        }
    }

    /// Gives a secret another name. Variables that it gives follow; deployments keep what they have.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the name is none or taken; the database fails.
    pub async fn rename_secret(&self, caller: &Caller, old: &str, new: &str) -> Result<SecretRenamed, Error> {
        let name = secret_name(new, "name")?;
        let missing = Error::NotFound("secret");
        let Some((row, _)) = self.db().secret(caller.id(), &old.to_lowercase()).await? else { return Err(missing) };
        match self.db().rename_secret(caller.id(), &row.id, &name, self.now()).await {
            Err(StoreError::Taken(_)) => Err(taken(&name)),
            Err(error) => Err(error.into()),
            Ok(false) => Err(missing),
            Ok(true) => Ok(SecretRenamed { uid: row.id, name, old_name: row.name, created: row.created_at }),
        }
    }

    /// Removes a secret. Deployments keep what they have.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a variable is given by it; the database fails.
    pub async fn remove_secret(&self, caller: &Caller, name: &str) -> Result<SecretRemoved, Error> {
        let missing = Error::NotFound("secret");
        let Some((row, _)) = self.db().secret(caller.id(), &name.to_lowercase()).await? else { return Err(missing) };
        match self.db().remove_secret(caller.id(), &row.id, self.now()).await? {
            SecretRemoval::Missing => Err(missing),
            SecretRemoval::Used(project) => {
                let message = format!("The secret {} gives a variable of the project {project}.", row.name);
                Err(Error::refused(Refusal::Conflict, "secret_in_use", message))
            }
            SecretRemoval::Done => {
                tracing::info!(secret = %row.id, account = %caller.id(), "secret removed");
                Ok(SecretRemoved { uid: row.id, name: row.name, created: row.created_at })
            }
        }
    }

    /// A secret that a request refers to in one of its fields, with its sealed value.
    pub(crate) async fn find_secret(
        &self,
        caller: &Caller,
        name: &str,
        field: &str,
    ) -> Result<(SecretRow, String), Error> {
        let found = self.db().secret(caller.id(), name).await?;
        found.ok_or_else(|| Error::coded("secret_not_found", field, "there is no secret of that name"))
    }

    pub(crate) async fn secret_value(
        &self,
        caller: &Caller,
        name: &str,
        field: &str,
    ) -> Result<(SecretId, Secret), Error> {
        let (row, sealed) = self.find_secret(caller, name, field).await?;
        let value = self.unseal(SealedColumn::Secret, row.id.as_str(), &sealed)?;
        Ok((row.id, value))
    }
}

/// Lower case, as every client shows it.
fn secret_name(text: &str, field: &str) -> Result<String, Error> {
    let name = text.to_lowercase();
    let valid = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    if valid {
        return Ok(name);
    }
    Err(Error::field(field, format!("expected 1 to {MAX_NAME} characters of a-z, 0-9, -, _ and .")))
}

fn taken(name: &str) -> Error {
    Error::refused(Refusal::Conflict, "secret_exists", format!("There is a secret {name} already."))
}

fn view(row: SecretRow) -> dockless_wire::SecretInfo {
    dockless_wire::SecretInfo { uid: row.id, name: row.name, created: row.created_at }
}
