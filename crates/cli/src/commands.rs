//! One file a command: `Args`, and `run(args, ctx)`.

pub mod account;
pub mod alias;
pub mod completions;
pub mod deploy;
pub mod dev;
pub mod env;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod man;
pub mod probe;
pub mod promote;
pub mod ps;
pub mod rm;
pub mod rollback;
pub mod scale;
pub mod secrets;
pub mod sleep;
pub mod status;
pub mod token;
pub mod upgrade;
pub mod usage;
