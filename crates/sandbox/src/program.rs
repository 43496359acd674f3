//! What a bundle says of the program in it: written by a build, read by the launcher inside.

use serde::{Deserialize, Serialize};

/// How the program of a bundle is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; the program is a path from the bundle's root.
    pub argv: Vec<String>,
    /// How requests reach it.
    pub listens: Listens,
}

/// How requests reach a program. HTTP/1.1 either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listens {
    /// Descriptor 0 is a socket that listens.
    Descriptor,
    /// It opens the port that `PORT` names, or another one.
    Port,
}

impl Program {
    /// Where it is written, below the bundle's root.
    pub const FILE: &str = ".dockless/program.json";
    /// Where builds put the program itself.
    pub const PLACE: &str = "bootstrap";
}
