//! Dense vectors: what a text or a video means, as an embedding model puts it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::SearchError;

/// The most dimensions a space may have.
pub const MAX_DIMENSIONS: usize = 4_096;

/// Vectors that may be compared with each other: of one kind, made by one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawSpace")]
pub struct DenseSpace {
    name: String,
    model: String,
    dimensions: usize,
}

#[derive(Deserialize)]
struct RawSpace {
    name: String,
    model: String,
    dimensions: usize,
}

impl TryFrom<RawSpace> for DenseSpace {
    type Error = SearchError;

    fn try_from(raw: RawSpace) -> Result<Self, SearchError> {
        Self::new(raw.name, raw.model, raw.dimensions)
    }
}

impl DenseSpace {
    /// A space of kind `name`, as `text`, filled by `model`.
    ///
    /// # Errors
    /// [`SearchError::BadVector`]: the name is not 1 to 40 of `a-z`, `0-9`, `_`, `-`; the model
    /// not 1 to 120 of these, capitals and `.`; the dimensions not 1 to [`MAX_DIMENSIONS`].
    pub fn new(name: impl Into<String>, model: impl Into<String>, dimensions: usize) -> Result<Self, SearchError> {
        let (name, model) = (name.into(), model.into());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if !(1..=40).contains(&name.len()) || !name.chars().all(plain) {
            return Err(SearchError::BadVector(format!("{name:?} can't name a dense space")));
        }
        let wide = |c: char| plain(c) || c.is_ascii_uppercase() || c == '.';
        if !(1..=120).contains(&model.len()) || !model.chars().all(wide) {
            return Err(SearchError::BadVector(format!("{model:?} can't name an embedding model")));
        }
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(SearchError::BadVector(format!("{dimensions} dimensions: 1 to {MAX_DIMENSIONS} are possible")));
        }
        Ok(Self { name, model, dimensions })
    }

    /// The kind: the same for the successors of a model. An index holds one space of a kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The length of each vector.
    #[must_use]
    pub const fn dimensions(&self) -> usize {
        self.dimensions
    }
}

/// A vector of length one in a [`DenseSpace`]; closeness is the cosine. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseVector {
    space: Arc<DenseSpace>,
    values: Arc<[f32]>,
}

/// The values are finite, so each equals itself.
impl Eq for DenseVector {}

impl DenseVector {
    /// `values` as a vector of `space`, scaled to length one.
    ///
    /// # Errors
    /// [`SearchError::BadVector`]: another number of values, a value that is not finite, or
    /// nothing but zeros.
    pub fn new(space: &Arc<DenseSpace>, mut values: Vec<f32>) -> Result<Self, SearchError> {
        if values.len() != space.dimensions {
            let (got, wanted) = (values.len(), space.dimensions);
            return Err(SearchError::BadVector(format!("{got} values where {} has {wanted}", space.model)));
        }
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length <= f64::from(f32::MIN_POSITIVE) {
            return Err(SearchError::BadVector("its length is zero or not finite".into()));
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(Self { space: Arc::clone(space), values: values.into() })
    }

    /// Where it lies.
    #[must_use]
    pub const fn space(&self) -> &Arc<DenseSpace> {
        &self.space
    }

    /// Its values.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(dimensions: usize) -> Arc<DenseSpace> {
        Arc::new(DenseSpace::new("text", "model-1.0", dimensions).unwrap())
    }

    #[test]
    fn a_vector_fits_its_space_and_has_length_one() {
        let vector = DenseVector::new(&space(2), vec![3.0, -4.0]).unwrap();
        assert_eq!(vector.values(), [0.6, -0.8]);
        let huge = DenseVector::new(&space(2), vec![f32::MAX, f32::MAX]).unwrap();
        assert!((huge.values()[0] - 0.5_f32.sqrt()).abs() < 1e-6);
        for bad in [vec![], vec![1.0], vec![1.0; 3], vec![0.0; 2], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]] {
            assert!(DenseVector::new(&space(2), bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_plain() {
        let long = "x".repeat(41);
        for name in ["", "Text", "a.b", "a/b", "ä", &long] {
            assert!(DenseSpace::new(name, "model", 2).is_err(), "{name}");
        }
        assert!(DenseSpace::new("text", "../model", 2).is_err());
        assert!(DenseSpace::new("text", "model", 0).is_err());
        let read = serde_json::from_str::<DenseSpace>(r#"{"name":"text","model":"m","dimensions":99999}"#);
        assert!(read.is_err());
    }
}
