//! Who am I: `GET /v2/user`, `GET /www/user`, `GET /teams`.

use crate::Pagination;
use dockless_model::{AccountId, Plan};
use serde::{Deserialize, Serialize};

/// `{"user": {…}}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserBody {
    /// The caller.
    pub user: User,
}

/// The account of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Same as `id`.
    pub uid: AccountId,
    /// Which.
    pub id: AccountId,
    /// Name.
    pub username: String,
    /// Address.
    pub email: String,
    /// Name for people.
    pub name: String,
    /// 2: what clients deploy when nothing says otherwise.
    pub platform_version: u32,
    /// Plan.
    pub billing: Billing,
}

/// What the account may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billing {
    /// Caps.
    pub plan: Plan,
}

/// Teams of the caller: none in this version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamList {
    /// Empty.
    pub teams: Vec<serde_json::Value>,
    /// One page.
    pub pagination: Pagination,
}
