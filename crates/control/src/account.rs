//! Who is calling.

use crate::{Control, Error, Refusal};
use dockless_model::{AccountId, Digest, Plan, Secret, TokenId};
use dockless_store::{Account, NewAccount, NewToken, StoreError};
use dockless_wire::{AccountCreated, AccountList, AccountRemoved, Billing, CreateAccount, Creator, User};

/// Name of the account that owns the machine.
const OWNER: &str = "owner";
/// Name of the token that lies in the data folder.
pub(crate) const FIRST_TOKEN: &str = "data folder";
/// Longest name of an account.
const MAX_NAME: usize = 48;

/// An authenticated account: the only way to one is [`Control::authenticate`].
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) account: Account,
    /// Hash of the token that was shown.
    pub(crate) token: Digest,
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

    pub(crate) fn creator(&self) -> Creator {
        let Account { id, username, email, .. } = &self.account;
        Creator { uid: id.clone(), username: username.clone(), email: email.clone() }
    }

    /// Passes only the owner of the platform.
    ///
    /// # Errors
    /// [`Error::Forbidden`] unless the account may act on the platform itself.
    pub fn must_own_platform(&self) -> Result<(), Error> {
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
        Ok(account.map(|account| Caller { account, token: hash }))
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

    /// All accounts.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but the owner of the platform; the database fails.
    pub async fn accounts(&self, caller: &Caller) -> Result<AccountList, Error> {
        caller.must_own_platform()?;
        Ok(AccountList { accounts: self.db().accounts().await?.iter().map(view).collect() })
    }

    /// Makes an account with its first token.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but the owner of the platform; the name is none or taken; the database fails.
    pub async fn add_account(&self, caller: &Caller, wish: &CreateAccount) -> Result<AccountCreated, Error> {
        caller.must_own_platform()?;
        let name = wish.username.as_str();
        let valid = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !valid {
            let message = format!("expected 1 to {MAX_NAME} characters of a-z, 0-9 and -, no dash first or last");
            return Err(Error::field("username", message));
        }
        let admin = match wish.role.as_deref() {
            None | Some("member") => false,
            Some("owner") => true,
            Some(_) => return Err(Error::field("role", "expected member or owner")),
        };
        let plan = wish.plan.unwrap_or(if admin { Plan::Owner } else { Plan::Pro });
        let id = match self.insert_account(name, plan, admin).await {
            Err(Error::Store(StoreError::Taken(_))) => return Err(Error::field("username", "it is taken")),
            made => made?,
        };
        let bearer_token = self.create_token(&id, "first", None).await?;
        tracing::info!(account = %id, username = name, "account made");
        Ok(AccountCreated { account: view(&self.find_account(id.as_str()).await?), bearer_token })
    }

    /// Removes an account with all that is its own, in one step: its tokens, projects, deployments and hosts.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for all but the owner of the platform; [`Error::NotFound`]; it is the caller's own or the
    /// machine's; the database fails and nothing is removed.
    pub async fn remove_account(&self, caller: &Caller, name: &str) -> Result<AccountRemoved, Error> {
        caller.must_own_platform()?;
        let account = self.find_account(name).await?;
        if account.username == OWNER || account.id == *caller.id() {
            let message = "This account cannot be removed: it is your own, or the one the platform belongs to.";
            return Err(Error::refused(Refusal::Conflict, "conflict", message));
        }
        if !self.db().remove_account(&account.id, &self.config().node, self.now()).await? {
            return Err(Error::NotFound("account"));
        }
        tracing::info!(account = %account.id, "account removed");
        self.poll().await?;
        self.removed().notify_one();
        Ok(AccountRemoved { id: account.id })
    }

    /// An account by id or name.
    pub(crate) async fn find_account(&self, name: &str) -> Result<Account, Error> {
        let found = match name.parse::<AccountId>() {
            Ok(id) => self.db().account(&id).await?,
            Err(_) => self.db().account_by_name(name).await?,
        };
        found.ok_or(Error::NotFound("account"))
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

fn view(account: &Account) -> dockless_wire::Account {
    dockless_wire::Account {
        id: account.id.clone(),
        username: account.username.clone(),
        plan: account.plan,
        role: if account.admin { "owner" } else { "member" }.to_owned(),
        created_at: account.created_at,
    }
}
