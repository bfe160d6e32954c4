//! What happens when the system has no memory left: an error instead of an abort.
//!
//! Rust's collections abort the process where an allocation fails. In a server's process that is not for a
//! library to decide. Two things together avoid it:
//!
//! - **The reserve** ([`Allocator`]): what the system refuses comes from some memory set aside, unless it is
//!   large. So nothing fails at once, and the work is told that memory [is short](is_short), which its loops ask
//!   ([`check`]). They end with [`OutOfMemory`]; what they held goes, and the reserve is whole again.
//! - **Requests that may fail** ([`reserve`], [`push`], [`extend`], [`filled`], [`collect`], [`append`], [`add`], [`insert`]):
//!   for whatever grows with the data, and so could be larger than the reserve.
//!
//! And [`Kept`]: what is kept for later takes no more than so many bytes.
//!
//! Between two questions a loop may take what fits into the reserve with room to spare: see [`RESERVE_BYTES`].

mod fallible;
mod kept;
mod reserve;

pub use fallible::{OutOfMemory, add, append, collect, extend, filled, insert, push, reserve};
pub use kept::Kept;
pub use reserve::{Allocator, MOST_BYTES, RESERVE_BYTES, check, is_short};
