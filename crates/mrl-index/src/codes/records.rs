//! What is kept of 32 vectors side by side: of a block's rows, or of the means of 32 blocks. A scan scores all 32
//! at once.
//!
//! A *record* is what one of them has, without its *head*: of a row its TID and the place of its frame, of a mean
//! the marks of its block's rows and their spread.
//!
//! ```text
//! head
//! n bytes   code of layer 0
//! u16       its scale, a bfloat16
//! u16       term, a bfloat16: the vector's length; under L2 the square of its distance from its frame, plus twice the
//!           inner product of the frame with what the code stands for (module `query`)
//! u8        of each border between layers: length of the prefix up to there, as a share of the vector's in 255ths;
//!           0 where the prefix is zero
//! of each later layer:
//! n bytes   code, of one bit a dimension
//! u16       its scale, a bfloat16
//! ```
//!
//! Each number, and each byte of a code, lies beside the same of the other 31, so one that is `w` bytes wide and
//! begins at byte `i` of these lies at `32 i + w r` of all.

use half::bf16;
use mrl_kernels::{CodeBytes, CodeScales};

use crate::pages::page::put;

/// How many lie side by side.
pub const LANES: usize = 32;

/// Where the codes of a layer begin, and where their scales do.
#[derive(Debug, Clone, Copy)]
pub struct LayerPlaces {
    /// Offset of the codes among the bytes of all lanes, heads included.
    pub codes: usize,
    /// Offset of the scales there, two bytes a lane.
    pub scales: usize,
}

/// Where the fields of a head and a record lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Widths of the head's fields.
    head: &'static [usize],
    head_bytes: usize,
    /// Of each layer: where its code begins and ends.
    codes: Vec<(usize, usize)>,
    /// All bytes of one.
    pub bytes: usize,
}

impl Form {
    /// With a head of fields so wide, and a code of so many bytes for each layer.
    pub fn new(head: &'static [usize], code_bytes: impl IntoIterator<Item = usize>) -> Self {
        let head_bytes = head.iter().sum();
        let (mut codes, mut next) = (Vec::new(), head_bytes);
        let code_bytes: Vec<usize> = code_bytes.into_iter().collect();
        for (layer, bytes) in code_bytes.iter().enumerate() {
            codes.push((next, next + bytes));
            next += bytes + 2;
            if layer == 0 {
                next += 2 + code_bytes.len() - 1;
            }
        }
        Self { head, head_bytes, codes, bytes: next }
    }

    /// Bytes of a record: all of one but its head.
    pub fn record_bytes(&self) -> usize {
        self.bytes - self.head_bytes
    }

    /// How many layers a record has codes of.
    pub fn layers(&self) -> usize {
        self.codes.len()
    }

    /// Borders between layers, of which each record has its prefix's length.
    pub fn inner_borders(&self) -> usize {
        self.layers() - 1
    }

    /// Bytes of a code of a layer.
    #[inline]
    pub fn code_bytes(&self, layer: usize) -> usize {
        let (start, end) = self.codes[layer];
        end - start
    }

    /// Where a layer lies among the bytes of all lanes.
    pub fn places(&self, layer: usize) -> LayerPlaces {
        let (codes, scales) = self.codes[layer];
        LayerPlaces { codes: LANES * codes, scales: LANES * scales }
    }

    #[inline]
    fn scale_at(&self, layer: usize) -> usize {
        self.codes[layer].1
    }

    #[inline]
    fn term_at(&self) -> usize {
        self.scale_at(0) + 2
    }

    /// The bytes that a query of layer 0 reads of all lanes: where they end.
    pub fn leading_end(&self) -> usize {
        LANES * (self.term_at() + 2 + self.inner_borders())
    }

    /// What of a record comes before the codes of later layers.
    pub fn leading_record_bytes(&self) -> usize {
        self.leading_end() / LANES - self.head_bytes
    }

    /// Where a record's term is.
    pub fn term_of_record(&self) -> std::ops::Range<usize> {
        let at = self.term_at() - self.head_bytes;
        at..at + 2
    }

    /// A record's code of a layer, and its scale.
    pub fn code_of<'r>(&self, record: &'r [u8], layer: usize) -> (&'r [u8], f32) {
        let (start, end) = self.codes[layer];
        let code = &record[start - self.head_bytes..];
        let (code, rest) = code.split_at(end - start);
        (code, wide([rest[0], rest[1]]))
    }

    /// A record of codes with their scales, layer after layer, a term and shares.
    pub fn record<'c>(
        &self,
        codes: impl IntoIterator<Item = (&'c [u8], f32)>,
        term: f32,
        shares: impl Iterator<Item = u8>,
    ) -> Vec<u8> {
        let mut record = vec![0; self.record_bytes()];
        let at = |place: usize| place - self.head_bytes;
        for (layer, (code, scale)) in codes.into_iter().enumerate() {
            put(&mut record, at(self.codes[layer].0), code);
            put(&mut record, at(self.scale_at(layer)), &narrow(scale));
        }
        put(&mut record, at(self.term_at()), &narrow(term));
        for (border, share) in shares.enumerate() {
            record[at(self.term_at()) + 2 + border] = share;
        }
        record
    }

    /// Where the fields of a record begin, and how wide they are.
    fn fields(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let layers = self
            .codes
            .iter()
            .flat_map(|(start, end)| (*start..*end).map(|at| (at, 1)).chain([(*end, 2)]));
        let term = self.term_at();
        let shares = (0..self.inner_borders()).map(move |border| (term + 2 + border, 1));
        layers.chain([(term, 2)]).chain(shares)
    }

    fn head_fields(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.head.iter().scan(0, |next, width| {
            *next += width;
            Some((*next - width, *width))
        })
    }

    /// Writes a record into one of `lanes` lanes.
    pub fn store(&self, bytes: &mut [u8], lane: usize, lanes: usize, record: &[u8]) {
        for (at, width) in self.fields() {
            let from = &record[at - self.head_bytes..][..width];
            put(bytes, lanes * at + width * lane, from);
        }
    }

    /// From fewer lanes side by side to [`LANES`] of them.
    pub fn widen(&self, bytes: &[u8], lanes: usize, into: &mut [u8]) {
        for (at, width) in self.head_fields().chain(self.fields()) {
            put(into, LANES * at, &bytes[lanes * at..][..lanes * width]);
        }
    }
}

/// The records of [`LANES`] lanes.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    /// All lanes' bytes, heads included: [`LANES`] · [`Form::bytes`], or at least those up to [`Form::leading_end`].
    pub bytes: &'a [u8],
    form: &'a Form,
}

impl<'a> Records<'a> {
    /// Of the bytes of all lanes, heads included; of layer 0 alone those up to [`Form::leading_end`] will do.
    #[inline]
    pub fn new(bytes: &'a [u8], form: &'a Form) -> Self {
        Self { bytes, form }
    }

    /// Byte after byte of all lanes' codes of a layer.
    #[inline]
    pub fn codes(&self, layer: usize) -> &'a [CodeBytes] {
        let (start, end) = self.form.codes[layer];
        self.bytes[LANES * start..LANES * end].as_chunks().0
    }

    /// A field of two bytes.
    #[inline]
    pub fn pairs(&self, at: usize) -> &'a CodeScales {
        const NONE: &CodeScales = &[[0; 2]; LANES];
        self.bytes[LANES * at..][..2 * LANES].as_chunks().0.first_chunk().unwrap_or(NONE)
    }

    /// The scales of a layer, bfloat16s.
    #[inline]
    pub fn scales(&self, layer: usize) -> &'a CodeScales {
        self.pairs(self.form.scale_at(layer))
    }

    /// The terms, bfloat16s.
    #[inline]
    pub fn terms(&self) -> &'a CodeScales {
        self.pairs(self.form.term_at())
    }

    /// The prefixes' shares at an inner border.
    #[inline]
    pub fn shares(&self, border: usize) -> &'a [u8; LANES] {
        let at = self.form.term_at() + 2 + border;
        self.bytes[LANES * at..].first_chunk().unwrap_or(&[0; LANES])
    }

    /// A lane's record.
    pub fn record(&self, lane: usize) -> Vec<u8> {
        let mut record = vec![0; self.form.record_bytes()];
        for (at, width) in self.form.fields() {
            let from = &self.bytes[LANES * at + width * lane..][..width];
            put(&mut record, at - self.form.head_bytes, from);
        }
        record
    }

    /// Whether a lane's record is this one.
    pub fn is(&self, lane: usize, record: &[u8]) -> bool {
        self.form.fields().all(|(at, width)| {
            let own = &self.bytes[LANES * at + width * lane..][..width];
            own == &record[at - self.form.head_bytes..][..width]
        })
    }
}

/// The number that two bytes in the form of scales and terms are: a bfloat16, little-endian.
#[inline]
pub fn wide(bytes: [u8; 2]) -> f32 {
    // A bfloat16 is the upper half of a single.
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// The two bytes of a number in the form of scales and terms: the nearest bfloat16, little-endian.
pub fn narrow(number: f32) -> [u8; 2] {
    bf16::from_f32(number).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stored_is_read(
            codes in prop::collection::vec(1usize..20, 1..6),
            seeds in prop::collection::vec(any::<u64>(), 1..=LANES),
            lanes in 1usize..=LANES,
        ) {
            let form = Form::new(&[4, 1], codes.iter().copied());
            prop_assert_eq!(form.layers(), codes.len());
            let record = |seed: u64| -> Vec<u8> {
                let mut random = crate::random::Random::new(seed);
                (0..form.record_bytes()).map(|_| random.next() as u8).collect()
            };
            let seeds = &seeds[..seeds.len().min(lanes)];
            let mut narrow_bytes = vec![0; lanes * form.bytes];
            for (lane, seed) in seeds.iter().enumerate() {
                form.store(&mut narrow_bytes, lane, lanes, &record(*seed));
                put(&mut narrow_bytes, 4 * lane, &(lane as u32).to_le_bytes());
                narrow_bytes[4 * lanes + lane] = lane as u8;
            }
            let mut bytes = vec![0; LANES * form.bytes];
            form.widen(&narrow_bytes, lanes, &mut bytes);
            let records = Records::new(&bytes, &form);
            for (lane, seed) in seeds.iter().enumerate() {
                prop_assert_eq!(records.record(lane), record(*seed));
                prop_assert!(records.is(lane, &record(*seed)));
                prop_assert_eq!(crate::pages::page::get_u32(&bytes, 4 * lane), lane as u32);
                prop_assert_eq!(usize::from(bytes[4 * LANES + lane]), lane);
            }
        }

        #[test]
        fn a_record_has_what_it_is_made_of(
            codes in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..6),
            share in any::<u8>(),
        ) {
            let form = Form::new(&[6, 1], codes.iter().map(Vec::len));
            let scaled = codes.iter().enumerate().map(|(i, code)| (&code[..], i as f32));
            let shares = (1..codes.len()).map(|border| share ^ border as u8);
            let record = form.record(scaled, 0.5, shares);
            let mut bytes = vec![0; LANES * form.bytes];
            form.store(&mut bytes, 3, LANES, &record);
            let records = Records::new(&bytes, &form);
            for (layer, code) in codes.iter().enumerate() {
                prop_assert_eq!(form.code_of(&record, layer), (&code[..], layer as f32));
                let stored: Vec<u8> = records.codes(layer).iter().map(|lanes| lanes[3]).collect();
                prop_assert_eq!(&stored, code);
                prop_assert_eq!(wide(records.scales(layer)[3]), layer as f32);
            }
            prop_assert_eq!(wide(records.terms()[3]), 0.5);
            for border in 1..codes.len() {
                prop_assert_eq!(records.shares(border - 1)[3], share ^ border as u8);
            }
        }
    }
}
