//! `model.safetensors`: read into memory tensor by tensor.
//!
//! Depends on [`crate::directory`], serde and candle. Nothing is mapped: a file that shrinks under a
//! map kills the process. The file is
//!
//! ```text
//! 0      8 bytes   n, length of the header, little-endian
//! 8      n bytes   JSON: tensor name → {"dtype", "shape", "data_offsets": [start, end]}
//! 8 + n            the tensors, one after another, little-endian; offsets count from here
//! ```
//!
//! The header is read here rather than by the safetensors crate because that one wants the whole
//! file in memory to check it. Each size is checked against the file's length and against the
//! shape that the configuration demands before memory is asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;

use crate::directory::{ModelDirectory, ModelName, WEIGHTS_FILE, corrupt_file, unreadable_file};
use crate::error::{EncoderError, Poll, Result, check};

const LENGTH_BYTES: u64 = 8;
/// A model of some hundred tensors has a header of some ten kilobytes.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Read between two polls: some milliseconds. A multiple of every element's size.
const CHUNK_BYTES: usize = 4 << 20;
/// What checkpoints put before the tensors' names, by how they were saved.
const NAME_PREFIXES: [&str; 4] = ["", "bert.", "roberta.", "model."];

/// The key of the header that is no tensor.
const NOTES_KEY: &str = "__metadata__";

/// Where a tensor lies and what it is, as the header says.
#[derive(Debug, Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

type Header = HashMap<String, TensorEntry>;

/// An open file of weights whose header has been read and checked.
pub(crate) struct WeightFile<'a> {
    model: &'a ModelName,
    file: File,
    header: Header,
    data_start: u64,
    prefix: &'static str,
    poll: Poll<'a>,
    bytes_in_memory: u64,
    tensors: usize,
}

impl<'a> WeightFile<'a> {
    /// Opens a model's weights and reads the header. `probe` is a tensor that every checkpoint of
    /// the architecture has: where it is found says which prefix the names bear.
    pub fn open(
        directory: &ModelDirectory,
        model: &'a ModelName,
        probe: &str,
        poll: Poll<'a>,
    ) -> Result<Self> {
        let (mut file, file_bytes) = directory.open(model, WEIGHTS_FILE)?;
        let corrupt = |reason: String| corrupt_file(model, WEIGHTS_FILE, reason);
        let failed =
            |error: std::io::Error| unreadable_file(model, WEIGHTS_FILE, error.to_string());

        if file_bytes < LENGTH_BYTES {
            return Err(corrupt(format!("it has only {file_bytes} bytes")));
        }
        let mut length = [0u8; LENGTH_BYTES as usize];
        file.read_exact(&mut length).map_err(failed)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > file_bytes - LENGTH_BYTES {
            let reason = format!("a header of {header_bytes} bytes in {file_bytes} bytes");
            return Err(corrupt(reason));
        }
        let mut header = vec![0u8; header_bytes as usize];
        file.read_exact(&mut header).map_err(failed)?;

        let data_bytes = file_bytes - LENGTH_BYTES - header_bytes;
        let header = parse_header(&header, data_bytes).map_err(corrupt)?;
        let prefix = NAME_PREFIXES
            .into_iter()
            .find(|prefix| header.contains_key(&format!("{prefix}{probe}")))
            .unwrap_or_default();
        Ok(Self {
            model,
            file,
            header,
            data_start: LENGTH_BYTES + header_bytes,
            prefix,
            poll,
            bytes_in_memory: 0,
            tensors: 0,
        })
    }

    /// A matrix or vector of the given shape, as 32-bit floats.
    pub fn read(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut values = Vec::new();
        self.append(name, shape, shape.iter().product(), &mut values)?;
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Several tensors of one shape, stacked along the first dimension.
    pub fn read_stacked(&mut self, names: &[&str], shape: &[usize]) -> Result<Tensor> {
        let one: usize = shape.iter().product();
        let mut values = Vec::new();
        for name in names {
            self.append(name, shape, one * names.len(), &mut values)?;
        }
        let mut stacked = shape.to_vec();
        if let Some(first) = stacked.first_mut() {
            *first *= names.len();
        }
        Ok(Tensor::from_vec(values, stacked, &Device::Cpu)?)
    }

    /// Bytes that the tensors read so far take in memory.
    pub fn bytes_in_memory(&self) -> u64 {
        self.bytes_in_memory
    }

    /// How many tensors of the file have been read.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    fn append(
        &mut self,
        name: &str,
        shape: &[usize],
        total: usize,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        check(self.poll)?;
        let tensor = format!("{}{name}", self.prefix);
        let model = self.model.to_string();
        let Some(info) = self.header.get(&tensor) else {
            return Err(EncoderError::MissingTensor { model, tensor });
        };
        if info.shape != shape {
            let (expected, found) = (shape.to_vec(), info.shape.clone());
            return Err(EncoderError::WrongTensorShape { model, tensor, expected, found });
        }
        let convert: fn(&[u8], &mut Vec<f32>) = match info.dtype.as_str() {
            "F32" => extend_from_f32,
            "F16" => extend_from_f16,
            "BF16" => extend_from_bf16,
            other => {
                let found = other.chars().take(32).collect();
                return Err(EncoderError::WrongTensorType { model, tensor, found });
            }
        };
        // The shape equals the file's, and the file's tensors fit into the file: both numbers are
        // bounded by its length (stacking: by the number of tensors stacked).
        let wanted = total.saturating_sub(values.len());
        values.try_reserve_exact(wanted).map_err(|_| EncoderError::OutOfMemory {
            model,
            tensor,
            bytes: wanted.saturating_mul(size_of::<f32>()),
        })?;
        let (start, end) = info.data_offsets;
        let failed =
            |error: std::io::Error| unreadable_file(self.model, WEIGHTS_FILE, error.to_string());
        self.file.seek(SeekFrom::Start(self.data_start + start)).map_err(failed)?;
        let mut buffer = vec![0u8; CHUNK_BYTES.min((end - start) as usize)];
        let mut left = (end - start) as usize;
        while left > 0 {
            check(self.poll)?;
            let chunk = &mut buffer[..left.min(CHUNK_BYTES)];
            self.file.read_exact(chunk).map_err(failed)?;
            convert(chunk, values);
            left -= chunk.len();
        }
        self.tensors += 1;
        self.bytes_in_memory += (shape.iter().product::<usize>() * size_of::<f32>()) as u64;
        Ok(())
    }
}

/// Reads the header and checks that the tensors lie one after another without gap or overlap, that
/// each has as many bytes as its shape and type say, and that together they fill the file.
fn parse_header(text: &[u8], data_bytes: u64) -> std::result::Result<Header, String> {
    let mut entries: HashMap<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("its header: {error}"))?;
    entries.remove(NOTES_KEY);
    let mut header = Header::with_capacity(entries.len());
    for (name, entry) in entries {
        let entry: TensorEntry = serde_json::from_value(entry)
            .map_err(|error| format!("its header, tensor \"{name}\": {error}"))?;
        header.insert(name, entry);
    }
    let mut in_order: Vec<(&String, &TensorEntry)> = header.iter().collect();
    in_order.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut next = 0;
    for (name, entry) in in_order {
        let (start, end) = entry.data_offsets;
        if start != next || end < start || end > data_bytes {
            return Err(format!(
                "tensor \"{name}\" lies at {start}..{end} where {next}..{data_bytes} is free"
            ));
        }
        let elements =
            entry.shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
        // Of a type that is not known here only the place is checked: nothing reads it.
        if let Some(element_bytes) = element_bytes(&entry.dtype)
            && elements.and_then(|count| count.checked_mul(element_bytes)) != Some(end - start)
        {
            return Err(format!(
                "tensor \"{name}\" of shape {:?} and type {} has {} bytes",
                entry.shape,
                entry.dtype,
                end - start
            ));
        }
        next = end;
    }
    if next != data_bytes {
        return Err(format!("its tensors take {next} bytes, it holds {data_bytes}"));
    }
    Ok(header)
}

fn element_bytes(dtype: &str) -> Option<u64> {
    match dtype {
        "F32" => Some(4),
        "F16" | "BF16" => Some(2),
        _ => None,
    }
}

fn extend_from_f32(bytes: &[u8], values: &mut Vec<f32>) {
    values.extend(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)));
}

fn extend_from_f16(bytes: &[u8], values: &mut Vec<f32>) {
    values.extend(bytes.as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()));
}

fn extend_from_bf16(bytes: &[u8], values: &mut Vec<f32>) {
    values.extend(bytes.as_chunks::<2>().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()));
}
