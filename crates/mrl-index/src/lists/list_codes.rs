//! Codes of what lists are chosen by: where there are many lists a scan picks those that it compares by them
//! (module `directory`). Sessions keep them beside their copy of the directory; nothing on disk has them.

use half::f16;

use crate::codes::records::{LANES, Records};
use crate::lists::encode::Encoder;
use crate::lists::frame::Frame;
use crate::pages::page::ListId;
use crate::pages::shape::Shape;
use crate::pages::store::PageStore;
use crate::scan::query::Query;

/// The codes of some lists, 32 lists side by side, against one frame.
#[derive(Debug, Clone)]
pub(crate) struct ListCodes {
    /// Their numbers rise.
    lists: Vec<ListId>,
    lanes: Vec<u8>,
}

impl ListCodes {
    /// Those of lists that are chosen by `coarse`, as many components of each as the encoder says, against a frame that
    /// has the same in the other dimensions. Lists that the former codes have are not encoded again.
    pub fn new<S: PageStore>(
        store: &S,
        encoder: &Encoder,
        (lists, coarse): (&[ListId], &[f16]),
        frame: &[f16],
        former: Option<&Self>,
    ) -> Result<Self, S::Error> {
        let (form, width) = (&encoder.shape.row, encoder.coarse_dimensions);
        let bytes = LANES * form.bytes;
        let mut lanes = mrl_memory::filled(0, lists.len().div_ceil(LANES) * bytes)?;
        let mut whole = frame.to_vec();
        let frame = Frame::new(encoder, frame.to_vec());
        for ((i, list), coarse) in lists.iter().enumerate().zip(coarse.chunks_exact(width)) {
            store.check_interrupts()?;
            let record = match former.and_then(|former| former.record(*list, &encoder.shape)) {
                Some(record) => record,
                None => {
                    whole[..width].copy_from_slice(coarse);
                    encoder.row(&whole, &frame).record
                }
            };
            form.store(&mut lanes[i / LANES * bytes..][..bytes], i % LANES, LANES, &record);
        }
        let lists = mrl_memory::collect(lists.iter().copied())?;
        // They are kept: none of them may lie in the reserve.
        mrl_memory::check()?;
        Ok(Self { lists, lanes })
    }

    /// About how many bytes it has.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.lists[..]) + self.lanes.len()
    }

    fn record(&self, list: ListId, shape: &Shape) -> Option<Vec<u8>> {
        let place = self.lists.binary_search(&list).ok()?;
        let bytes = LANES * shape.row.bytes;
        let lanes = &self.lanes[place / LANES * bytes..][..bytes];
        Some(Records::new(lanes, &shape.row).record(place % LANES))
    }

    /// About what a query makes of each list, by so many layers; `base` is the frame's share.
    pub fn scores<S: PageStore>(
        &self,
        query: &Query,
        base: f32,
        layers: usize,
        shape: &Shape,
    ) -> Result<Vec<f32>, S::Error> {
        let mut scores = Vec::new();
        mrl_memory::reserve(&mut scores, self.lists.len().next_multiple_of(LANES))?;
        for records in self.lanes.chunks_exact(LANES * shape.row.bytes) {
            let records = Records::new(records, &shape.row);
            let (mut some, mut squared_errors) = ([base; LANES], [0.0; LANES]);
            query.score_rows(records, layers, &mut some, &mut squared_errors);
            scores.extend(some);
        }
        scores.truncate(self.lists.len());
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Plan;
    use crate::lists::encode::narrowed;
    use crate::pages::memory::MemoryStore;
    use crate::pages::meta::Metric;
    use crate::random::Random;

    /// Lists that the former codes have keep theirs, whatever they would be now; others get their own.
    #[test]
    fn what_is_known_is_not_encoded_again() {
        const WIDTH: usize = 96;
        let (build, seed, copies, metric) = (1, 2, false, Metric::Euclidean);
        let (dimensions, coarse_dimensions) = (128, WIDTH);
        let plan = Plan { build, seed, dimensions, coarse_dimensions, metric, copies };
        let encoder = Encoder::new(&plan.meta());
        let mut random = Random::new(4);
        let mut draw = |count: usize| -> Vec<f16> {
            let uniform = |_| (random.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            narrowed(&(0..count).map(uniform).collect::<Vec<_>>())
        };
        let (frame, vector, store) = (draw(dimensions), draw(dimensions), MemoryStore::new());
        let query = Query::new(&encoder, &vector, || frame[..].into());
        let scores = |codes: &ListCodes| {
            codes.scores::<MemoryStore>(&query, 0.0, 2, &encoder.shape).unwrap()
        };
        let (first, second): (Vec<ListId>, Vec<ListId>) =
            ((2..72).collect(), (2..90).filter(|list| list % 3 > 0).collect());
        let (coarse, other) = (draw(first.len() * WIDTH), draw(second.len() * WIDTH));
        let codes = |lists: &[ListId], coarse: &[f16], former: Option<&ListCodes>| {
            ListCodes::new(&store, &encoder, (lists, coarse), &frame, former).unwrap()
        };
        let former = codes(&first, &coarse, None);
        let (carried, anew) = (codes(&second, &other, Some(&former)), codes(&second, &other, None));
        let (before, after, own) = (scores(&former), scores(&carried), scores(&anew));
        for (place, list) in second.iter().enumerate() {
            let expected = match first.binary_search(list) {
                Ok(place) => before[place],
                Err(_) => own[place],
            };
            assert_eq!(after[place], expected, "{list}");
        }
    }
}
