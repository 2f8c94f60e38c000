//! The form of an object's file: the length of the head, the head as JSON, the contents.
//!
//! One file holds both, so that renaming it replaces both at once, and whoever has it open goes
//! on reading what it opened.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The longest head that is read; a longer one is no object's.
const LONGEST_HEAD: u32 = 1 << 20;

/// What a request says about an object besides its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// All about an object but its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) key: String,
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Microseconds since 1970, UTC.
    pub(crate) modified: i64,
    pub(crate) headers: Headers,
}

/// Writes an object's file.
pub(crate) fn write(path: &Path, head: &Head, contents: &[Bytes]) -> io::Result<()> {
    let text = serde_json::to_vec(head)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let mut file = File::create_new(path)?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&text)?;
    contents.iter().try_for_each(|chunk| file.write_all(chunk))
}

/// Opens an object's file; it is then read with [`contents`].
pub(crate) fn open(path: &Path) -> io::Result<(Head, File)> {
    let mut file = File::open(path)?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_HEAD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of an object is too long"));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, file))
}

/// The bytes in `range` of the object whose file [`open`] has just opened.
pub(crate) fn contents(file: &mut File, range: &Range<u64>) -> io::Result<Bytes> {
    file.seek(SeekFrom::Current(i64::try_from(range.start).map_err(io::Error::other)?))?;
    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes.into())
}
