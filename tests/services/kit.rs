//! A server with a registry, and images of the small server that the tests of services run FROM scratch.

use dockless_testkit::{Deployment, LayerTar, Options, Registry, Scratch, Server, TestImage, compile};
use std::path::PathBuf;

/// The server of the tests, FROM scratch.
pub(crate) struct Kit {
    pub(crate) server: Server,
    registry: Registry,
    program: PathBuf,
    _scratch: Scratch,
}

impl Kit {
    /// With further arguments of `serve`. `None` where there is no registry, which says so loudly.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let registry = Registry::start(None)?;
        let scratch = Scratch::new();
        let program = compile(include_str!("../natives/service.c"), &scratch, "service");
        let mut options = Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) };
        options.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Some(Self { server: Server::start(options), registry, program, _scratch: scratch })
    }

    pub(crate) fn image(&self) -> TestImage {
        let files = LayerTar::new()
            .program("server", &self.program)
            .folder("tmp", 0o1777)
            .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/var/www:/bin/false\n")
            .file("etc/group", 0o644, "root:x:0:\nweb:x:44:\nlogs:x:55:web\n");
        TestImage::new().layer(files).entrypoint(&["/server"])
    }

    pub(crate) fn deploy(&self, name: &str, image: &TestImage, arguments: &[&str]) -> Deployment {
        let at = self.registry.address();
        image.push(at, name, "1", None);
        self.server.deploy_image(&format!("{at}/{name}:1"), name, arguments)
    }
}
