//! Which store keeps the objects, as the configuration writes it.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::s3::S3Spec;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageSpec {
    /// `file:PATH`: files under this directory.
    File(PathBuf),
    /// `s3://BUCKET/PREFIX?…`: a bucket of S3, or of what speaks its protocol.
    S3(Box<S3Spec>),
}

/// The text names no store. What is shown of it has no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` names no storage: {why}")]
pub struct InvalidStorage {
    /// The text, without credentials.
    pub address: String,
    /// What is wrong, and what to write.
    pub why: String,
}

impl FromStr for StorageSpec {
    type Err = InvalidStorage;

    fn from_str(text: &str) -> Result<Self, InvalidStorage> {
        let spec = if let Some(path) = text.strip_prefix("file:") {
            file(path).map(Self::File)
        } else if text.starts_with("s3:") {
            S3Spec::parse(text).map(|spec| Self::S3(Box::new(spec)))
        } else {
            Err("write `file:` and the path of a directory, or `s3://` and a bucket".to_owned())
        };
        spec.map_err(|why| InvalidStorage { address: without_credentials(text), why })
    }
}

fn file(path: &str) -> Result<PathBuf, String> {
    // `file:///srv/x` and `file:/srv/x` are the same place; a host is not supported.
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("a directory of another host can't be used: write `file:` and a path".to_owned()),
        None => path,
    };
    if path.is_empty() {
        Err("write the path of a directory after `file:`".to_owned())
    } else {
        Ok(PathBuf::from(path))
    }
}

/// `text` without what may be a password, however badly it is written.
fn without_credentials(text: &str) -> String {
    match (text.split_once(':'), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => text.to_owned(),
    }
}

impl fmt::Display for StorageSpec {
    /// The address without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::S3(spec) => spec.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_reads_as_it_is_written() {
        for (text, path) in
            [("file:data/objects", "data/objects"), ("file:/srv/x", "/srv/x"), ("file:///srv/x", "/srv/x")]
        {
            assert_eq!(text.parse(), Ok(StorageSpec::File(path.into())), "{text}");
        }
        for text in ["", "file:", "file://host/x", "/srv/x", "s4://bucket"] {
            assert_eq!(text.parse::<StorageSpec>().unwrap_err().address, text);
        }
    }

    #[test]
    fn a_bucket_reads_as_it_is_written() {
        let spec = "s3://videos/a".parse::<StorageSpec>().unwrap();
        assert!(matches!(&spec, StorageSpec::S3(s3) if s3.bucket == "videos"));
        assert_eq!(spec.to_string(), "s3://videos/a");
    }

    #[test]
    fn credentials_are_not_shown() {
        for text in ["s3://key:secret@videos?x=1", "s3:key:se@cret@Videos", "s4://key:secret@x"] {
            let error = text.parse::<StorageSpec>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("cret"), "{error}");
        }
        let spec = "s3://key:secret@videos".parse::<StorageSpec>().unwrap();
        assert!(!format!("{spec} {spec:?}").contains("secret"));
    }
}
