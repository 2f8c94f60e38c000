//! What the worker and its child say to each other over their socket.
//!
//! A message is `meta length u32`, `body length u32` (little endian), the meta data as JSON, and a
//! body of plain bytes (empty for most). Both lengths are checked before anything is allocated,
//! since the child may have been taken over by what it decodes. The child speaks first in nothing:
//! it answers [`ToChild::Start`] with [`FromChild::Hello`] once it is shut in.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    ladder::{Plan, Probe},
    limits::Limits,
    sandbox::{SandboxState, SelfTest},
};

/// The version of this protocol; both ends are the same program, so any other is refused.
pub const VERSION: u16 = 1;
/// The longest meta data in bytes.
pub const MAX_META: usize = 64 << 10;
/// The longest body in bytes: a media segment.
pub const MAX_BODY: usize = 64 << 20;
/// The longest range the child may ask for in bytes.
pub const MAX_RANGE: u32 = 4 << 20;

/// A track of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Track {
    /// The rung of this place in the plan.
    Video(u8),
    /// The sound.
    Audio,
}

/// From the worker to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToChild {
    /// The first message.
    Start {
        /// [`VERSION`].
        version: u16,
        /// What to do.
        task: Task,
        /// What it may cost.
        limits: Limits,
        /// Go on even if the sandbox can't be had.
        allow_unsafe: bool,
    },
    /// What to encode, in answer to [`FromChild::Probed`].
    Plan(Plan),
    /// The bytes asked for, as the body; fewer than asked for only at the end of the source.
    Range {
        /// The offset asked for.
        offset: u64,
    },
    /// The bytes asked for can't be had; the worker knows why.
    RangeFailed,
}

/// What the child is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Transcode a source.
    Transcode {
        /// Its length in bytes; none while it is still being uploaded.
        source_len: Option<u64>,
    },
    /// Try what must be denied, and say what was.
    SelfTest,
}

/// From the child to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromChild {
    /// The child is shut in and begins.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// What shuts it in.
        sandbox: SandboxState,
    },
    /// The child will not work without its sandbox.
    SandboxRefused {
        /// What could not be had.
        reason: String,
    },
    /// Asks for bytes of the source. Past the durable end of a source that still grows the answer
    /// waits for more.
    Read {
        /// From which byte on.
        offset: u64,
        /// How many; at most [`MAX_RANGE`].
        len: u32,
    },
    /// What the source is; asks for a plan.
    Probed(Probe),
    /// The init segment of a track, as the body.
    Init {
        /// The track.
        track: Track,
    },
    /// A media segment, as the body.
    Segment {
        /// The track.
        track: Track,
        /// Its place, from 0.
        number: u32,
        /// Its length in microseconds of presentation.
        duration_us: i64,
    },
    /// A track has no more segments.
    TrackDone {
        /// The track.
        track: Track,
    },
    /// The poster, as the body: a JPEG.
    Poster,
    /// So much of the source has been read.
    Progress {
        /// Milliseconds of presentation.
        at_ms: i64,
    },
    /// Everything has been sent.
    Done {
        /// The length of the video in milliseconds.
        duration_ms: i64,
    },
    /// The child gives up.
    Failed {
        /// Whose fault.
        kind: FailureKind,
        /// In words for the owner of the video.
        reason: String,
    },
    /// The outcome of [`Task::SelfTest`].
    SelfTested(SelfTest),
}

/// Why the child gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The source is not something that can be transcoded; trying again changes nothing.
    Source,
    /// The worker could not supply bytes.
    Read,
    /// A component failed for no reason found in the source.
    Internal,
}

/// A message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other end has gone, or the socket failed.
    #[error("the connection between the worker and its child failed")]
    Io(#[from] io::Error),
    /// Longer than allowed.
    #[error("a message of {meta} + {body} bytes exceeds the limit")]
    TooLong {
        /// Bytes of meta data announced.
        meta: usize,
        /// Bytes of body announced.
        body: usize,
    },
    /// Not a message of this protocol.
    #[error("a message is malformed")]
    Malformed(#[from] serde_json::Error),
    /// A message that may not come at this point, or whose contents break a rule.
    #[error("unexpected message: {0}")]
    Unexpected(&'static str),
}

/// The lengths that precede a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of meta data.
    pub meta: usize,
    /// Bytes of body.
    pub body: usize,
}

impl Header {
    /// Its length in bytes.
    pub const LEN: usize = 8;

    /// Reads and checks the lengths.
    ///
    /// # Errors
    /// [`ProtocolError::TooLong`].
    pub fn parse(bytes: [u8; Self::LEN]) -> Result<Self, ProtocolError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let meta = u32::from_le_bytes([a, b, c, d]) as usize;
        let body = u32::from_le_bytes([e, f, g, h]) as usize;
        if meta > MAX_META || body > MAX_BODY {
            return Err(ProtocolError::TooLong { meta, body });
        }
        Ok(Self { meta, body })
    }
}

/// The header and meta data of a message whose body has `body` bytes.
///
/// # Errors
/// [`ProtocolError::TooLong`].
pub fn encode_head<M: Serialize>(message: &M, body: usize) -> Result<Vec<u8>, ProtocolError> {
    let json = serde_json::to_vec(message)?;
    let too_long = ProtocolError::TooLong { meta: json.len(), body };
    let (Ok(meta), Ok(len)) = (u32::try_from(json.len()), u32::try_from(body)) else { return Err(too_long) };
    if json.len() > MAX_META || body > MAX_BODY {
        return Err(too_long);
    }
    let mut head = Vec::with_capacity(Header::LEN + json.len());
    head.extend_from_slice(&meta.to_le_bytes());
    head.extend_from_slice(&len.to_le_bytes());
    head.extend_from_slice(&json);
    Ok(head)
}

/// Writes one message; blocks.
///
/// # Errors
/// The message is too long, or the other end has gone.
pub fn write<M: Serialize>(to: &mut impl Write, message: &M, body: &[u8]) -> Result<(), ProtocolError> {
    to.write_all(&encode_head(message, body.len())?)?;
    to.write_all(body)?;
    Ok(())
}

/// Reads one message; blocks.
///
/// # Errors
/// The message is malformed or too long, or the other end has gone.
pub fn read<M: DeserializeOwned>(from: &mut impl Read) -> Result<(M, Vec<u8>), ProtocolError> {
    let mut head = [0; Header::LEN];
    from.read_exact(&mut head)?;
    let header = Header::parse(head)?;
    let mut meta = vec![0; header.meta];
    from.read_exact(&mut meta)?;
    let mut body = vec![0; header.body];
    from.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&meta)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let messages = [
            (FromChild::Read { offset: 1 << 40, len: MAX_RANGE }, vec![]),
            (FromChild::Segment { track: Track::Video(2), number: 7, duration_us: 6_000_000 }, vec![1, 2, 3]),
            (FromChild::Failed { kind: FailureKind::Source, reason: "no".into() }, vec![]),
        ];
        let mut wire = Vec::new();
        for (message, body) in &messages {
            write(&mut wire, message, body).unwrap();
        }
        let mut rest = wire.as_slice();
        for (message, body) in &messages {
            let (found, bytes): (FromChild, Vec<u8>) = read(&mut rest).unwrap();
            assert_eq!((&found, &bytes), (message, body));
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn the_wire_form_is_pinned() {
        let mut wire = Vec::new();
        write(&mut wire, &FromChild::Init { track: Track::Audio }, b"x").unwrap();
        assert_eq!(&wire[..8], &[31, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(&wire[8..], br#"{"type":"init","track":"audio"}x"#);
    }

    #[test]
    fn announced_lengths_are_checked_before_anything_is_read() {
        for (meta, body) in [(MAX_META + 1, 0), (0, MAX_BODY + 1), (u32::MAX as usize, u32::MAX as usize)] {
            let mut wire = Vec::new();
            wire.extend_from_slice(&u32::try_from(meta).unwrap().to_le_bytes());
            wire.extend_from_slice(&u32::try_from(body).unwrap().to_le_bytes());
            let error = read::<FromChild>(&mut wire.as_slice()).unwrap_err();
            assert!(matches!(error, ProtocolError::TooLong { .. }), "{error}");
        }
        assert!(matches!(encode_head(&"m".repeat(MAX_META), 0), Err(ProtocolError::TooLong { .. })));
        assert!(matches!(encode_head(&"m", MAX_BODY + 1), Err(ProtocolError::TooLong { .. })));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read::<FromChild>(&mut bytes.as_slice());
            let mut framed = Vec::new();
            framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
            framed.extend_from_slice(&0u32.to_le_bytes());
            framed.extend_from_slice(&bytes);
            let _ = read::<FromChild>(&mut framed.as_slice());
        }
    }
}
