//! The `files` of a creation.

use super::{
    body::{Content, File},
    fields::Fields,
};
use crate::{Error, error::Invalid};
use dockless_model::SourcePath;
use serde_json::Value;
use std::collections::BTreeMap;

/// Executable by its owner, in `st_mode`.
const OWNER_EXECUTES: u64 = 0o100;
/// Kind of file, in `st_mode`: only regular files are taken.
const KIND: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;

pub(super) fn read(items: Vec<Value>, max_files: usize, max_bytes: u64) -> Result<BTreeMap<SourcePath, File>, Error> {
    if items.len() > max_files {
        return Err(Error::coded("too_many_files", "files", format!("{} files, at most {max_files}", items.len())));
    }
    let mut files = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let (path, file) = read_one(index, item, max_bytes)?;
        if files.insert(path.clone(), file).is_some() {
            return Err(Error::coded(
                "conflicting_file_path",
                format!("files[{index}].file"),
                format!("{path} is there twice"),
            ));
        }
    }
    no_file_is_a_folder(&files)?;
    Ok(files)
}

fn read_one(index: usize, item: Value, max_bytes: u64) -> Result<(SourcePath, File), Error> {
    let mut fields = Fields::new(format!("files[{index}]."), item)?;
    let path = fields.text("file")?.ok_or_else(|| Error::field(fields.name("file"), "expected a path"))?;
    let path: SourcePath = path.parse().map_err(Error::parse(fields.name("file")))?;
    let executable = match fields.number("mode")? {
        // Permission bits alone are taken for a regular file's.
        Some(mode) if ![0, REGULAR].contains(&(mode & KIND)) => {
            return Err(Error::field(fields.name("mode"), format!("{path} is not a regular file")));
        }
        mode => mode.is_some_and(|mode| mode & OWNER_EXECUTES != 0),
    };
    let size = fields.number("size")?;
    if size.is_some_and(|size| size > max_bytes) {
        return Err(Error::Invalid(Invalid {
            code: "size_limit_exceeded",
            message: format!("{path} is larger than {max_bytes} bytes."),
            field: Some(fields.name("size")),
            key: None,
            size_limit: Some(max_bytes),
        }));
    }
    let content = match (fields.text("sha")?, fields.take("data")) {
        (Some(sha), None) => {
            let wire = sha.parse().map_err(Error::parse(fields.name("sha")))?;
            Content::Uploaded { wire, size }
        }
        (None, Some(Value::String(data))) => Content::Inline(decode(&mut fields, data)?),
        (None, Some(_)) => return Err(Error::field(fields.name("data"), "expected a string")),
        (None, None) => {
            return Err(Error::field(fields.name("sha"), "expected the SHA-1 of an uploaded file, or data"));
        }
        (Some(_), Some(_)) => return Err(Error::field(fields.name("data"), "expected either sha or data")),
    };
    fields.end()?;
    Ok((path, File { index, executable, content }))
}

fn decode(fields: &mut Fields, data: String) -> Result<Vec<u8>, Error> {
    match fields.text("encoding")?.as_deref() {
        None | Some("utf-8") => Ok(data.into_bytes()),
        Some("base64") => data_encoding::BASE64
            .decode(data.as_bytes())
            .map_err(|error| Error::field(fields.name("data"), format!("expected base64 ({error})"))),
        Some(_) => Err(Error::field(fields.name("encoding"), "expected utf-8 or base64")),
    }
}

fn no_file_is_a_folder(files: &BTreeMap<SourcePath, File>) -> Result<(), Error> {
    for (path, file) in files {
        let mut folder = path.as_str();
        while let Some((parent, _)) = folder.rsplit_once('/') {
            if parent.parse::<SourcePath>().is_ok_and(|parent| files.contains_key(&parent)) {
                return Err(Error::Invalid(Invalid {
                    code: "conflicting_path_segment",
                    message: format!("{parent} is a file and, because of {path}, a folder."),
                    field: Some(format!("files[{}].file", file.index)),
                    key: None,
                    size_limit: None,
                }));
            }
            folder = parent;
        }
    }
    Ok(())
}
