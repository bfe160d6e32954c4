//! The matrix product, on the calling thread.
//!
//! Depends on candle's tensors, and on ndarray for the product itself. candle's own asks the operating
//! system for the number of cores on every call (reading and parsing `/proc/cpuinfo`: a tenth of a
//! millisecond on two cores and in proportion on more, some forty times a query), reads
//! environment variables, and splits its work over rayon's pool.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

/// `left · right`, of two matrices or of two equal stacks of matrices; either may be a view.
pub(crate) fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    left.apply_op2_no_bwd(right, &Product)
}

/// Below this many rows a product is taken the other way round (measured on MiniLM).
const FEW_ROWS: usize = 64;

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let left = Stack::of(left, left_layout)?;
        let right = Stack::of(right, right_layout)?;
        if left.count != right.count || left.columns != right.rows {
            bail!("matrices of shapes {left_layout:?} and {right_layout:?} have no product");
        }
        let (rows, columns) = (left.rows, right.columns);
        let mut values = vec![0f32; left.count * rows * columns];
        for (index, block) in values.chunks_exact_mut((rows * columns).max(1)).enumerate() {
            let Ok(mut result) = ArrayViewMut2::from_shape((rows, columns), block) else {
                bail!("a product does not fit its memory");
            };
            let (left, right) = (left.matrix(index)?, right.matrix(index)?);
            // The library copies its operands into a fitting order: the left one in small blocks,
            // the right one in large. With few rows the right one is by far the larger, so the
            // product is taken the other way round.
            if rows < FEW_ROWS && columns > rows {
                let mut result = result.reversed_axes();
                general_mat_mul(1.0, &right.t(), &left.t(), 0.0, &mut result);
            } else {
                general_mat_mul(1.0, &left, &right, 0.0, &mut result);
            }
        }
        let shape = match left_layout.dims().len() {
            2 => Shape::from((rows, columns)),
            _ => Shape::from((left.count, rows, columns)),
        };
        Ok((CpuStorage::F32(values), shape))
    }
}

/// Matrices at equal distances in one piece of memory.
struct Stack<'a> {
    values: &'a [f32],
    count: usize,
    rows: usize,
    columns: usize,
    /// Distances between matrices, rows and columns.
    strides: [usize; 3],
}

impl<'a> Stack<'a> {
    fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let values = &storage.as_slice::<f32>()?[layout.start_offset()..];
        let (count, rows, columns, strides) = match (layout.dims(), layout.stride()) {
            (&[rows, columns], &[by_row, by_column]) => (1, rows, columns, [0, by_row, by_column]),
            (&[count, rows, columns], &[by_matrix, by_row, by_column]) => {
                (count, rows, columns, [by_matrix, by_row, by_column])
            }
            _ => bail!("neither a matrix nor a stack of matrices: {layout:?}"),
        };
        Ok(Self { values, count, rows, columns, strides })
    }

    fn matrix(&self, index: usize) -> Result<ArrayView2<'a, f32>> {
        let [by_matrix, by_row, by_column] = self.strides;
        let shape = (self.rows, self.columns).strides((by_row, by_column));
        match ArrayView2::from_shape(shape, &self.values[index * by_matrix..]) {
            Ok(matrix) => Ok(matrix),
            Err(error) => bail!("a matrix does not lie in its memory: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Against candle's own product, on views of every kind that the transformers make.
    #[test]
    fn products_of_views_are_candles() {
        let stack = Tensor::arange(0f32, 2.0 * 3.0 * 4.0, &Device::Cpu).unwrap();
        let stack = stack.reshape((2, 3, 4)).unwrap();
        let matrix = stack.get(1).unwrap();
        let narrow = stack.narrow(1, 1, 2).unwrap();
        let pairs = [
            (matrix.clone(), matrix.t().unwrap()),
            (matrix.narrow(1, 1, 2).unwrap(), matrix.narrow(1, 2, 2).unwrap().t().unwrap()),
            (stack.clone(), narrow.transpose(1, 2).unwrap()),
            (narrow.transpose(1, 2).unwrap(), narrow),
        ];
        for (left, right) in pairs {
            let found = product(&left, &right).unwrap();
            let expected = left.matmul(&right).unwrap();
            assert_eq!(found.dims(), expected.dims());
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat(&found), flat(&expected));
        }
        assert!(product(&matrix, &matrix).is_err());
    }
}
