//! From an image in a registry to an output: one service that answers every path.

use crate::{BuildError, BuildLog, Level};
use dockless_blob::BlobStore;
use dockless_image::{Credentials, Fetched, Layout, Platform, Reference, Registry, resolve_layout};
use dockless_model::image::{Image, ImageWish, Layer};
use dockless_model::output::{Phase, Route, Service};
use dockless_model::{Digest, Output, SourcePath};
use dockless_node::Node;
use dockless_routing::{dest_literal, src_literal};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use std::time::Instant;

/// Layers on their way at once, as container engines have it: more gains little and bothers registries.
const SIDE_BY_SIDE: usize = 3;

/// What is pulled, by whom.
#[derive(Debug)]
pub struct ImageJob {
    /// As it was asked for.
    pub wish: ImageWish,
    /// Where it is.
    pub origin: Origin,
}

/// Where an image is.
#[derive(Debug)]
pub enum Origin {
    /// In a registry.
    Registry {
        /// Its name.
        reference: Reference,
        /// The login for its registry.
        credentials: Option<Credentials>,
    },
    /// Among stored blobs.
    Layout(Layout),
}

/// Pulls an image and unpacks its layers. `placed` is told of each layer's tree before it is made.
///
/// Dropping the future stops it; layers that are in place already stay until garbage collection finds that no deployment
/// has them.
///
/// # Errors
/// The registry refuses, the image cannot be run here, or a layer cannot be unpacked.
pub async fn image(
    job: ImageJob,
    node: &Node,
    blobs: &BlobStore,
    log: &dyn BuildLog,
    placed: &(dyn Fn(Digest) + Send + Sync),
) -> Result<Output, BuildError> {
    let begin = Instant::now();
    let here = Platform::here();
    let (registry, mut image) = match job.origin {
        Origin::Registry { reference, credentials } => {
            log.line(Level::Info, &format!("pulling {reference}"));
            let registry = Registry::new(reference, credentials)?;
            let image = registry.resolve(&here).await?;
            (Some(registry), image)
        }
        Origin::Layout(layout) => (None, resolve_layout(&layout, blobs, &here).await?),
    };
    let layers = count(image.layers.len(), "layer");
    let bytes: u64 = image.layers.iter().map(|layer| layer.size).sum();
    log.line(Level::Info, &format!("image {} has {layers}, {}", short(&image.id), megabytes(bytes)));
    let one = Pull { registry: registry.as_ref(), node, blobs, log, placed };
    // Made before they are streamed: a closure inside the stream would keep this future from being boxed as `Send`.
    let pulls: Vec<_> = image.layers.iter().map(|layer| one.layer(layer)).collect();
    let opaque: Vec<bool> = stream::iter(pulls).buffered(SIDE_BY_SIDE).try_collect().await?;
    keep_visible(&mut image, &opaque);
    log.line(Level::Info, &format!("image ready in {} ms", begin.elapsed().as_millis()));
    Ok(output(image, &job.wish))
}

struct Pull<'a> {
    registry: Option<&'a Registry>,
    node: &'a Node,
    blobs: &'a BlobStore,
    log: &'a dyn BuildLog,
    placed: &'a (dyn Fn(Digest) + Send + Sync),
}

impl Pull<'_> {
    /// Brings one layer here and unpacks it; whether it hides everything below.
    async fn layer(&self, layer: &Layer) -> Result<bool, BuildError> {
        let begin = Instant::now();
        let fetched = match self.registry {
            Some(registry) => registry.fetch(layer, self.blobs).await?,
            None => Fetched::Present,
        };
        let pulled = begin.elapsed();
        (self.placed)(layer.diff_id);
        let begin = Instant::now();
        let opaque =
            self.node.unpack_layer(layer).await.map_err(|source| BuildError::Unpack { layer: layer.blob, source })?;
        let (id, unpacked) = (short(&layer.blob), begin.elapsed().as_millis());
        let text = match fetched {
            Fetched::Present => format!("layer {id} was here, unpacked in {unpacked} ms"),
            Fetched::New => {
                let size = megabytes(layer.size);
                format!("layer {id} pulled ({size} in {} ms), unpacked in {unpacked} ms", pulled.as_millis())
            }
        };
        self.log.line(Level::Info, &text);
        Ok(opaque)
    }
}

/// Leaves out what lies under a layer that hides everything: overlays do not know that of roots.
pub(crate) fn keep_visible(image: &mut Image, opaque: &[bool]) {
    if let Some(topmost) = opaque.iter().rposition(|opaque| *opaque) {
        image.layers.drain(..topmost);
    }
}

fn output(image: Image, wish: &ImageWish) -> Output {
    let (root, route) = (root(), everything());
    Output {
        version: Output::VERSION,
        routes: vec![route],
        files: BTreeMap::new(),
        functions: BTreeMap::new(),
        services: BTreeMap::from([(root, Service { image, slot: wish.slot, limits: wish.limits })]),
        listing: false,
        egress: wish.egress,
    }
}

/// Where the only server of a deployment answers.
pub(crate) fn root() -> SourcePath {
    Service::ROOT.parse().expect("a constant that is a path")
}

/// What nothing else answers is the server's.
pub(crate) fn everything() -> Route {
    everything_below("", &root())
}

/// What nothing else answers in a folder (empty for the root) is a server's.
pub(crate) fn everything_below(folder: &str, name: &SourcePath) -> Route {
    let src = if folder.is_empty() { "/(.*)".to_owned() } else { format!("/{}(?:/.*)?", src_literal(folder)) };
    Route::if_exists(src, format!("/{}", dest_literal(name.as_str())), Phase::Filesystem)
}

/// The twelve digits that people know images by.
pub(crate) fn short(digest: &Digest) -> String {
    digest.to_string()[..12].to_owned()
}

pub(crate) fn megabytes(bytes: u64) -> String {
    if bytes < 100_000 {
        format!("{bytes} bytes")
    } else {
        format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dockless_model::image::Process;

    fn sample(layers: usize) -> Image {
        let layer =
            |n: usize| Layer { diff_id: Digest::of(&[u8::try_from(n).unwrap()]), blob: Digest::of(b"x"), size: 1 };
        Image { id: Digest::of(b"id"), layers: (0..layers).map(layer).collect(), process: Process::default() }
    }

    #[test]
    fn what_a_layer_hides_is_left_out() {
        for (opaque, left) in [
            (vec![false, false, false], vec![0, 1, 2]),
            (vec![false, true, false], vec![1, 2]),
            (vec![true, true, false], vec![1, 2]),
            (vec![false, false, true], vec![2]),
        ] {
            let mut image = sample(3);
            keep_visible(&mut image, &opaque);
            let expected: Vec<_> = left.iter().map(|n| sample(3).layers[*n].diff_id).collect();
            assert_eq!(image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(), expected, "{opaque:?}");
        }
    }

    #[test]
    fn every_path_leads_to_the_service() {
        let (slot, limits) = ("c1-m64".parse().unwrap(), Default::default());
        let wish = ImageWish { reference: "a".into(), slot, limits, egress: false };
        let output = output(sample(1), &wish);
        assert!(!output.egress);
        let service = &output.services[&"app".parse::<SourcePath>().unwrap()];
        assert_eq!(service.slot, wish.slot);
        assert_eq!((output.routes[0].src.as_str(), output.routes[0].dest.as_str()), ("/(.*)", "/app"));
        assert_eq!(megabytes(12_345_678), "12.3 MB");
    }
}
