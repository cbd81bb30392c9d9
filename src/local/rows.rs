//! The rows of a local statement on their way out.

use super::access::Rows;
use crate::engine::RawStatement;
use crate::error::Result;
use crate::result_writer::RowWriter;
use crate::row_encoder::encode_row;
use crate::run::Run;

/// Drops rows: of a script's statements, and of those that yield none.
pub struct NoRows<'n, 'r>(pub &'n mut Run<'r>);

impl Rows for NoRows<'_, '_> {
    fn about_to_wait(&mut self) {
        self.0.outlet.about_to_wait();
    }

    fn row(&mut self, _row: &RawStatement) -> Result<bool> {
        Ok(true)
    }
}

/// Writes each row into a result.
pub struct RowsOut<'w, 'r> {
    /// The result.
    pub writer: RowWriter<'w, 'r>,
    columns: i32,
}

impl<'w, 'r> RowsOut<'w, 'r> {
    /// Into `writer`.
    pub fn new(writer: RowWriter<'w, 'r>) -> Self {
        RowsOut { writer, columns: 0 }
    }
}

impl Rows for RowsOut<'_, '_> {
    fn about_to_wait(&mut self) {
        self.writer.about_to_wait();
    }

    #[inline]
    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        if self.writer.rows() == 0 {
            // Asked for only now, since the first step may have compiled the statement anew.
            self.columns = row.column_count();
        }
        let columns = self.columns;
        self.writer.row(|out| encode_row(out, row, columns))?;
        Ok(true)
    }
}
