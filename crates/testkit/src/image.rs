//! Container images made by hand: FROM scratch, no builder, no network.
//!
//! ```text
//! TestImage::new().layer(LayerTar::new().program("server", &program)).entrypoint(&["/server"]).expose("8080/tcp")
//!    ├─► oci_layout(folder, "latest")          index.json, oci-layout, blobs/sha256/…
//!    ├─► docker_archive(file, "app:latest")    docker save of engine 25 and newer
//!    ├─► old_docker_archive(file, "app:latest")  of engine 20: ID/layer.tar
//!    └─► push(address, "me/app", "latest", None)    to a registry
//! ```

use crate::http::{Request, Response, connect};
use crate::layer::{Compression, LayerTar};
use data_encoding::BASE64;
use dockless_model::Digest;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image: configuration and layers.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// The `config` object of the configuration: `Entrypoint`, `Env` …
    pub config: Value,
    /// `amd64`, `arm64` …: this machine's unless set.
    pub architecture: String,
    layers: Vec<(LayerTar, Compression)>,
}

impl Default for TestImage {
    fn default() -> Self {
        Self::new()
    }
}

impl TestImage {
    /// No layers, an empty configuration.
    #[must_use]
    pub fn new() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { config: json!({}), architecture: architecture.to_owned(), layers: Vec::new() }
    }

    /// With a layer, packed by gzip.
    #[must_use]
    pub fn layer(self, layer: LayerTar) -> Self {
        self.packed_layer(layer, Compression::Gzip)
    }

    /// With a layer.
    #[must_use]
    pub fn packed_layer(mut self, layer: LayerTar, compression: Compression) -> Self {
        self.layers.push((layer, compression));
        self
    }

    /// With a field of the configuration: `("Cmd", json!(["/server"]))`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// With `Entrypoint`.
    #[must_use]
    pub fn entrypoint(self, argv: &[&str]) -> Self {
        self.with("Entrypoint", json!(argv))
    }

    /// With one more `Env`.
    ///
    /// # Panics
    /// `Env` was set to something that is not a list.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let list = self.config.as_object_mut().expect("an object").entry("Env").or_insert_with(|| json!([]));
        list.as_array_mut().expect("Env is a list").push(json!(format!("{name}={value}")));
        self
    }

    /// With one more exposed port: `8080/tcp`.
    #[must_use]
    pub fn expose(mut self, port: &str) -> Self {
        self.config["ExposedPorts"][port] = json!({});
        self
    }

    /// The layers as they are uploaded.
    #[must_use]
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|(layer, compression)| compression.pack(&layer.finish())).collect()
    }

    /// The configuration as it is uploaded.
    ///
    /// # Panics
    /// Never: what was made of JSON is JSON.
    #[must_use]
    pub fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|(layer, _)| named(&layer.diff_id())).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        serde_json::to_vec(&config).expect("JSON")
    }

    /// The image's id.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.config_json())
    }

    /// The OCI manifest.
    ///
    /// # Panics
    /// Never: what was made of JSON is JSON.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        self.manifest_with(&self.config_json())
    }

    fn manifest_with(&self, config: &[u8]) -> Vec<u8> {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .zip(self.blobs())
            .map(|((_, compression), blob)| {
                let kind = format!("application/vnd.oci.image.layer.v1.tar{}", compression.suffix());
                descriptor(&kind, &blob)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config), "layers": layers,
        });
        serde_json::to_vec(&manifest).expect("JSON")
    }

    /// All blobs of the manifest, itself last.
    fn all_blobs(&self) -> Vec<Vec<u8>> {
        let mut blobs = self.blobs();
        blobs.push(self.config_json());
        blobs.push(self.manifest());
        blobs
    }

    fn index(&self, tag: &str) -> Vec<u8> {
        let mut entry = descriptor(MANIFEST, &self.manifest());
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        entry["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry],
        });
        serde_json::to_vec(&index).expect("JSON")
    }

    /// The files of an OCI layout: path → content.
    fn layout(&self, tag: &str) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), self.index(tag)),
        ];
        files.extend(self.all_blobs().into_iter().map(|blob| (format!("blobs/sha256/{}", Digest::of(&blob)), blob)));
        files
    }

    /// Writes an OCI layout: a folder with the image under one tag.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn oci_layout(&self, folder: &Path, tag: &str) {
        for (path, content) in self.layout(tag) {
            write(&folder.join(path), &content);
        }
    }

    /// Writes what `docker save` of engine 25 and newer does: an OCI layout in an archive, with a `manifest.json`.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn docker_archive(&self, file: &Path, tag: &str) {
        let mut tar = LayerTar::new();
        for (path, content) in self.layout(tag) {
            tar = tar.file(&path, 0o644, content);
        }
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes));
        let layers: Vec<String> = self.blobs().iter().map(|bytes| blob(bytes)).collect();
        let manifest = json!([{ "Config": blob(&self.config_json()), "RepoTags": [tag], "Layers": layers }]);
        write(file, &tar.file("manifest.json", 0o644, manifest.to_string()).finish());
    }

    /// Writes what `docker save` of older engines does: a folder for each layer, the archives not packed; a layer that
    /// comes a second time is a symbolic link to the first.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn old_docker_archive(&self, file: &Path, tag: &str) {
        let config = self.config_json();
        let name = format!("{}.json", Digest::of(&config));
        let mut tar = LayerTar::new().file(&name, 0o644, &config);
        let mut layers: Vec<String> = Vec::new();
        let mut known: Vec<(Digest, String)> = Vec::new();
        for (number, (layer, _)) in self.layers.iter().enumerate() {
            let id = Digest::of(format!("{number} {}", layer.diff_id()).as_bytes());
            let path = format!("{id}/layer.tar");
            tar = tar.folder(&format!("{id}/"), 0o755).file(&format!("{id}/VERSION"), 0o644, "1.0");
            tar = match known.iter().find(|(diff_id, _)| *diff_id == layer.diff_id()) {
                Some((_, first)) => tar.symlink(&path, &format!("../{first}")),
                None => tar.file(&path, 0o644, layer.finish()),
            };
            known.push((layer.diff_id(), path.clone()));
            layers.push(path);
        }
        let manifest = json!([{ "Config": name, "RepoTags": [tag], "Layers": layers }]);
        write(file, &tar.file("manifest.json", 0o644, manifest.to_string()).finish());
    }

    /// Uploads it to a registry over plain HTTP, by the OCI distribution specification: each blob in one piece, then
    /// the manifest. `login` is user and password.
    ///
    /// # Panics
    /// The registry refuses; its answer is in the panic.
    #[track_caller]
    pub fn push(&self, registry: SocketAddr, repository: &str, tag: &str, login: Option<(&str, &str)>) {
        self.push_with_config(registry, repository, tag, &self.config_json(), login);
    }

    /// The same with another configuration, which may say what is not true.
    ///
    /// # Panics
    /// As [`Self::push`].
    #[track_caller]
    pub fn push_with_config(
        &self,
        registry: SocketAddr,
        repository: &str,
        tag: &str,
        config: &[u8],
        login: Option<(&str, &str)>,
    ) {
        for blob in self.blobs().iter().map(Vec::as_slice).chain([config]) {
            push_blob(registry, repository, blob, login);
        }
        push_manifest(registry, repository, tag, MANIFEST, self.manifest_with(config), login);
    }
}

fn ask(registry: SocketAddr, request: Request, login: Option<(&str, &str)>) -> Response {
    let request = match login {
        Some((user, password)) => {
            let token = BASE64.encode(format!("{user}:{password}").as_bytes());
            request.header("authorization", &format!("Basic {token}"))
        }
        None => request,
    };
    connect(registry, &registry.to_string())
        .and_then(|mut connection| connection.send(&request))
        .unwrap_or_else(|error| panic!("the registry does not answer: {error}"))
}

fn push_blob(registry: SocketAddr, repository: &str, blob: &[u8], login: Option<(&str, &str)>) {
    let begun = ask(registry, Request::post(&format!("/v2/{repository}/blobs/uploads/"), []), login).expect(202);
    let place = begun.header("location").expect("an upload has a location");
    let path = place.find("/v2/").map_or(place, |at| &place[at..]);
    let joint = if path.contains('?') { '&' } else { '?' };
    let target = format!("{path}{joint}digest={}", named(&Digest::of(blob)));
    let put = Request::new("PUT", &target).header("content-type", "application/octet-stream").body(blob);
    let _ = ask(registry, put, login).expect(201);
}

/// Uploads any document as the manifest of a tag: an index, or what a registry should not hold.
///
/// # Panics
/// The registry refuses; its answer is in the panic.
#[track_caller]
pub fn push_manifest(
    registry: SocketAddr,
    repository: &str,
    tag: &str,
    media_type: &str,
    document: impl Into<Vec<u8>>,
    login: Option<(&str, &str)>,
) {
    let target = format!("/v2/{repository}/manifests/{tag}");
    let put = Request::new("PUT", &target).header("content-type", media_type).body(document);
    let _ = ask(registry, put, login).expect(201);
}

/// Media type, digest and size.
fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": named(&Digest::of(bytes)), "size": bytes.len() })
}

fn named(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

fn write(path: &Path, content: &[u8]) {
    let folder = path.parent().expect("a file is in a folder");
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    fs::write(path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Scratch;

    fn sample() -> TestImage {
        let layer = LayerTar::new().file("hello", 0o644, "hello").symlink("to", "hello");
        TestImage::new().layer(layer.clone()).packed_layer(layer, Compression::Zstd).entrypoint(&["/hello"])
    }

    #[test]
    fn archives_can_be_read_by_the_tools_of_this_machine() {
        let scratch = Scratch::new();
        let file = scratch.path().join("image.tar");
        let list = |file: &Path| {
            let output = std::process::Command::new("tar").arg("-tf").arg(file).output().expect("tar runs");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).expect("names are text")
        };
        sample().docker_archive(&file, "app:latest");
        assert!(list(&file).lines().any(|line| line == "manifest.json"));
        sample().old_docker_archive(&file, "app:latest");
        assert_eq!(list(&file).lines().filter(|line| line.ends_with("/layer.tar")).count(), 2);
        let long = LayerTar::new().file(&"n".repeat(180), 0o644, "x").pax(&[("path", "other")]).file("y", 0o644, "");
        write(&file, &long.finish());
        assert_eq!(list(&file).lines().collect::<Vec<_>>(), ["n".repeat(180).as_str(), "other"]);
    }

    #[test]
    fn blobs_lie_under_the_digests_the_manifest_names() {
        let scratch = Scratch::new();
        sample().oci_layout(scratch.path(), "latest");
        let manifest: Value = serde_json::from_slice(&sample().manifest()).expect("JSON");
        for descriptor in manifest["layers"].as_array().expect("layers").iter().chain([&manifest["config"]]) {
            let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
            let blob = fs::read(scratch.path().join("blobs/sha256").join(digest)).expect("the blob is there");
            assert_eq!(descriptor["size"], blob.len());
            assert_eq!(Digest::of(&blob).to_string(), digest);
        }
    }
}
