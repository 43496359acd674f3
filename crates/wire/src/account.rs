//! Accounts and tokens: `/v1/accounts` for the owner of the platform, `/v1/user/tokens` for everybody.

use dockless_model::{AccountId, Plan, Secret, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

/// An account, as the owner of the platform sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Which.
    pub id: AccountId,
    /// Unique name.
    pub username: String,
    /// Caps.
    pub plan: Plan,
    /// `owner`: may act on the platform itself, accounts included. `member`: acts on what is its own.
    pub role: String,
    /// Since.
    pub created_at: Timestamp,
}

/// Answer to `GET /v1/accounts`, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountList {
    /// All of them.
    pub accounts: Vec<Account>,
}

/// Body of `POST /v1/accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAccount {
    /// 1 to 48 characters of `a-z 0-9 -`, neither first nor last a dash.
    pub username: String,
    /// `pro` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// `member` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountCreated {
    /// The account.
    pub account: Account,
    /// Its first token, shown this once.
    pub bearer_token: Secret,
}

/// Answer to the removal of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRemoved {
    /// Which.
    pub id: AccountId,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Which; not secret.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// Since.
    pub created_at: Timestamp,
    /// Not accepted from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Answer to `GET /v1/user/tokens`, oldest first; expired ones too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenList {
    /// All of them.
    pub tokens: Vec<Token>,
}

/// Body of `POST /v1/user/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateToken {
    /// For people; unique within the account.
    pub name: String,
    /// Not accepted from then on; for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// Its secret, shown this once.
    pub bearer_token: Secret,
}

/// Answer to the revocation of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRemoved {
    /// Which.
    pub token_id: TokenId,
}
