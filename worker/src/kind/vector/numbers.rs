//! One vector.

use coxswain_shared::limits::VECTOR_LENGTH_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Numbers in the precision that stores keep them in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Vector(Vec<f32>);

/// Why something is no vector.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVector {
    #[error("is no list of numbers ({0})")]
    NoNumbers(serde_json::Error),
    #[error("is empty")]
    Empty,
    #[error("has {0} numbers, more than the {VECTOR_LENGTH_MAX} that are allowed")]
    TooLong(usize),
    #[error("holds a number that is too large")]
    TooLarge,
}

impl Vector {
    /// A vector from what the state or a graph holds.
    pub(super) fn read(value: Value) -> Result<Self, NoVector> {
        let vector: Self = serde_json::from_value(value).map_err(NoVector::NoNumbers)?;
        vector.check().map(|()| vector)
    }

    /// Whether it can be one.
    pub(super) fn check(&self) -> Result<(), NoVector> {
        match self.0.len() {
            0 => Err(NoVector::Empty),
            length if length > VECTOR_LENGTH_MAX => Err(NoVector::TooLong(length)),
            _ if self.0.iter().any(|number| !number.is_finite()) => Err(NoVector::TooLarge),
            _ => Ok(()),
        }
    }

    /// How many numbers it has.
    pub(super) fn length(&self) -> usize {
        self.0.len()
    }

    /// The vector for the state.
    pub(super) fn to_json(&self) -> Value {
        Value::from(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_numbers_are_a_vector() {
        assert_eq!(Vector::read(json!([1, -0.5, 1e-3])).unwrap().length(), 3);
        for (wrong, told) in [
            (json!("1, 2"), "is no list of numbers"),
            (json!([1, null]), "is no list of numbers"),
            (json!([]), "is empty"),
            (json!([1e300]), "too large"),
            (json!(vec![0; VECTOR_LENGTH_MAX + 1]), "has 16385 numbers"),
        ] {
            let error = Vector::read(wrong).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
