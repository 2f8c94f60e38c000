//! Which life of a topic its offsets belong to. Fluvio keeps no such number: a topic that is
//! deleted and made again starts at offset 0 under its old name.

use async_trait::async_trait;

/// Why a generation could not be read or raised.
pub type GenerationError = Box<dyn std::error::Error + Send + Sync>;

/// A durable counter for each topic, outside the log.
#[async_trait]
pub trait Generations: Send + Sync + 'static {
    /// The topic's generation; 0 if it was never raised.
    ///
    /// # Errors
    /// The store does not answer.
    async fn current(&self, topic: &str) -> Result<u64, GenerationError>;

    /// Raises the topic's generation, durably, and gives the new one.
    ///
    /// Called after the topic was found absent and before it is made, so that no record is ever
    /// written under the number of an earlier life. Two processes that make the same topic at the
    /// same time would raise it twice, the second time under the records of the first: let only one
    /// process at a time ensure topics.
    ///
    /// # Errors
    /// The store does not answer; the topic is then not made.
    async fn raise(&self, topic: &str) -> Result<u64, GenerationError>;
}
