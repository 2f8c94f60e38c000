//! Buckets as directories, objects as files, and an index of them in memory.
//!
//! Whether a conditional write may happen is decided, and the write done, under one lock: of any
//! number of writers one wins. A write is a rename, so that a killed server has it or has it not.
//! It is not synced: it survives the process, not the machine.

use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use event_schemas::{Clock, SystemClock};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::blob::{self, Head, Headers};

/// What a part other than the last must have, in bytes, as on Amazon's.
const LEAST_PART: u64 = 5 << 20;

/// On what a write depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Absent,
    Matches(String),
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("no such bucket")]
    NoBucket,
    #[error("no such key")]
    NoKey,
    #[error("no such upload")]
    NoUpload,
    #[error("a part is missing or another one")]
    InvalidPart,
    #[error("a part other than the last is too small")]
    SmallPart,
    #[error("the condition does not hold")]
    Condition,
    #[error("the disk failed")]
    Io(#[from] io::Error),
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Head>,
    pub(crate) prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<Start>,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// After this key.
    Key(String),
    /// After all keys with this prefix.
    Prefix(String),
}

/// What a page may hold.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) prefix: String,
    pub(crate) delimiter: Option<String>,
    pub(crate) start: Option<Start>,
    pub(crate) most: usize,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Upload {
    bucket: String,
    key: String,
    headers: Headers,
}

type Objects = BTreeMap<String, Head>;

/// Everything the server stores. Its calls block.
pub(crate) struct Store {
    root: PathBuf,
    buckets: Mutex<BTreeMap<String, Objects>>,
}

impl Store {
    /// Opens what is in `root`, with at least these buckets.
    pub(crate) fn open(root: &Path, wanted: &[String]) -> io::Result<Self> {
        for name in wanted {
            fs::create_dir_all(root.join("buckets").join(name))?;
        }
        fs::create_dir_all(root.join("uploads"))?;
        match fs::remove_dir_all(root.join("staging")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(root.join("staging"))?,
        }
        let mut buckets = BTreeMap::new();
        for bucket in fs::read_dir(root.join("buckets"))? {
            let bucket = bucket?;
            let mut objects = Objects::new();
            for file in fs::read_dir(bucket.path())? {
                let (head, _) = blob::open(&file?.path())?;
                objects.insert(head.key.clone(), head);
            }
            buckets.insert(bucket.file_name().to_string_lossy().into_owned(), objects);
        }
        Ok(Self { root: root.to_owned(), buckets: Mutex::new(buckets) })
    }

    fn file_of(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join("buckets").join(bucket).join(blake3::hash(key.as_bytes()).to_hex().as_str())
    }

    fn stage(&self, head: &Head, contents: &[Bytes]) -> io::Result<PathBuf> {
        let path = self.root.join("staging").join(Uuid::new_v4().to_string());
        blob::write(&path, head, contents)?;
        Ok(path)
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.buckets.lock().contains_key(bucket)
    }

    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        headers: Headers,
        contents: &[Bytes],
        condition: &Condition,
    ) -> Result<Head, Refused> {
        self.place(bucket, describe(key, headers, contents), contents, condition)
    }

    fn place(&self, bucket: &str, head: Head, contents: &[Bytes], condition: &Condition) -> Result<Head, Refused> {
        let staged = self.stage(&head, contents)?;
        let placed = (|| {
            let mut buckets = self.buckets.lock();
            let objects = buckets.get_mut(bucket).ok_or(Refused::NoBucket)?;
            match (condition, objects.get(&head.key)) {
                (Condition::None, _) | (Condition::Absent, None) => {}
                (Condition::Matches(wanted), Some(found)) if *wanted == found.etag => {}
                (Condition::Matches(_), None) => return Err(Refused::NoKey),
                (Condition::Absent | Condition::Matches(_), Some(_)) => return Err(Refused::Condition),
            }
            fs::rename(&staged, self.file_of(bucket, &head.key))?;
            objects.insert(head.key.clone(), head.clone());
            Ok(head)
        })();
        placed.inspect_err(|_| drop(fs::remove_file(&staged)))
    }

    pub(crate) fn head(&self, bucket: &str, key: &str) -> Result<Head, Refused> {
        let buckets = self.buckets.lock();
        buckets.get(bucket).ok_or(Refused::NoBucket)?.get(key).cloned().ok_or(Refused::NoKey)
    }

    /// The object and what `range` of its head says.
    pub(crate) fn get<E: From<Refused>>(
        &self,
        bucket: &str,
        key: &str,
        range: impl FnOnce(&Head) -> Result<Range<u64>, E>,
    ) -> Result<(Head, Range<u64>, Bytes), E> {
        self.head(bucket, key)?;
        let (head, mut file) = blob::open(&self.file_of(bucket, key)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refused::NoKey,
            _ => Refused::Io(error),
        })?;
        let range = range(&head)?;
        let contents = blob::contents(&mut file, &range).map_err(Refused::Io)?;
        Ok((head, range, contents))
    }

    /// Deletes the object; that it is absent is no error.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), Refused> {
        let mut buckets = self.buckets.lock();
        let objects = buckets.get_mut(bucket).ok_or(Refused::NoBucket)?;
        if objects.contains_key(key) {
            fs::remove_file(self.file_of(bucket, key))?;
            objects.remove(key);
        }
        Ok(())
    }

    pub(crate) fn list(&self, bucket: &str, listing: &Listing) -> Result<Page, Refused> {
        let buckets = self.buckets.lock();
        let objects = buckets.get(bucket).ok_or(Refused::NoBucket)?;
        Ok(page(objects, listing))
    }

    fn upload_dir(&self, upload: &str) -> Result<PathBuf, Refused> {
        let id: Uuid = upload.parse().map_err(|_| Refused::NoUpload)?;
        Ok(self.root.join("uploads").join(id.to_string()))
    }

    fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<(PathBuf, Upload), Refused> {
        let dir = self.upload_dir(id)?;
        let text = fs::read(dir.join("about")).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refused::NoUpload,
            _ => Refused::Io(error),
        })?;
        let upload: Upload = serde_json::from_slice(&text).map_err(io::Error::from)?;
        if upload.bucket != bucket || upload.key != key {
            return Err(Refused::NoUpload);
        }
        Ok((dir, upload))
    }

    pub(crate) fn begin(&self, bucket: &str, key: &str, headers: Headers) -> Result<String, Refused> {
        if !self.has_bucket(bucket) {
            return Err(Refused::NoBucket);
        }
        let id = Uuid::new_v4().to_string();
        let dir = self.upload_dir(&id)?;
        fs::create_dir(&dir)?;
        let upload = Upload { bucket: bucket.to_owned(), key: key.to_owned(), headers };
        fs::write(dir.join("about"), serde_json::to_vec(&upload).map_err(io::Error::from)?)?;
        Ok(id)
    }

    pub(crate) fn part(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        number: i32,
        contents: &[Bytes],
    ) -> Result<Head, Refused> {
        let (dir, _) = self.upload(bucket, key, upload)?;
        let head = describe(key, Headers::default(), contents);
        let staged = self.stage(&head, contents)?;
        fs::rename(staged, dir.join(number.to_string()))?;
        Ok(head)
    }

    /// Makes the object of `parts`, each with its number and its ETag.
    pub(crate) fn complete(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        parts: &[(i32, String)],
        condition: &Condition,
    ) -> Result<Head, Refused> {
        let (dir, about) = self.upload(bucket, key, upload)?;
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Refused::InvalidPart);
        }
        let mut contents = Vec::new();
        for (index, (number, etag)) in parts.iter().enumerate() {
            let (head, mut file) = blob::open(&dir.join(number.to_string())).map_err(|_| Refused::InvalidPart)?;
            if head.etag != *etag {
                return Err(Refused::InvalidPart);
            }
            if head.size < LEAST_PART && index + 1 < parts.len() {
                return Err(Refused::SmallPart);
            }
            contents.push(blob::contents(&mut file, &(0..head.size))?);
        }
        let mut head = describe(key, about.headers, &contents);
        head.etag = format!("{}-{}", head.etag, parts.len());
        let head = self.place(bucket, head, &contents, condition)?;
        fs::remove_dir_all(dir)?;
        Ok(head)
    }

    pub(crate) fn abort(&self, bucket: &str, key: &str, upload: &str) -> Result<(), Refused> {
        let (dir, _) = self.upload(bucket, key, upload)?;
        Ok(fs::remove_dir_all(dir)?)
    }

    /// How many uploads in parts are neither complete nor aborted.
    pub(crate) fn unfinished(&self) -> io::Result<usize> {
        Ok(fs::read_dir(self.root.join("uploads"))?.count())
    }
}

fn describe(key: &str, headers: Headers, contents: &[Bytes]) -> Head {
    let mut hasher = blake3::Hasher::new();
    for chunk in contents {
        hasher.update(chunk);
    }
    let etag = hex::encode(&hasher.finalize().as_bytes()[..16]);
    let size = contents.iter().map(|chunk| chunk.len() as u64).sum();
    Head { key: key.to_owned(), etag, size, modified: SystemClock.now().as_micros(), headers }
}

fn page(objects: &Objects, listing: &Listing) -> Page {
    let mut page = Page::default();
    let mut last: Option<Start> = None;
    for (key, head) in objects.range(listing.prefix.clone()..) {
        let Some(rest) = key.strip_prefix(&listing.prefix) else { break };
        let begun = match (&listing.start, &last) {
            (Some(Start::Key(start)), _) if key <= start => false,
            (Some(Start::Prefix(start)), _) if key.starts_with(start) || key < start => false,
            (_, Some(Start::Prefix(folded))) if key.starts_with(folded) => false,
            _ => true,
        };
        if !begun {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == listing.most {
            page.next = last;
            return page;
        }
        let end = listing.delimiter.as_ref().and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
        last = Some(match end {
            Some(end) => {
                let folded = format!("{}{}", listing.prefix, &rest[..end]);
                page.prefixes.push(folded.clone());
                Start::Prefix(folded)
            }
            None => {
                page.objects.push(head.clone());
                Start::Key(key.clone())
            }
        });
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(keys: &[&str]) -> Objects {
        keys.iter().map(|key| ((*key).to_owned(), describe(key, Headers::default(), &[]))).collect()
    }

    fn walk(objects: &Objects, prefix: &str, delimiter: Option<&str>, most: usize) -> (Vec<String>, Vec<String>) {
        let mut listing =
            Listing { prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), start: None, most };
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            let page = page(objects, &listing);
            assert!(page.objects.len() + page.prefixes.len() <= most);
            keys.extend(page.objects.into_iter().map(|head| head.key));
            prefixes.extend(page.prefixes);
            listing.start = Some(match page.next {
                Some(next) => next,
                None => return (keys, prefixes),
            });
        }
    }

    #[test]
    fn pages_of_any_size_hold_every_name_once_and_in_order() {
        let objects = objects(&["a", "a/b", "a/c/d", "a/c/e", "a0", "b/a", "b/b", "c"]);
        for most in 1..10 {
            let all = objects.keys().cloned().collect::<Vec<_>>();
            assert_eq!(walk(&objects, "", None, most), (all, vec![]), "{most}");
            let (keys, prefixes) = walk(&objects, "", Some("/"), most);
            assert_eq!((keys, prefixes), (vec!["a".into(), "a0".into(), "c".into()], vec!["a/".into(), "b/".into()]));
            let (keys, prefixes) = walk(&objects, "a/", Some("/"), most);
            assert_eq!((keys, prefixes), (vec!["a/b".into()], vec!["a/c/".into()]));
        }
    }
}
