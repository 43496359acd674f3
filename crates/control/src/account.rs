//! Who is calling.

use crate::{Control, Error};
use dockless_model::{AccountId, Digest, Plan, Secret, Timestamp, TokenId, entropy::base32};
use dockless_store::{Account, NewAccount, NewToken, StoreError};
use dockless_wire::{Billing, User};

/// Name of the account that owns the machine.
const OWNER: &str = "owner";
/// Name of the token that lies in the data folder.
const FIRST_TOKEN: &str = "data folder";
/// Random characters of a token, five bits each.
const TOKEN_LENGTH: usize = 40;

/// An authenticated account: the only way to one is [`Control::authenticate`].
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) account: Account,
}

impl Caller {
    /// Which account.
    #[must_use]
    pub fn id(&self) -> &AccountId {
        &self.account.id
    }

    /// The account as its owner sees it.
    #[must_use]
    pub fn user(&self) -> User {
        let account = &self.account;
        User {
            uid: account.id.clone(),
            id: account.id.clone(),
            username: account.username.clone(),
            email: account.email.clone(),
            name: account.display_name.clone(),
            platform_version: 2,
            billing: Billing { plan: account.plan },
        }
    }

    /// # Errors
    /// [`Error::Forbidden`] unless the account may act on the platform itself.
    pub(crate) fn must_be_admin(&self) -> Result<(), Error> {
        if self.account.admin { Ok(()) } else { Err(Error::Forbidden("only the owner of the platform may do this")) }
    }
}

impl Control {
    /// Whose token this is; `None` if nobody's, or it has expired.
    ///
    /// # Errors
    /// The database fails.
    pub async fn authenticate(&self, token: &Secret) -> Result<Option<Caller>, Error> {
        let hash = Digest::of(token.expose().as_bytes());
        let account = self.db().account_by_token(&hash, self.now()).await?;
        Ok(account.map(|account| Caller { account }))
    }

    /// Makes this the token of the machine's owner; the account is made on the first start. An older token of this kind
    /// is forgotten.
    ///
    /// # Errors
    /// The database fails, or the token is another account's.
    pub async fn ensure_owner(&self, token: &Secret) -> Result<AccountId, Error> {
        let id = match self.db().account_by_name(OWNER).await? {
            Some(account) => account.id,
            None => match self.insert_account(OWNER, Plan::Owner, true).await {
                // Another process was quicker.
                Err(Error::Store(StoreError::Taken(_))) => {
                    self.db().account_by_name(OWNER).await?.ok_or(Error::Damaged("the owner's account"))?.id
                }
                made => made?,
            },
        };
        let token = NewToken {
            id: TokenId::random(self.entropy()),
            account: id.clone(),
            name: FIRST_TOKEN.to_owned(),
            hash: Digest::of(token.expose().as_bytes()),
            expires_at: None,
        };
        self.db().set_named_token(&token, self.now()).await?;
        Ok(id)
    }

    /// Makes an account and its first token.
    ///
    /// # Errors
    /// The database fails, or the name is taken.
    pub async fn create_account(&self, username: &str, plan: Plan) -> Result<(AccountId, Secret), Error> {
        let id = match self.insert_account(username, plan, false).await {
            Err(Error::Store(StoreError::Taken(_))) => return Err(Error::field("username", "it is taken")),
            made => made?,
        };
        let token = self.create_token(&id, "first", None).await?;
        Ok((id, token))
    }

    /// Mints a token: letters and digits alone, the alphabet every client accepts. It cannot be read back.
    ///
    /// # Errors
    /// The database fails.
    pub async fn create_token(
        &self,
        account: &AccountId,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<Secret, Error> {
        let secret = base32(self.entropy(), TOKEN_LENGTH);
        let token = NewToken {
            id: TokenId::random(self.entropy()),
            account: account.clone(),
            name: name.to_owned(),
            hash: Digest::of(secret.as_bytes()),
            expires_at,
        };
        self.db().create_token(&token, self.now()).await?;
        Ok(Secret::new(secret))
    }

    async fn insert_account(&self, username: &str, plan: Plan, admin: bool) -> Result<AccountId, Error> {
        let id = AccountId::random(self.entropy());
        let new = NewAccount {
            id: id.clone(),
            username: username.to_owned(),
            email: format!("{username}@{}", self.config().domain),
            display_name: username.to_owned(),
            plan,
            admin,
        };
        self.db().create_account(&new, self.now()).await?;
        Ok(id)
    }
}
