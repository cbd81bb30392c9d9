//! Rows of a cursor that were read before somebody asked for them: what is left of its result, encoded, in memory and
//! beyond a limit in a file without a name.

use crate::temp_space::{self, TempSpace};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// So much stays in memory; whole blocks of it go to the file.
const BLOCK_BYTES: usize = 1 << 20;

/// Rows in the order in which they were put in.
#[derive(Default)]
pub struct Ahead {
    file: Option<File>,
    reader: Option<BufReader<File>>,
    in_file: u64,
    space: TempSpace,
    block: Vec<u8>,
    taken: usize,
}

impl Ahead {
    /// Adds one encoded row. Not after the first `take`.
    pub fn put(&mut self, row: &[u8]) -> io::Result<()> {
        let length = u32::try_from(row.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(row);
        if self.block.len() >= BLOCK_BYTES {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(temp_space::nameless_file()?),
            };
            let in_file = self.in_file + self.block.len() as u64;
            if !self.space.resize(in_file) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write_all(&self.block)?;
            self.in_file = in_file;
            self.block.clear();
        }
        Ok(())
    }

    /// Appends the next row to `out`. False if there is none.
    pub fn take(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(mut file) = self.file.take() {
            file.seek(SeekFrom::Start(0))?;
            self.reader = Some(BufReader::with_capacity(1 << 16, file));
        }
        if self.in_file > 0 {
            if let Some(reader) = &mut self.reader {
                let mut length = [0; 4];
                reader.read_exact(&mut length)?;
                let length = u32::from_le_bytes(length) as usize;
                let start = out.len();
                out.resize(start + length, 0);
                reader.read_exact(&mut out[start..])?;
                self.in_file = self.in_file.saturating_sub(4 + length as u64);
                return Ok(true);
            }
        }
        let left = self.block.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = left.split_first_chunk::<4>() else { return Ok(false) };
        let length = u32::from_le_bytes(*length) as usize;
        out.extend_from_slice(rest.get(..length).unwrap_or_default());
        self.taken += 4 + length;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, BLOCK_BYTES};

    fn round_trip(rows: &[Vec<u8>]) {
        let mut ahead = Ahead::default();
        rows.iter().for_each(|row| ahead.put(row).unwrap());
        for row in rows {
            let mut out = b"before".to_vec();
            assert!(ahead.take(&mut out).unwrap());
            assert_eq!(&out[6..], row.as_slice());
        }
        assert!(!ahead.take(&mut Vec::new()).unwrap());
    }

    #[test]
    fn rows_come_back_in_order_from_memory_and_from_the_file() {
        round_trip(&[]);
        round_trip(&[b"one".to_vec(), Vec::new(), b"three".to_vec()]);
        round_trip(&[vec![1; BLOCK_BYTES], b"beyond".to_vec()]);
        round_trip(&(0..200_u32).map(|n| vec![n as u8; (n * 97) as usize]).collect::<Vec<_>>());
    }
}
