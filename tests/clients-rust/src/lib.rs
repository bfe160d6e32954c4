//! `mrlvec` as a client of its own making reads and writes it, from the documented binary form alone:
//! dimensions and zero as unsigned 16-bit numbers, then the halfs, all big-endian.

use std::error::Error;

use half::f16;
use postgres_types::private::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A vector as the client holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct MrlVec(pub Vec<f16>);

impl MrlVec {
    /// The bits of the components: equal vectors may differ in them (0 and −0).
    pub fn bits(&self) -> Vec<u16> {
        self.0.iter().map(|component| component.to_bits()).collect()
    }
}

impl<'a> FromSql<'a> for MrlVec {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let (numbers, rest) = raw.as_chunks::<2>();
        let mut numbers = numbers.iter().map(|two| u16::from_be_bytes(*two));
        let (dimensions, unused) = (numbers.next(), numbers.next());
        let components: Vec<f16> = numbers.map(f16::from_bits).collect();
        if !rest.is_empty() || unused != Some(0) || dimensions != Some(components.len() as u16) {
            return Err("not the binary form of a mrlvec".into());
        }
        Ok(Self(components))
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "mrlvec"
    }
}

impl ToSql for MrlVec {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let header = [self.0.len() as u16, 0];
        let numbers = header.into_iter().chain(self.bits());
        Bytes(numbers.flat_map(u16::to_be_bytes).collect()).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "mrlvec"
    }

    to_sql_checked!();
}

/// Bytes that claim to be a mrlvec.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl ToSql for Bytes {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "mrlvec"
    }

    to_sql_checked!();
}
