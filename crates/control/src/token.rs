//! Tokens of the caller's account, and of others for the owner of the platform.

use crate::{Caller, Control, Error, Refusal, account::FIRST_TOKEN, control::log};
use dockless_model::{AccountId, Digest, Secret, Timestamp, TokenId, entropy::base32};
use dockless_store::{NewToken, Token};
use dockless_wire::{CreateToken, TokenCreated, TokenList, TokenRemoved};
use std::time::Duration;

/// Random characters of a token, five bits each.
const TOKEN_LENGTH: usize = 40;
/// Most tokens of an account.
const MOST: usize = 100;
/// Between looks whether a token still counts, at least and at most.
const PAUSE: Duration = Duration::from_millis(250);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Longest name.
const MAX_NAME: usize = 64;

impl Control {
    /// The caller's tokens, without their secrets.
    ///
    /// # Errors
    /// The database fails.
    pub async fn tokens(&self, caller: &Caller) -> Result<TokenList, Error> {
        let tokens = self.db().tokens(caller.id()).await?;
        Ok(TokenList { tokens: tokens.into_iter().map(view).collect() })
    }

    /// Makes a token of the caller's account.
    ///
    /// # Errors
    /// The name is none or taken, or the end has passed; the database fails.
    pub async fn add_token(&self, caller: &Caller, wish: &CreateToken) -> Result<TokenCreated, Error> {
        self.mint(caller.id(), wish).await
    }

    /// Makes a token of any account, by id or name: for who has lost theirs.
    ///
    /// # Errors
    /// As [`Self::add_token`]; [`Error::Forbidden`] for all but the owner of the platform; [`Error::NotFound`].
    pub async fn add_token_for(
        &self,
        caller: &Caller,
        account: &str,
        wish: &CreateToken,
    ) -> Result<TokenCreated, Error> {
        caller.must_own_platform()?;
        let account = self.find_account(account).await?;
        self.mint(&account.id, wish).await
    }

    /// Revokes a token of the caller's account, by id or name. It is refused from the next request on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; it is the one in the data folder; the database fails.
    pub async fn remove_token(&self, caller: &Caller, name: &str) -> Result<TokenRemoved, Error> {
        let missing = Error::NotFound("token");
        let tokens = self.db().tokens(caller.id()).await?;
        let Some(token) = tokens.into_iter().find(|token| token.id.as_str() == name || token.name == name) else {
            return Err(missing);
        };
        if token.name == FIRST_TOKEN {
            let message =
                "This token is the file `token` of the data folder: remove that file and restart the platform.";
            return Err(Error::refused(Refusal::Conflict, "conflict", message));
        }
        if !self.db().remove_token(caller.id(), &token.id, self.now()).await? {
            return Err(missing);
        }
        tracing::info!(token = %token.id, account = %caller.id(), "token revoked");
        Ok(TokenRemoved { token_id: token.id })
    }

    /// Ends once the caller's token is revoked or has expired, or its account is gone: whoever listens to an open stream must
    /// not go on listening.
    pub async fn token_ended(&self, caller: &Caller) {
        let mut revision = self.feed().revision();
        loop {
            // Every write of anybody wakes all who wait: one look for all that come close together. An end by the clock
            // is no write.
            drop(tokio::time::timeout(LOOK_AGAIN, revision.changed()).await);
            tokio::time::sleep(PAUSE).await;
            match self.db().account_by_token(&caller.token, self.now()).await {
                Ok(None) => return,
                Ok(Some(_)) => {}
                Err(error) => log(&error),
            }
        }
    }

    async fn mint(&self, account: &AccountId, wish: &CreateToken) -> Result<TokenCreated, Error> {
        let name = wish.name.trim();
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::field("name", format!("expected 1 to {MAX_NAME} characters")));
        }
        let now = self.now();
        if wish.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::field("expiresAt", "expected a time to come, in milliseconds since 1970"));
        }
        let tokens = self.db().tokens(account).await?;
        if name == FIRST_TOKEN || tokens.iter().any(|token| token.name == name) {
            return Err(Error::field("name", format!("there is a token {name:?} already")));
        }
        if tokens.len() >= MOST {
            let message = format!("The account has {MOST} tokens: remove some.");
            return Err(Error::refused(Refusal::NotYours, "too_many_tokens", message));
        }
        let (id, secret) = self.insert_token(account, name, wish.expires_at).await?;
        let token = Token { id, name: name.to_owned(), created_at: now, expires_at: wish.expires_at };
        tracing::info!(token = %token.id, %account, "token made");
        Ok(TokenCreated { token: view(token), bearer_token: secret })
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
        Ok(self.insert_token(account, name, expires_at).await?.1)
    }

    async fn insert_token(
        &self,
        account: &AccountId,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(TokenId, Secret), Error> {
        let secret = base32(self.entropy(), TOKEN_LENGTH);
        let id = TokenId::random(self.entropy());
        let token = NewToken {
            id: id.clone(),
            account: account.clone(),
            name: name.to_owned(),
            hash: Digest::of(secret.as_bytes()),
            expires_at,
        };
        self.db().create_token(&token, self.now()).await?;
        Ok((id, Secret::new(secret)))
    }
}

fn view(token: Token) -> dockless_wire::Token {
    dockless_wire::Token { id: token.id, name: token.name, created_at: token.created_at, expires_at: token.expires_at }
}
