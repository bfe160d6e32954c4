//! `mrl_embed_trigger`: a BEFORE row trigger that embeds a row's text into one of its columns.
//!
//! What its arguments say is read by the crate `mrl-etl`; the embedding is asked for as
//! `mrl_embed` asks for it. Nothing of the relation is cached: arguments and columns are looked at
//! for each row, which costs microseconds beside the milliseconds of an embedding.

use std::borrow::Cow;
use std::ffi::CStr;

use mrl_etl::{ArgumentError, TriggerArguments};
use mrl_vector::check_expected_dimensions;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::embed::request::Request;
use crate::server::call::{Call, IntoSql};
use crate::server::catalog;
use crate::server::error::SqlError;
use crate::server::text::utf8_from_server;

sql_function! {
    fn mrl_embed_trigger(call) -> pg_sys::HeapTuple {
        let event = Event::of(call)?;
        let arguments = event.arguments()?;
        let target = event.column(&arguments.target)?;
        target.check_can_be_filled(call)?;
        let sources = arguments
            .source
            .columns()
            .iter()
            .map(|name| event.column(name).and_then(Column::check_is_source))
            .collect::<Result<Vec<_>, _>>()?;

        let content = |row| -> Result<Option<String>, SqlError> {
            let values: Result<Vec<_>, _> = sources.iter().map(|column| event.text(row, column)).collect();
            Ok(arguments.source.render(&values?)?)
        };
        let wanted = content(event.row)?;
        if let Some(former) = event.former_row && content(former)? == wanted {
            return Ok(event.row);
        }
        let embedding = match &wanted {
            Some(text) => Some(embed(&arguments, &target, text)?),
            None => None,
        };
        Ok(event.row_with(&target, embedding))
    }
}

/// Embeds a row's text for its column. A length that the column declares is the default of `dim`.
fn embed(
    arguments: &TriggerArguments,
    target: &Column,
    text: &str,
) -> Result<pg_sys::Datum, SqlError> {
    let declared = (target.attribute().atttypmod >= 0).then(|| target.attribute().atttypmod);
    if let (Some(dim), Some(declared)) = (arguments.dim, declared) {
        check_expected_dimensions(declared as usize, dim.max(0) as usize)?;
    }
    let dim = arguments.dim.or(declared);
    let request = Request::new(arguments.model.as_deref(), arguments.prefix.as_deref(), dim)?;
    let vector = request.embed(text)?;
    Ok(vector.into_sql().unwrap_or(pg_sys::Datum::null()))
}

impl From<ArgumentError> for SqlError {
    fn from(error: ArgumentError) -> Self {
        Self::new(Code::ERRCODE_INVALID_PARAMETER_VALUE, error.to_string()).hint(
            "Use mrl_embed_trigger('target_column', 'task_prefix', 'source_column' or '{a} {b}', 'dim=…', 'model=…').",
        )
    }
}

/// One firing of the trigger for one row.
struct Event {
    data: *mut pg_sys::TriggerData,
    /// The row as it is to be stored.
    row: pg_sys::HeapTuple,
    /// The row as it was, on UPDATE.
    former_row: Option<pg_sys::HeapTuple>,
}

impl Event {
    fn of(call: &Call) -> Result<Self, SqlError> {
        let violated =
            |message| Err(SqlError::new(Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED, message));
        // SAFETY: the trigger manager passes a TriggerData as the call's context; its tag tells.
        unsafe {
            let data: *mut pg_sys::TriggerData = (*call.info()).context.cast();
            if data.is_null() || (*data).type_ != pg_sys::NodeTag::T_TriggerData {
                return violated(
                    "function \"mrl_embed_trigger\" was not called by trigger manager",
                );
            }
            let event = (*data).tg_event;
            let operation = event & pg_sys::TRIGGER_EVENT_OPMASK;
            let is_update = operation == pg_sys::TRIGGER_EVENT_UPDATE;
            let fits = event & pg_sys::TRIGGER_EVENT_ROW != 0
                && event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE
                && (is_update || operation == pg_sys::TRIGGER_EVENT_INSERT);
            if !fits {
                return violated(
                    "function \"mrl_embed_trigger\" must be fired BEFORE INSERT OR UPDATE FOR EACH ROW",
                );
            }
            let former_row = is_update.then_some((*data).tg_trigtuple);
            let row = if is_update { (*data).tg_newtuple } else { (*data).tg_trigtuple };
            Ok(Self { data, row, former_row })
        }
    }

    fn arguments(&self) -> Result<TriggerArguments, SqlError> {
        // SAFETY: the trigger has `tgnargs` NUL-terminated arguments that live as long as the call.
        let arguments: Vec<&'static CStr> = unsafe {
            let trigger = (*self.data).tg_trigger;
            let count = (*trigger).tgnargs as usize;
            (0..count).map(|i| CStr::from_ptr(*(*trigger).tgargs.add(i))).collect()
        };
        let arguments: Result<Vec<_>, _> =
            arguments.into_iter().map(|argument| utf8_from_server(argument.to_bytes())).collect();
        let arguments = arguments?;
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        Ok(TriggerArguments::parse(&arguments)?)
    }

    fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: the trigger manager passes the open relation.
        unsafe { (*(*self.data).tg_relation).rd_att }
    }

    fn column(&self, name: &str) -> Result<Column, SqlError> {
        // SAFETY: the relation's descriptor, which lives as long as the call.
        let relation_and_columns = unsafe {
            let descriptor = self.descriptor();
            (0..(*descriptor).natts).map(move |i| Column::of(descriptor, i + 1))
        };
        for column in relation_and_columns {
            if !column.attribute().attisdropped && column.name()? == name {
                return Ok(column);
            }
        }
        // SAFETY: as above; a relation's name is NUL-terminated.
        let relation =
            unsafe { CStr::from_ptr((*(*(*self.data).tg_relation).rd_rel).relname.data.as_ptr()) };
        Err(SqlError::new(
            Code::ERRCODE_UNDEFINED_COLUMN,
            format!(
                "column \"{name}\" of relation \"{}\" does not exist",
                relation.to_string_lossy()
            ),
        )
        .detail("mrl_embed_trigger was told to use it."))
    }

    /// A column's value in a row as text, by its type's output function; `None` for NULL.
    fn text(
        &self,
        row: pg_sys::HeapTuple,
        column: &Column,
    ) -> Result<Option<Cow<'static, str>>, SqlError> {
        let mut is_null = false;
        // SAFETY: row and descriptor are those of the relation, the number is one of its columns;
        // the output function is that of the column's type.
        let printed: &'static CStr = unsafe {
            let value = pg_sys::SPI_getbinval(row, self.descriptor(), column.number, &mut is_null);
            if is_null {
                return Ok(None);
            }
            let (mut output, mut is_varlena) = (pg_sys::InvalidOid, false);
            pg_sys::getTypeOutputInfo(column.attribute().atttypid, &mut output, &mut is_varlena);
            CStr::from_ptr(pg_sys::OidOutputFunctionCall(output, value))
        };
        Ok(Some(utf8_from_server(printed.to_bytes())?))
    }

    /// The row with another value in one column.
    fn row_with(&self, column: &Column, value: Option<pg_sys::Datum>) -> pg_sys::HeapTuple {
        let (mut number, mut is_null) = (column.number, value.is_none());
        let mut value = value.unwrap_or(pg_sys::Datum::null());
        // SAFETY: row and descriptor are those of the relation; one column, value and flag.
        unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.row,
                self.descriptor(),
                1,
                &raw mut number,
                &raw mut value,
                &raw mut is_null,
            )
        }
    }
}

/// A column of the relation.
struct Column {
    descriptor: pg_sys::TupleDesc,
    /// From 1.
    number: i32,
}

impl Column {
    /// # Safety
    /// The descriptor is alive during the call and has a column of this number.
    unsafe fn of(descriptor: pg_sys::TupleDesc, number: i32) -> Self {
        Self { descriptor, number }
    }

    fn attribute(&self) -> &pg_sys::FormData_pg_attribute {
        // SAFETY: by `of`.
        unsafe { catalog::column(self.descriptor, self.number) }
    }

    fn name(&self) -> Result<String, SqlError> {
        // SAFETY: a name in the catalog is NUL-terminated and lives as long as the descriptor.
        let name: &'static CStr = unsafe { CStr::from_ptr(self.attribute().attname.data.as_ptr()) };
        Ok(utf8_from_server(name.to_bytes())?.into_owned())
    }

    fn is_generated(&self) -> bool {
        self.attribute().attgenerated != 0
    }

    fn check_is_source(self) -> Result<Self, SqlError> {
        if self.is_generated() {
            return Err(self
                .refused("is generated and cannot be a source of mrl_embed_trigger")?
                .detail("Generated columns are computed after BEFORE triggers.")
                .hint("Name the columns that it is computed from."));
        }
        Ok(self)
    }

    fn check_can_be_filled(&self, call: &Call) -> Result<(), SqlError> {
        if self.is_generated() {
            return Err(self.refused("is generated and cannot be filled by mrl_embed_trigger")?);
        }
        // SAFETY: catalog lookups. The type lives in the schema of the function, wherever that is.
        let fits = unsafe {
            let schema = pg_sys::get_func_namespace(call.function());
            let mrlvec = catalog::type_in_schema(c"mrlvec", schema);
            pg_sys::IsBinaryCoercible(mrlvec, self.attribute().atttypid)
        };
        if fits {
            return Ok(());
        }
        Err(SqlError::new(
            Code::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column \"{}\" is not of type mrlvec and cannot be filled by mrl_embed_trigger",
                self.name()?
            ),
        ))
    }

    fn refused(&self, why: &str) -> Result<SqlError, SqlError> {
        Ok(SqlError::new(
            Code::ERRCODE_FEATURE_NOT_SUPPORTED,
            format!("column \"{}\" {why}", self.name()?),
        ))
    }
}
