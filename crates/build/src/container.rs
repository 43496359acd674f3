//! From a Dockerfile to an image.
//!
//! ```text
//! Dockerfile ─ which images ─► registry client ─► layouts ─┐
//! source, arguments ───────────────────────────────────────┼─► buildah in a sandbox ─► layout ─► Image
//! store of the project's layers ───────────────────────────┘    (RUN: egress by proxy only)
//! ```
//! The whole result is kept by what it was made from: a Dockerfile of which nothing changed needs no sandbox. Images that
//! it begins from are asked for anew every time, since a tag may name another one today.

mod kitchen;
mod stores;

use crate::bench::{internal, seconds};
use crate::builder::Builder;
use crate::cache::{Shelf, key};
use crate::dockerfile::Dockerfile;
use crate::documents::ServiceSettings;
use crate::image::{keep_visible, megabytes, short};
use crate::{BuildError, BuildLog, BuildRequest, Level, Source, SourceFile};
use dockless_image::{Base, Layout, Platform, Reference, Registry, resolve_layout};
use dockless_model::SourcePath;
use dockless_model::image::Image;
use dockless_model::output::Service;
use kitchen::Kitchen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Where the builder's program lies on the server, and so in its build sandboxes.
pub const BUILDAH: &str = "/usr/bin/buildah";
/// Beyond this an image is told how to become smaller.
const LARGE: u64 = 250_000_000;
/// Lines of a Dockerfile are told up to this length.
const SHOWN: usize = 100;

/// A Dockerfile to be built, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What the service is called: an output path, so that routes lead to it.
    pub(crate) name: SourcePath,
    /// The file.
    pub(crate) file: SourcePath,
    /// The folder that it copies from, empty for the whole source.
    pub(crate) context: String,
    /// From the configuration.
    pub(crate) settings: ServiceSettings,
}

impl Container {
    /// The path of a file of the source as the Dockerfile has it; `None` for what it does not see.
    fn inside(&self, path: &SourcePath) -> Option<SourcePath> {
        if self.context.is_empty() {
            return Some(path.clone());
        }
        path.as_str().strip_prefix(&self.context)?.strip_prefix('/')?.parse().ok()
    }

    /// What is there to be copied.
    fn files(&self, source: &Source) -> BTreeMap<SourcePath, SourceFile> {
        source.files.iter().filter_map(|(path, file)| Some((self.inside(path)?, file.clone()))).collect()
    }
}

/// What a build left: kept, so that the next one that begins with the same need not happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Made {
    image: Image,
    /// What made each layer, as far as the image says.
    steps: Vec<String>,
}

/// An image that the file names, fetched.
#[derive(Debug, Clone)]
struct Ingredient {
    name: String,
    base: Arc<Base>,
}

impl Ingredient {
    /// Its name in the store: the same image is the same name, whatever it is called elsewhere.
    fn local(&self) -> String {
        format!("localhost/base-{}", self.base.id)
    }
}

impl Builder {
    /// Builds the image and puts its layers in place.
    pub(crate) async fn container(&self, request: &BuildRequest, container: &Container) -> Result<Service, BuildError> {
        let log = &request.log;
        if !Path::new(BUILDAH).exists() {
            return Err(BuildError::NoBuildah);
        }
        let text = self.text(&request.source, &container.file).await?;
        let text = std::str::from_utf8(&text)
            .map_err(|_| crate::DockerfileError { line: 1, what: "it is not UTF-8".to_owned() });
        let mut arguments = container.settings.arguments.clone();
        arguments
            .extend(request.variables.values.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
        let here = Platform::here();
        let platform = (here.os.as_str(), here.architecture.as_str());
        let file = text
            .and_then(|text| Dockerfile::parse(text, &arguments, platform))
            .map_err(|source| BuildError::Dockerfile { path: container.file.clone(), source })?;
        arguments.retain(|name, _| file.declares(name));
        let files = container.files(&request.source);
        let mut ingredients = Vec::new();
        for name in file.images() {
            ingredients.push(ingredient(name, &here, &**log).await?);
        }
        let found = key(&(
            "image",
            request.account.as_str(),
            &container.file,
            &arguments,
            ingredients.iter().map(|one| (&one.name, one.base.id)).collect::<Vec<_>>(),
            request.source.files.get(&container.file).map(|file| file.blob),
            files.iter().map(|(path, file)| (path, file.blob, file.executable)).collect::<Vec<_>>(),
        ));
        let kept = match self.cache().find_json::<Made>(Shelf::Images, &found) {
            Some(made) if self.has_layers(&made.image).await? => Some(made),
            _ => None,
        };
        let made = match kept {
            Some(made) => {
                log.line(Level::Info, &format!("image {}: CACHED, nothing changed", short(&made.image.id)));
                made
            }
            None => {
                let made = self.cook(request, (container, &arguments, files), &file, &ingredients).await?;
                self.cache().keep_json(Shelf::Images, &found, &made).map_err(internal("keep the image"))?;
                made
            }
        };
        let Made { mut image, steps } = made;
        tell_sizes(&image, &steps, &**log);
        let mut opaque = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            (request.placed)(layer.diff_id);
            let unpacked = self.node().unpack_layer(layer).await;
            opaque.push(unpacked.map_err(|source| BuildError::Unpack { layer: layer.blob, source })?);
        }
        keep_visible(&mut image, &opaque);
        Ok(Service { image, slot: container.settings.slot, limits: container.settings.limits })
    }

    /// A Dockerfile's text; those at the root were read to decide.
    async fn text(&self, source: &Source, path: &SourcePath) -> Result<Vec<u8>, BuildError> {
        if let Some(text) = source.documents.get(path) {
            return Ok(text.clone());
        }
        let Some(file) = source.files.get(path) else { return Ok(Vec::new()) };
        if file.size > crate::source::MAX_DOCUMENT {
            return Err(BuildError::DocumentTooLarge { path: path.clone(), bytes: file.size });
        }
        let read = self.blobs().read(&file.blob).await;
        read.map_err(|source| BuildError::Unreadable { path: path.clone(), source })
    }

    async fn has_layers(&self, image: &Image) -> Result<bool, BuildError> {
        for layer in &image.layers {
            if !self.blobs().refresh(&layer.blob).await.map_err(internal("look for layers"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The build itself.
    async fn cook(
        &self,
        request: &BuildRequest,
        (container, arguments, files): (&Container, &BTreeMap<String, String>, BTreeMap<SourcePath, SourceFile>),
        file: &Dockerfile,
        ingredients: &[Ingredient],
    ) -> Result<Made, BuildError> {
        let log = &request.log;
        let begin = Instant::now();
        let store = key(&("store", request.account.as_str(), request.project.as_str()));
        let mut kitchen = Kitchen::open(self, store, ingredients, log.clone()).await?;
        kitchen.place(files, file, ingredients).await?;
        for one in ingredients {
            if !kitchen.has(one).await? {
                self.fetch(one, &**log).await?;
                kitchen.bring(one).await?;
            }
        }
        kitchen.build(container, arguments).await?;
        log.line(Level::Info, &format!("built {}", seconds(begin)));
        let begin = Instant::now();
        let layout: Layout = kitchen.take().await?;
        let used = kitchen.used().await;
        drop(kitchen);
        self.note_store(&store, used).await?;
        let image = resolve_layout(&layout, self.blobs(), &Platform::here()).await?;
        let steps = self.history(&image).await;
        log.line(Level::Info, &format!("image {} taken out {}", short(&image.id), seconds(begin)));
        Ok(Made { image, steps })
    }

    /// Brings an image's layers here.
    async fn fetch(&self, one: &Ingredient, log: &dyn BuildLog) -> Result<(), BuildError> {
        let begin = Instant::now();
        let registry = Registry::new(reference(&one.name)?, None)?;
        let bytes: u64 = one.base.layers.iter().map(|layer| layer.size).sum();
        for layer in &one.base.layers {
            registry.fetch(layer, self.blobs()).await?;
        }
        log.line(Level::Info, &format!("fetched {} ({}) {}", one.name, megabytes(bytes), seconds(begin)));
        Ok(())
    }

    /// What made each layer, from the image's own history; empty where that does not fit its layers.
    async fn history(&self, image: &Image) -> Vec<String> {
        #[derive(Default, Deserialize)]
        struct Config {
            #[serde(default)]
            history: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            created_by: String,
            #[serde(default)]
            empty_layer: bool,
        }
        let bytes = self.blobs().read(&image.id).await.unwrap_or_default();
        let config: Config = serde_json::from_slice(&bytes).unwrap_or_default();
        let steps = config.history.into_iter().filter(|entry| !entry.empty_layer);
        let steps: Vec<String> = steps.map(|entry| shown(&entry.created_by)).collect();
        if steps.len() == image.layers.len() { steps } else { Vec::new() }
    }
}

fn reference(name: &str) -> Result<Reference, BuildError> {
    Ok(name.parse().map_err(dockless_image::PullError::from)?)
}

async fn ingredient(name: &str, here: &Platform, log: &dyn BuildLog) -> Result<Ingredient, BuildError> {
    let begin = Instant::now();
    let base = Registry::new(reference(name)?, None)?.base(here).await?;
    let digest = short(&base.id);
    log.line(Level::Info, &format!("{name} is image {digest}, asked {}", seconds(begin)));
    Ok(Ingredient { name: name.to_owned(), base: Arc::new(base) })
}

/// One line for a layer, and advice where there is much to save.
fn tell_sizes(image: &Image, steps: &[String], log: &dyn BuildLog) {
    let layers = image.layers.len();
    let total: u64 = image.layers.iter().map(|layer| layer.size).sum();
    for (index, layer) in image.layers.iter().enumerate() {
        let step = steps.get(index).map_or("", String::as_str);
        log.line(Level::Info, &format!("layer {}/{layers}: {:>9}  {step}", index + 1, megabytes(layer.size)));
    }
    log.line(Level::Info, &format!("image {}: {} compressed", short(&image.id), megabytes(total)));
    if total < LARGE {
        return;
    }
    let largest = image.layers.iter().enumerate().max_by_key(|(_, layer)| layer.size);
    let (index, size) = largest.map_or((0, 0), |(index, layer)| (index + 1, layer.size));
    log.line(
        Level::Warn,
        &format!(
            "the image is large: {} are in layer {index}. A last stage that copies only what runs (FROM … AS build, then \
             COPY --from=build), a slim base, and clean-up in the same RUN make it start on fewer bytes",
            megabytes(size)
        ),
    );
}

/// A step as a person wrote it.
fn shown(created_by: &str) -> String {
    let text = created_by.strip_prefix("/bin/sh -c #(nop)").unwrap_or(created_by);
    let text = text.strip_prefix("/bin/sh -c ").map_or_else(|| text.to_owned(), |run| format!("RUN {run}"));
    let text: String = text.trim().chars().filter(|letter| !letter.is_control()).collect();
    if text.chars().count() > SHOWN { text.chars().take(SHOWN).chain(['…']).collect() } else { text }
}
