//! Which store keeps the objects, as the configuration writes it.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageSpec {
    /// `file:PATH`: files under this directory.
    File(PathBuf),
}

/// The text names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no storage: write `file:` and the path of a directory")]
pub struct InvalidStorage(pub String);

impl FromStr for StorageSpec {
    type Err = InvalidStorage;

    fn from_str(text: &str) -> Result<Self, InvalidStorage> {
        let path = text.strip_prefix("file:").ok_or_else(|| InvalidStorage(text.to_owned()))?;
        // `file:///srv/x` and `file:/srv/x` are the same place; a host is not supported.
        let path = match path.strip_prefix("//") {
            Some(absolute) if absolute.starts_with('/') => absolute,
            Some(_) => return Err(InvalidStorage(text.to_owned())),
            None => path,
        };
        if path.is_empty() {
            return Err(InvalidStorage(text.to_owned()));
        }
        Ok(Self::File(PathBuf::from(path)))
    }
}

impl fmt::Display for StorageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
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
            assert_eq!(text.parse::<StorageSpec>(), Err(InvalidStorage(text.into())), "{text}");
        }
    }
}
