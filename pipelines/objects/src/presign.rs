//! Addresses at which anyone may read an object for a while, straight from the store.

use std::time::Duration;

use event_schemas::Millis;
use object_store::{Error, Result, path::Path};
use url::Url;

/// The longest that an address may be valid: S3 allows no more.
pub const LONGEST_PRESIGNED: Millis = Millis(7 * 24 * 3_600_000);

/// Makes addresses for reading.
///
/// # Guarantees
/// * Whoever has the address can read this one object, whole or by ranges, until it expires, and
///   do nothing else.
/// * Nothing is asked of the store (but fresh credentials, where they expire), so that this is
///   cheap, and says nothing about whether the object exists.
/// * An address can't be taken back. It may expire early if the credentials that signed it do.
#[async_trait::async_trait]
pub trait Presign: Send + Sync + std::fmt::Debug {
    /// The address for a GET of `location`, valid for `valid_for` from now, in whole seconds: at
    /// least one, at most [`LONGEST_PRESIGNED`].
    ///
    /// # Errors
    /// The span is out of bounds; no credentials can be had.
    async fn get_url(&self, location: &Path, valid_for: Millis) -> Result<Url>;
}

/// Checks `valid_for` for [`Presign::get_url`].
pub(crate) fn whole_seconds(valid_for: Millis) -> Result<Duration> {
    if !(1000..=LONGEST_PRESIGNED.0).contains(&valid_for.0) {
        let why = format!("an address can be valid for 1 second to 7 days, not for {} ms", valid_for.0);
        return Err(Error::NotSupported { source: why.into() });
    }
    Ok(Duration::from_secs(valid_for.0.unsigned_abs() / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_bounds() {
        assert_eq!(whole_seconds(Millis(1999)).unwrap(), Duration::from_secs(1));
        assert_eq!(whole_seconds(LONGEST_PRESIGNED).unwrap(), Duration::from_secs(604_800));
        for wrong in [Millis(999), Millis(-5000), Millis(LONGEST_PRESIGNED.0 + 1)] {
            assert!(whole_seconds(wrong).is_err(), "{wrong:?}");
        }
    }
}
