//! The vocabulary every other crate shares: typed ids and units, the clock, whose fault an
//! error is, and the records that travel through the log.
//!
//! Nothing here does I/O. Wire formats are versioned; `tests/golden/` pins each of them.

pub mod clock;
pub mod envelope;
pub mod fault;
pub mod ids;
pub mod playback;
pub mod records;
pub mod rules;
pub mod topics;
pub mod units;

pub use clock::{Clock, SystemClock, TestClock};
pub use envelope::{Envelope, ProducerStamp};
pub use fault::{Fault, Faulty};
pub use ids::*;
pub use topics::{Offset, OffsetVector, Partition, Topic};
pub use units::{ByteSize, Millis, Timestamp};
