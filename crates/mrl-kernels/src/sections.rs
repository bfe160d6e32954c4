//! A query against codes of one bit a dimension, in sections that have a scale of their own each.
//! Depends on nothing but the crate's types; `scalar` and `arch` compute with it.

/// Words of 64 dimensions that a vector set takes at once.
pub(crate) const CHUNK_WORDS: usize = 8;

/// What the sections of a query add to a product, and the squared deviation of its error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SectionsProduct {
    pub value: f32,
    pub squared_error: f32,
}

/// Eight words of a query, laid out for a vector set.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Bit i of word w of plane b is bit b of the number of dimension i of the word.
    pub planes: [[u64; CHUNK_WORDS]; 4],
    /// Of each word: twice what a number of 0 stands for, and twice the step between two numbers.
    pub lowest: [f32; CHUNK_WORDS],
    pub step: [f32; CHUNK_WORDS],
    /// Of each word: its section.
    pub section: [u32; CHUNK_WORDS],
    /// How many words are in use.
    pub words: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            planes: [[0; CHUNK_WORDS]; 4],
            lowest: [0.0; CHUNK_WORDS],
            step: [0.0; CHUNK_WORDS],
            section: [0; CHUNK_WORDS],
            words: 0,
        }
    }
}

/// A query in sections of whole words, each component rounded to one of sixteen numbers.
///
/// With the levels ±1 of a code's bits a section's product is twice the sum of the query where the bit
/// is 1, less the sum of all of it; the section's scale in the row multiplies that.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    pub(crate) chunks: Vec<Chunk>,
    /// Of each section: the sum of all its components as rounded, and by what the squared scale is
    /// multiplied for the squared deviation of the error. Filled up with zeros to whole chunks.
    pub(crate) sums: Vec<f32>,
    pub(crate) squared_errors: Vec<f32>,
    count: usize,
    code_bytes: usize,
}

impl Sections {
    /// Adds a section: its components, and `error`, by what a row's scale is multiplied for the
    /// deviation of the section's error. Its code has `components.len() / 8` bytes, rounded up.
    ///
    /// # Panics
    /// Where the section before it did not fill whole words.
    pub fn push(&mut self, components: &[f32], error: f32) {
        const LEVELS: f32 = 15.0;
        assert!(self.code_bytes.is_multiple_of(8), "a section begins amid a word");
        let lowest = components.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = components.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let step = if highest > lowest { (highest - lowest) / LEVELS } else { 1.0 };
        let mut sum = 0.0;
        for word in components.chunks(64) {
            if self.chunks.last().is_none_or(|chunk| chunk.words == CHUNK_WORDS) {
                self.chunks.push(Chunk::default());
            }
            let Some(chunk) = self.chunks.last_mut() else { return };
            let w = chunk.words;
            for (i, component) in word.iter().enumerate() {
                // To the nearest, as all are positive.
                let number = ((component - lowest) / step + 0.5) as u64;
                sum += lowest + step * number as f32;
                // Dimension i is the highest but i % 8 of byte i / 8.
                let bit = i / 8 * 8 + 7 - i % 8;
                for (weight, plane) in chunk.planes.iter_mut().enumerate() {
                    plane[w] |= (number >> weight & 1) << bit;
                }
            }
            (chunk.lowest[w], chunk.step[w]) = (2.0 * lowest, 2.0 * step);
            chunk.section[w] = self.count as u32;
            chunk.words += 1;
        }
        for (all, of_this) in [(&mut self.sums, sum), (&mut self.squared_errors, error * error)] {
            all.truncate(self.count);
            all.push(of_this);
            all.resize((self.count + 1).next_multiple_of(CHUNK_WORDS), 0.0);
        }
        self.count += 1;
        self.code_bytes += components.len().div_ceil(8);
    }

    /// How many sections there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the codes that it is multiplied with.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}

/// A bfloat16 as it lies in memory: the upper half of a single.
#[inline(always)]
pub(crate) fn wide(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}
