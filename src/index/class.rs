//! What an index is of: its operator class's metric, its column's dimension, where exact distances
//! come from.

use mrl_index::pages::meta::Metric;
use mrl_index::pages::shape::MOST_DIMENSIONS;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::index::options::{Options, Rerank};
use crate::server::catalog;
use crate::server::error::SqlError;

/// An operator class, as its support function 1 describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub metric: Metric,
    /// Whether its operator takes vectors of one dimension only.
    pub equal_dimensions: bool,
}

/// The numbers that the support functions return: the metric, plus this where dimensions must be equal.
const EQUAL_DIMENSIONS: i32 = 16;

sql_function! {
    fn mrl_index_inner_product(_call) -> i32 {
        Ok(Metric::InnerProduct as i32)
    }

    fn mrl_index_cosine(_call) -> i32 {
        Ok(Metric::Cosine as i32)
    }

    fn mrl_index_l2(_call) -> i32 {
        Ok(Metric::Euclidean as i32 + EQUAL_DIMENSIONS)
    }

    fn mrl_halfvec_index_inner_product(_call) -> i32 {
        Ok(Metric::InnerProduct as i32 + EQUAL_DIMENSIONS)
    }

    fn mrl_halfvec_index_cosine(_call) -> i32 {
        Ok(Metric::Cosine as i32 + EQUAL_DIMENSIONS)
    }
}

/// # Safety
/// The relation is an open index of ours.
pub unsafe fn class_of(index: pg_sys::Relation) -> Result<Class, SqlError> {
    // SAFETY: by contract; the function takes one argument that it does not look at.
    let number = unsafe {
        let function = pg_sys::index_getprocinfo(index, 1, 1);
        let nothing = pg_sys::Datum::null();
        pg_sys::FunctionCall1Coll(function, pg_sys::InvalidOid, nothing).value() as i32
    };
    let metrics = [Metric::InnerProduct, Metric::Cosine, Metric::Euclidean];
    let metric = metrics.into_iter().find(|metric| *metric as i32 == number % EQUAL_DIMENSIONS);
    let metric = metric.ok_or_else(|| {
        SqlError::new(Code::ERRCODE_INVALID_OBJECT_DEFINITION, "operator class is not one of mrl's")
    })?;
    Ok(Class { metric, equal_dimensions: number >= EQUAL_DIMENSIONS })
}

/// The indexed column's dimension; that of a domain is that of the type beneath.
///
/// # Safety
/// The relation is an open index.
pub unsafe fn dimensions_of(index: pg_sys::Relation) -> Result<usize, SqlError> {
    // SAFETY: by contract; it has one column, of a type that there is.
    let typmod = unsafe {
        let column = catalog::column((*index).rd_att, 1);
        let mut typmod = column.atttypmod;
        pg_sys::getBaseTypeAndTypmod(column.atttypid, &raw mut typmod);
        typmod
    };
    let dimensions = usize::try_from(typmod).ok().filter(|dimensions| *dimensions > 0);
    let dimensions = dimensions.ok_or_else(|| {
        SqlError::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, "column does not have dimensions")
            .hint("Give the column a type with dimensions, such as mrlvec(768), or index a cast: ((emb::mrlvec(768))).")
    })?;
    if dimensions > MOST_DIMENSIONS {
        return Err(SqlError::new(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("column cannot have more than {MOST_DIMENSIONS} dimensions for mrl index"),
        ));
    }
    Ok(dimensions)
}

/// Whether the index keeps copies of the vectors: by its option; else where reading them from the table
/// would be slow, because an expression makes them or because they lie beside the table.
///
/// # Safety
/// Both relations are open, the index is one of the table.
pub unsafe fn keeps_copies(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    options: &Options,
    dimensions: usize,
) -> Result<bool, SqlError> {
    /// Of storage that moves a value out of its row before others, a vector of more dimensions
    /// leaves its row as soon as some text stands beside it.
    const STAYS_IN_ROW: usize = 256;
    // SAFETY: by contract.
    let column = unsafe { (*(*index).rd_index).indkey.values.as_slice(1)[0] };
    match (options.rerank, column) {
        // What ALTER INDEX can't compare with the column stands in no later build's way.
        (Rerank::Index, _) | (_, 0) => Ok(true),
        (Rerank::Heap, _) => Ok(false),
        (Rerank::Auto, column) => {
            // SAFETY: by contract: a column of the table.
            let storage =
                unsafe { catalog::column((*table).rd_att, column.into()) }.attstorage as u8;
            Ok(matches!(storage, b'e' | b'x') && dimensions > STAYS_IN_ROW)
        }
    }
}
