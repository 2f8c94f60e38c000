//! Where the worker takes the bytes that its child asks for.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use catalog::Chunk;
use event_schemas::{Fault, Faulty};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

/// The bytes of a source.
///
/// # Guarantees
/// * Bytes once returned never change.
/// * `read_range` returns exactly the bytes asked for, or fewer if the source ends there; a range past
///   the durable end of a source that still grows waits until the bytes are durable or the source is
///   complete.
#[async_trait]
pub trait SourceReader: Send + Sync {
    /// The length in bytes; none while the source still grows.
    fn size(&self) -> Option<u64>;

    /// The bytes from `offset` on, `len` of them at most.
    ///
    /// # Errors
    /// The bytes can't be had now.
    async fn read_range(&self, offset: u64, len: u32) -> Result<Bytes, ReadError>;
}

/// Bytes of a source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object store failed.
    #[error("a chunk of the upload can't be read")]
    Store(#[from] object_store::Error),
    /// The catalog's list has a gap.
    #[error("the upload's chunks have a gap at byte {0}")]
    Gap(u64),
}

impl Faulty for ReadError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(_) => Fault::Dependency,
            Self::Gap(_) => Fault::Program,
        }
    }
}

/// A complete upload: the chunk objects that the catalog lists.
pub struct UploadReader {
    store: Arc<dyn ObjectStore>,
    chunks: Vec<Chunk>,
    len: u64,
}

impl UploadReader {
    /// The source made of `chunks`, which must follow one another from byte 0 on.
    ///
    /// # Errors
    /// [`ReadError::Gap`] if they don't.
    pub fn new(store: Arc<dyn ObjectStore>, chunks: Vec<Chunk>) -> Result<Self, ReadError> {
        let mut len = 0;
        for chunk in &chunks {
            if chunk.start != len {
                return Err(ReadError::Gap(len));
            }
            len += chunk.length;
        }
        Ok(Self { store, chunks, len })
    }

    /// The length in bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.len
    }
}

#[async_trait]
impl SourceReader for UploadReader {
    fn size(&self) -> Option<u64> {
        Some(self.len)
    }

    async fn read_range(&self, offset: u64, len: u32) -> Result<Bytes, ReadError> {
        let end = offset.saturating_add(len.into()).min(self.len);
        let mut at = offset;
        let mut parts = Vec::new();
        while at < end {
            let index = self.chunks.partition_point(|chunk| chunk.start + chunk.length <= at);
            let chunk = self.chunks.get(index).ok_or(ReadError::Gap(at))?;
            let until = end.min(chunk.start + chunk.length);
            let bytes =
                self.store.get_range(&Path::from(chunk.key.as_str()), at - chunk.start..until - chunk.start).await?;
            if bytes.len() as u64 != until - at {
                return Err(ReadError::Gap(at));
            }
            parts.push(bytes);
            at = until;
        }
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else { return Ok(Bytes::new()) };
        let mut rest = parts.peekable();
        if rest.peek().is_none() {
            return Ok(first);
        }
        let mut joined = BytesMut::from(first);
        rest.for_each(|part| joined.extend_from_slice(&part));
        Ok(joined.freeze())
    }
}

#[cfg(test)]
mod tests {
    use object_store::{PutPayload, memory::InMemory};

    use super::*;

    async fn upload(lengths: &[usize]) -> (Vec<u8>, Result<UploadReader, ReadError>) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (mut all, mut chunks) = (Vec::new(), Vec::new());
        for (n, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|i| u8::try_from((i * 7 + n) % 251).unwrap()).collect();
            let key = format!("uploads/u/{n}");
            store.put(&Path::from(key.as_str()), PutPayload::from(bytes.clone())).await.unwrap();
            chunks.push(Chunk { start: all.len() as u64, length: *length as u64, key });
            all.extend(bytes);
        }
        (all, UploadReader::new(store, chunks))
    }

    #[tokio::test]
    async fn ranges_cross_chunks() {
        let (all, reader) = upload(&[10, 1, 30, 9]).await;
        let reader = reader.unwrap();
        assert_eq!(reader.size(), Some(50));
        for offset in 0..all.len() {
            for len in [1u32, 5, 20, 100] {
                let end = (offset + len as usize).min(all.len());
                let bytes = reader.read_range(offset as u64, len).await.unwrap();
                assert_eq!(bytes, &all[offset..end], "{len} bytes from {offset}");
            }
        }
        assert!(reader.read_range(50, 10).await.unwrap().is_empty());
        assert!(reader.read_range(u64::MAX, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_lost_chunk_and_a_gap_are_errors() {
        let (_, reader) = upload(&[10]).await;
        let reader = reader.unwrap();
        reader.store.delete(&Path::from("uploads/u/0")).await.unwrap();
        assert!(matches!(reader.read_range(0, 1).await, Err(ReadError::Store(_))));
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let gap = vec![Chunk { start: 1, length: 1, key: "k".into() }];
        assert!(matches!(UploadReader::new(store, gap), Err(ReadError::Gap(0))));
    }
}
