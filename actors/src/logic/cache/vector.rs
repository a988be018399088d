//! Vectors in the form in which they are kept: one byte a dimension.
//!
//! `version (1), scale (4, little-endian f32), a signed byte for each dimension`. A dimension is its byte times the scale,
//! which is such that the largest has 127.

use bytes::Bytes;

/// The version of the form.
const VERSION: u8 = 1;
/// What stands before the dimensions, bytes.
const HEAD: usize = 5;
const STEPS: f32 = 127.0;

/// Bytes that are no vector of the wanted dimensions, in no version that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a vector of {0} dimensions")]
pub struct VectorError(pub usize);

/// A vector as it is kept. What is no number counts as zero.
pub fn encode(vector: &[f32]) -> Bytes {
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    let largest = vector
        .iter()
        .fold(0.0_f32, |max, value| max.max(finite(*value).abs()));
    let scale = if largest > 0.0 { largest / STEPS } else { 1.0 };
    let mut out = Vec::with_capacity(HEAD + vector.len());
    out.push(VERSION);
    out.extend_from_slice(&scale.to_le_bytes());
    // Within -127 to 127 by the choice of the scale.
    let step = |value: &f32| ((finite(*value) / scale).round() as i8).to_le_bytes()[0];
    out.extend(vector.iter().map(step));
    out.into()
}

/// The vector again, about. Errors: these bytes are none of so many dimensions.
pub fn decode(bytes: &[u8], dimensions: usize) -> Result<Vec<f32>, VectorError> {
    let error = VectorError(dimensions);
    let (head, steps) = bytes.split_at_checked(HEAD).ok_or(error)?;
    let [VERSION, scale @ ..] = head else {
        return Err(error);
    };
    let scale = f32::from_le_bytes(scale.try_into().map_err(|_| error)?);
    if steps.len() != dimensions || !scale.is_finite() {
        return Err(error);
    }
    let value = |step: &u8| f32::from(i8::from_le_bytes([*step])) * scale;
    Ok(steps.iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    proptest! {
        #[test]
        fn a_vector_keeps_its_direction_and_its_length(
            vector in proptest::collection::vec(-1.0_f32..1.0, 2..600),
        ) {
            let largest = vector.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            let back = decode(&encode(&vector), vector.len()).unwrap();
            for (value, again) in vector.iter().zip(&back) {
                prop_assert!((value - again).abs() <= largest / STEPS * 0.5001);
            }
            if largest > 0.0 {
                prop_assert!(cosine(&vector, &back) > 0.999);
            }
        }

        #[test]
        fn any_bytes_are_a_vector_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40), n in 0_usize..40) {
            if let Ok(vector) = decode(&bytes, n) {
                prop_assert_eq!(vector.len(), n);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_zero() {
        let back = decode(&encode(&[f32::NAN, f32::INFINITY, 0.5, 0.0]), 4).unwrap();
        assert_eq!((back[0], back[1], back[3]), (0.0, 0.0, 0.0));
        assert!((back[2] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn other_versions_and_dimensions_are_errors() {
        let bytes = encode(&[1.0, 2.0]);
        assert_eq!(decode(&bytes, 3), Err(VectorError(3)));
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(decode(&other, 2), Err(VectorError(2)));
        assert_eq!(decode(&[], 0), Err(VectorError(0)));
    }
}
