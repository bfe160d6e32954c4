//! `mrl_embed`, `mrl_tokens`, `mrl_models`, `mrl_status` as SQL calls them.

use mrl_encoder::ModelDescription;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::embed::door;
use crate::embed::request::{self, Request};
use crate::server::array::{Array, new_array};
use crate::server::call::{Call, FromSql, IntoSql};
use crate::server::error::SqlError;
use crate::server::rows::{Row, return_rows};
use crate::server::text::Text;
use crate::vector::datum::NewVector;

/// The position of `model` among the arguments of the forms that have it.
const MODEL: usize = 3;

/// The arguments behind the content: prefix, dim and, in the IMMUTABLE forms, model.
struct Arguments {
    prefix: Option<Text>,
    dim: Option<i32>,
    model: Option<Text>,
}

impl Arguments {
    fn read(call: &Call) -> Result<Self, SqlError> {
        if call.argument_count() > MODEL && call.is_null(MODEL) {
            return Err(SqlError::new(
                Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                "model must not be null",
            )
            .hint("Name a model, or leave the argument out to use the default model."));
        }
        Ok(Self { prefix: call.optional(1)?, dim: call.optional(2)?, model: call.optional(MODEL)? })
    }

    fn request(&self) -> Result<Request<'_>, SqlError> {
        Request::new(self.model.as_deref(), self.prefix.as_deref(), self.dim)
    }
}

sql_function! {
    /// `mrl_embed(content text, prefix text, dim int [, model text])`
    fn mrl_embed_text(call) -> Option<NewVector> {
        let arguments = Arguments::read(call)?;
        let Some(content) = call.optional::<Text>(0)? else { return Ok(None) };
        arguments.request()?.embed(&content).map(Some)
    }

    /// `mrl_embed(contents text[], prefix text, dim int [, model text])`
    fn mrl_embed_texts(call) -> Option<*mut pg_sys::ArrayType> {
        let arguments = Arguments::read(call)?;
        let Some(contents) = call.optional::<Array>(0)? else { return Ok(None) };
        let request = arguments.request()?;
        let embed = |content: Option<pg_sys::Datum>| -> Result<Option<pg_sys::Datum>, SqlError> {
            let Some(content) = content else { return Ok(None) };
            // SAFETY: an element of the text array that SQL passed.
            let content = unsafe { Text::from_sql(content) }?;
            Ok(request.embed(&content)?.into_sql())
        };
        let mut embeddings = Vec::new();
        for content in contents.elements()? {
            pgrx::check_for_interrupts!();
            mrl_memory::push(&mut embeddings, embed(content)?)?;
        }
        new_array(result_element_type(call), embeddings).map(Some)
    }

    /// `mrl_tokens(content text, prefix text, model text)`
    fn mrl_tokens(call) -> Option<i32> {
        let Some(content) = call.optional::<Text>(0)? else { return Ok(None) };
        let (prefix, model) = (call.optional::<Text>(1)?, call.optional::<Text>(2)?);
        let count = request::count_tokens(model.as_deref(), prefix.as_deref(), &content)?;
        Ok(i32::try_from(count).ok())
    }

    fn mrl_models(call) -> () {
        let default = request::default_model().ok();
        let mut rows = Vec::new();
        for name in door::installed()? {
            let is_default = default.as_deref() == Some(name.as_str());
            let described = door::describe(name.as_str(), describe)
                .and_then(|row| Ok((row, door::weights_sha256(&name)?)));
            rows.push(match described {
                Ok((columns, sha256)) => row(name.as_str(), columns?, Some(sha256), is_default, None),
                Err(problem) => row(name.as_str(), unknown(), None, is_default, Some(problem.to_string())),
            });
        }
        return_rows(call, rows)
    }

    fn mrl_status(call) -> () {
        let rows = door::loaded().into_iter().map(|model| {
            let counters = request::counters(&model.name);
            vec![
                model.name.into_sql(),
                (model.bytes as i64).into_sql(),
                counters.texts.into_sql(),
                counters.tokens.into_sql(),
                counters.forward_passes.into_sql(),
                counters.cache_hits.into_sql(),
            ]
        });
        return_rows(call, rows)
    }
}

/// The columns of `mrl_models` from `architecture` to `bytes`.
fn describe(description: &ModelDescription) -> Result<Row, SqlError> {
    let dimensions = description.matryoshka_dimensions.iter().map(|d| (*d as i32).into_sql());
    let prefixes = description.prefixes().into_iter().map(IntoSql::into_sql);
    Ok(vec![
        description.architecture.to_string().into_sql(),
        (description.dimensions as i32).into_sql(),
        new_array(pg_sys::INT4OID, dimensions)?.into_sql(),
        new_array(pg_sys::TEXTOID, prefixes)?.into_sql(),
        (description.max_tokens as i32).into_sql(),
        (description.weights_bytes as i64).into_sql(),
    ])
}

fn unknown() -> Row {
    vec![None; 6]
}

fn row(
    name: &str,
    columns: Row,
    sha256: Option<String>,
    is_default: bool,
    problem: Option<String>,
) -> Row {
    let mut row = vec![name.into_sql()];
    row.extend(columns);
    row.extend([sha256.into_sql(), is_default.into_sql(), problem.into_sql()]);
    row
}

/// `mrlvec`, as the element of the result type that SQL declares for the function called. No name
/// is looked up: the extension may live in any schema.
fn result_element_type(call: &Call) -> pg_sys::Oid {
    // SAFETY: catalog lookups.
    unsafe { pg_sys::get_element_type(pg_sys::get_func_rettype(call.function())) }
}
