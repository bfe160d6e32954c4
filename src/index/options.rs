//! The storage parameters: `WITH (coarse_dims = …, lists = …, rerank = …, probes = …, epsilon = …)`.

use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::sync::OnceLock;

use mrl_index::scan::{Epsilon, Probes};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;

use crate::index::steering;
use crate::server::error::SqlError;

/// Where exact distances come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rerank {
    Auto,
    Heap,
    Index,
}

/// An index's storage parameters.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub coarse_dimensions: Option<usize>,
    pub lists: Option<usize>,
    pub rerank: Rerank,
    pub probes: Probes,
    pub epsilon: Epsilon,
}

/// As the server keeps them: strings as offsets from the start.
#[repr(C)]
struct Stored {
    length: i32,
    coarse_dimensions: c_int,
    lists: c_int,
    rerank: c_int,
    probes: c_int,
    epsilon: c_int,
}

struct Kind(pg_sys::relopt_kind::Type);

static KIND: OnceLock<Kind> = OnceLock::new();
const LEAST_COARSE: usize = 8;
const MOST_LISTS: usize = mrl_index::build::MOST_LISTS;

/// `auto` or a number.
fn number(text: &str, least: usize, most: usize) -> Option<Option<usize>> {
    match text {
        "auto" => Some(None),
        text => text.parse().ok().filter(|n| (least..=most).contains(n)).map(Some),
    }
}

fn refuse(name: &str, text: &str, valid: &str) -> ! {
    SqlError::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("invalid value for option \"{name}\": \"{text}\""),
    )
    .detail(format!("Valid values are {valid}."))
    .raise()
}

/// # Safety
/// A string of the server, or NULL.
unsafe fn text_of<'a>(text: *const c_char) -> &'a str {
    if text.is_null() {
        return "auto";
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("?")
}

macro_rules! validator {
    ($function:ident, $name:literal, $valid:literal, $check:expr) => {
        #[pgrx::pg_guard]
        unsafe extern "C-unwind" fn $function(text: *const c_char) {
            // SAFETY: the server passes the option's text.
            let text = unsafe { text_of(text) };
            let check: fn(&str) -> bool = $check;
            if !check(text) {
                refuse($name, text, $valid);
            }
        }
    };
}

validator!(validate_coarse, "coarse_dims", "\"auto\" and numbers from 8 to 4000", |text| {
    number(text, LEAST_COARSE, mrl_index::pages::shape::MOST_DIMENSIONS).is_some()
});
validator!(validate_lists, "lists", "\"auto\" and numbers from 1 to 65536", |text| {
    number(text, 1, MOST_LISTS).is_some()
});
validator!(validate_probes, "probes", "\"auto\", \"all\" and numbers from 1 to 65536", |text| {
    steering::parse_probes(text).is_some()
});
validator!(validate_epsilon, "epsilon", "\"auto\", \"exact\" and numbers from 0 to 10", |text| {
    steering::parse_epsilon(text).is_some()
});

/// Makes the parameters known to the server. Called once, when the library is loaded.
pub fn define() {
    KIND.get_or_init(|| {
        // SAFETY: called while the library is loaded; the server copies the strings, and keeps the
        // values' table, which is static.
        unsafe {
            let kind = pg_sys::add_reloption_kind();
            let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
            let light = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
            let auto = c"auto".as_ptr();
            pg_sys::add_string_reloption(
                kind,
                c"coarse_dims".as_ptr(),
                c"Leading dimensions by which rows are put into lists".as_ptr(),
                auto,
                Some(validate_coarse),
                lock,
            );
            pg_sys::add_string_reloption(
                kind,
                c"lists".as_ptr(),
                c"Number of lists of a fresh index".as_ptr(),
                auto,
                Some(validate_lists),
                lock,
            );
            pg_sys::add_string_reloption(
                kind,
                c"rerank".as_ptr(),
                c"Where vectors are read for exact distances".as_ptr(),
                auto,
                Some(validate_rerank),
                lock,
            );
            pg_sys::add_string_reloption(
                kind,
                c"probes".as_ptr(),
                c"Lists probed where mrl.probes is auto".as_ptr(),
                auto,
                Some(validate_probes),
                light,
            );
            pg_sys::add_string_reloption(
                kind,
                c"epsilon".as_ptr(),
                c"Error margin where mrl.epsilon is auto".as_ptr(),
                auto,
                Some(validate_epsilon),
                light,
            );
            Kind(kind)
        }
    });
}

fn parse_rerank(text: &str) -> Option<Rerank> {
    let forms = [("auto", Rerank::Auto), ("heap", Rerank::Heap), ("index", Rerank::Index)];
    let form = forms.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    form.map(|(_, form)| form)
}

validator!(validate_rerank, "rerank", "\"auto\", \"heap\" and \"index\"", |text| {
    parse_rerank(text).is_some()
});

#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amoptions(
    options: pg_sys::Datum,
    validate: bool,
) -> *mut pg_sys::bytea {
    let string = pg_sys::relopt_type::RELOPT_TYPE_STRING;
    #[allow(clippy::needless_update, reason = "release 18 has a field more")]
    let element = |name: &'static CStr, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype: string,
        offset: offset as c_int,
        ..Default::default()
    };
    let elements = [
        element(c"coarse_dims", offset_of!(Stored, coarse_dimensions)),
        element(c"lists", offset_of!(Stored, lists)),
        element(c"rerank", offset_of!(Stored, rerank)),
        element(c"probes", offset_of!(Stored, probes)),
        element(c"epsilon", offset_of!(Stored, epsilon)),
    ];
    let kind = KIND.get().map_or(0, |kind| kind.0);
    // SAFETY: the elements lie within the structure that the server allocates for us.
    unsafe {
        pg_sys::build_reloptions(
            options,
            validate,
            kind,
            size_of::<Stored>(),
            elements.as_ptr(),
            elements.len() as c_int,
        )
        .cast()
    }
}

/// An index's parameters; the defaults where it has none.
///
/// # Safety
/// The relation is an open index of ours.
pub unsafe fn options_of(index: pg_sys::Relation) -> Options {
    // SAFETY: by contract: what `amoptions` made.
    let stored = unsafe { (*index).rd_options.cast::<Stored>() };
    let text = |offset: fn(&Stored) -> c_int| -> &str {
        // SAFETY: an offset of 0 means that there is no string.
        unsafe {
            match stored.as_ref().map(offset) {
                Some(offset) if offset > 0 => text_of(stored.cast::<c_char>().add(offset as usize)),
                _ => "auto",
            }
        }
    };
    Options {
        coarse_dimensions: number(text(|s| s.coarse_dimensions), LEAST_COARSE, usize::MAX)
            .flatten(),
        lists: number(text(|s| s.lists), 1, MOST_LISTS).flatten(),
        rerank: parse_rerank(text(|s| s.rerank)).unwrap_or(Rerank::Auto),
        probes: steering::parse_probes(text(|s| s.probes)).unwrap_or_default(),
        epsilon: steering::parse_epsilon(text(|s| s.epsilon)).unwrap_or_default(),
    }
}
