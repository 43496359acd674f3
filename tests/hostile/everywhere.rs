//! The same attacks wherever a stranger's program runs: in a service, in a build's script, in a step of a Dockerfile. (In a
//! function they are in the file above.)

use dockless_testkit::{
    Deployment, Files, LayerTar, Options, Registry, Scratch, Server, TestImage, compile, installed,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What makes a program run nowhere but in a sandbox.
pub(crate) const CONFINED: &str = include_str!("../natives/confined.h");

pub(crate) fn attacker(name: &str, source: &str, folder: &Scratch) -> PathBuf {
    compile(&format!("{CONFINED}{source}"), folder, name)
}

fn forbidden(folder: &Scratch) -> PathBuf {
    attacker("forbidden", include_str!("../natives/forbidden.c"), folder)
}

/// A service that runs programs for whoever asks, with these programs in its image.
pub(crate) fn service(
    server: &Server,
    registry: &Registry,
    programs: &[(&str, &Path)],
    user: Option<&str>,
) -> Deployment {
    let scratch = Scratch::new();
    let kit = compile(include_str!("../natives/service.c"), &scratch, "service");
    let mut layer = LayerTar::new().program("server", &kit).folder("tmp", 0o1777);
    for (name, program) in programs {
        layer = layer.program(name, program);
    }
    let mut image = TestImage::new().layer(layer).entrypoint(&["/server"]);
    if let Some(user) = user {
        image = image.with("User", json!(user));
    }
    let name = format!("service-{}", if user.is_some() { "user" } else { "root" });
    image.push(registry.address(), &name, "1", None);
    server.deploy_image(&format!("{}/{name}:1", registry.address()), &name, &[])
}

/// Of what [`forbidden`] said: every call but these was refused, and none killed or reached the kernel's own checks of
/// arguments alone.
#[track_caller]
fn all_refused(said: &str, place: &str, but: &[&str]) {
    let lines: Vec<(&str, i32)> = said
        .lines()
        .filter_map(|line| {
            let (name, errno) = line.trim().split_once(' ')?;
            Some((name, errno.parse().ok()?))
        })
        .collect();
    assert!(lines.len() >= 66, "{place}: not every call was tried:\n{said}");
    let allowed: Vec<&str> = lines.iter().filter(|(_, errno)| *errno == 0).map(|(name, _)| *name).collect();
    let unexpected: Vec<&&str> = allowed.iter().filter(|name| !but.contains(name)).collect();
    assert!(unexpected.is_empty(), "{place}: allowed are {unexpected:?}; all of it:\n{said}");
    for (name, errno) in lines {
        // EPERM, EACCES, EINVAL (an id that is not mapped), ENOSYS, EAFNOSUPPORT.
        assert!([0, 1, 13, 22, 38, 97].contains(&errno), "{place}: {name} ended with {errno}:\n{said}");
    }
}

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

#[test]
fn a_service_may_call_no_more_of_the_kernel_than_its_image_needs() {
    let Some(registry) = Registry::start(None) else { return };
    let (server, programs) = (server(), Scratch::new());
    let forbidden = forbidden(&programs);
    let root = service(&server, &registry, &[("forbidden", &forbidden)], None);
    // Root of its own users may change among them, and its own root.
    let said = root.get("/spawn/forbidden").expect(200).text();
    all_refused(&said, "a service as root", &["chroot", "setuid_root", "setgid_root"]);
    let user = service(&server, &registry, &[("forbidden", &forbidden)], Some("1000:1000"));
    all_refused(&user.get("/spawn/forbidden").expect(200).text(), "a service as a user", &[]);
    server.stop();
}

#[test]
fn a_build_script_may_call_no_more_of_the_kernel_than_a_function() {
    let (server, programs) = (server(), Scratch::new());
    let package = json!({ "scripts": { "build": "mkdir -p public && ./forbidden > public/said" } });
    let files = Files::new().with("package.json", package.to_string()).with_program("forbidden", &forbidden(&programs));
    let site = server.deploy_folder(files.path(), "build");
    all_refused(&site.get("/said").expect(200).text(), "a build script", &[]);
    server.stop();
}

#[test]
fn a_step_of_a_dockerfile_may_call_no_more_of_the_kernel_than_it_needs() {
    if !installed("buildah", "buildah") || !installed("busybox", "busybox-static") {
        return;
    }
    let (server, programs) = (server(), Scratch::new());
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY forbidden /forbidden\n\
        RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox mkdir -p /www /tmp /var/task && /forbidden > /www/said\"]\n\
        EXPOSE 8080\nCMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";
    let files = Files::new()
        .with("Dockerfile", dockerfile)
        .with_program("busybox", Path::new("/bin/busybox"))
        .with_program("forbidden", &forbidden(&programs));
    let site = server.deploy_folder(files.path(), "step");
    let said = site.get("/said").expect(200).text();
    all_refused(&said, "a step of a Dockerfile", &["chroot", "setuid_root", "setgid_root"]);
    server.stop();
}
