//! What of `/etc` is not the image's: who this machine is.

use dockless_model::InstanceId;
use dockless_sandbox::GATEWAY;

/// The name of the machine inside: twelve characters of the instance's id, as container engines do.
pub(super) fn hostname(instance: &InstanceId) -> String {
    let id = instance.as_str();
    let id = id.rsplit_once('_').map_or(id, |(_, random)| random);
    id.chars().take(12).collect()
}

/// Writes hosts, hostname and where names are asked for into the instance's own layer. An image in which that is not possible (`/etc` is a file)
/// gets along without.
pub(super) fn write(hostname: &str) {
    let _ = std::fs::create_dir("/etc");
    let hosts = format!(
        "127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    );
    let resolver = format!("nameserver {GATEWAY}\n");
    for (path, text) in
        [("/etc/hosts", hosts.as_str()), ("/etc/hostname", &format!("{hostname}\n")), ("/etc/resolv.conf", &resolver)]
    {
        // A fresh file: what the image has there may be a link to somewhere else.
        let _ = std::fs::remove_file(path);
        let _ = std::fs::write(path, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::OsEntropy;

    #[test]
    fn host_names_are_short_and_of_the_instance() {
        let instance = InstanceId::random(&OsEntropy);
        let name = hostname(&instance);
        assert_eq!(name.len(), 12);
        assert!(instance.as_str().contains(&name));
    }
}
