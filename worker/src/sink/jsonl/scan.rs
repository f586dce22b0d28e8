//! Reading a file of lines of any size in constant memory: in, a file and a range; out, its lines, or where
//! lines end. Lines that are too long to be ours are shown as such, not held.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::line::MAX_LINE;

const CHUNK: usize = 256 * 1024;

/// Calls `each` with the offset and the text (without newline) of every line between two offsets, which must
/// be line boundaries. A line longer than [`MAX_LINE`] is shown as empty.
pub(super) fn lines_between(
    file: &File,
    start: u64,
    end: u64,
    mut each: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut line: Vec<u8> = Vec::new();
    let mut too_long = false;
    let (mut line_start, mut position) = (start, start);
    while position < end {
        let wanted = chunk.len().min(usize::try_from(end - position).unwrap_or(CHUNK));
        let read = file.read_at(&mut chunk[..wanted], position)?;
        if read == 0 {
            break;
        }
        for piece in chunk[..read].split_inclusive(|&byte| byte == b'\n') {
            position += piece.len() as u64;
            let ended = piece.last() == Some(&b'\n');
            let text = &piece[..piece.len() - usize::from(ended)];
            too_long |= line.len() + text.len() > MAX_LINE;
            if too_long {
                line.clear();
            } else {
                line.extend_from_slice(text);
            }
            if ended {
                each(line_start, &line);
                line.clear();
                too_long = false;
                line_start = position;
            }
        }
    }
    Ok(())
}

/// The offset of the `nth` newline before `end`, counted backwards from 1; none when there are fewer.
pub(super) fn newline_before(file: &File, end: u64, nth: usize) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; CHUNK];
    let mut left = nth;
    let mut chunk_end = end;
    while chunk_end > 0 {
        let start = chunk_end.saturating_sub(CHUNK as u64);
        let bytes = &mut chunk[..usize::try_from(chunk_end - start).unwrap_or(CHUNK)];
        file.read_exact_at(bytes, start)?;
        for (index, _) in bytes.iter().enumerate().rev().filter(|&(_, &byte)| byte == b'\n') {
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(Some(start + index as u64));
            }
        }
        chunk_end = start;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        Ok(file)
    }

    #[test]
    fn lines_that_cross_chunks_are_whole_and_overlong_ones_empty() {
        let long = vec![b'a'; CHUNK + 7];
        let overlong = vec![b'b'; MAX_LINE + 1];
        let file = file_of(&[&b"x\n"[..], &long, b"\n", &overlong, b"\n\ny\n"].concat()).unwrap();
        let end = file.metadata().unwrap().len();
        let mut seen = Vec::new();
        lines_between(&file, 0, end, |offset, line| seen.push((offset, line.len()))).unwrap();
        let after_long = 2 + CHUNK as u64 + 8;
        let after_overlong = after_long + MAX_LINE as u64 + 2;
        assert_eq!(
            seen,
            [(0, 1), (2, CHUNK + 7), (after_long, 0), (after_overlong, 0), (after_overlong + 1, 1)]
        );
    }

    #[test]
    fn newlines_are_counted_from_the_end_across_chunks() {
        let file = file_of(&[b"x\n".as_slice(), &vec![b'a'; 2 * CHUNK], b"\ntorn"].concat()).unwrap();
        let end = file.metadata().unwrap().len();
        assert_eq!(newline_before(&file, end, 1).unwrap(), Some(2 + 2 * CHUNK as u64));
        assert_eq!(newline_before(&file, end, 2).unwrap(), Some(1));
        assert_eq!(newline_before(&file, end, 3).unwrap(), None);
    }
}
