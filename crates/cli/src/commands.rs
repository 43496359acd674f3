//! One file a command: `Args`, and `run(args, ctx)`.

pub mod completions;
pub mod deploy;
pub mod logs;
pub mod ls;
pub mod man;
pub mod ps;
pub mod rm;
pub mod sleep;
pub mod status;
pub mod upgrade;
