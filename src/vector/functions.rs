//! Functions of one vector, under pgvector's names.

use mrl_vector::{arithmetic, convert, distance};

use crate::vector::datum::{NewVector, Vector};

sql_function! {
    /// `vector_dims`
    fn mrlvec_dims(call) -> i32 {
        Ok(call.get::<Vector>(0)?.len() as i32)
    }

    /// `l2_norm`
    fn mrlvec_l2_norm(call) -> f64 {
        Ok(distance::l2_norm(&call.get::<Vector>(0)?))
    }

    /// `l2_normalize`
    fn mrlvec_l2_normalize(call) -> NewVector {
        let vector = call.get::<Vector>(0)?;
        Ok(NewVector::build(vector.len(), |out| convert::normalise(&vector, out))?)
    }

    /// `subvector(mrlvec, start, count)`
    fn mrlvec_subvector(call) -> NewVector {
        let vector = call.get::<Vector>(0)?;
        let range = arithmetic::subvector_range(vector.len(), call.get(1)?, call.get(2)?)?;
        Ok(NewVector::from_components(&vector[range])?)
    }
}
